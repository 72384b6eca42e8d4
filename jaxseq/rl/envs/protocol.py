"""The protocol of environments: gymnax 1.0's, and a little beside it."""

from typing import Protocol

import jax

from jaxseq._types import PyTree
from jaxseq.rl.envs import spaces

# Observation, state, reward, terminated, truncated and info; see `Env.step`.
Step = tuple[PyTree, PyTree, jax.Array, jax.Array, jax.Array, dict[str, PyTree]]


class Env(Protocol):
  """An environment: pure functions of one player, for `jit` and `vmap`.

  It is hashable. Where an episode ends it goes on with the next one by itself.
  gymnax's environments are such, those of `base`, and Atari's and MinAtar's,
  whose observations are images of bytes.

  Beside these names an environment may have

      frame_stack     how many images agents should see at once
      shows_history   True if observations tell the previous action already
      num_trials      trials of an episode
      num_steps       most steps of an episode that no time limit cuts off
      check_params    a function that raises if it cannot be played with some
      num_agents      agents of a game that several play, see `envs.teams`

  and `info` of a step may have

      life_lost       () bool: the return ends here, though the game goes on
      forget          () bool: a memory is to be made fresh
      trial, trial_ended   of episodes that consist of trials

  and the parameters may have

      waits           () bool: a step does nothing. Who drops what a step did
                      sets it where that cannot be taken back
  """

  @property
  def default_params(self) -> PyTree:
    """The parameters, with `max_steps_in_episode`, the time limit."""

  def reset(
    self, key: jax.Array, params: PyTree = None
  ) -> tuple[PyTree, PyTree]:
    """Returns the first observation and the state."""

  def step(
    self, key: jax.Array, state: PyTree, action: PyTree, params: PyTree = None
  ) -> Step:
    """Plays one step, and starts the next episode if this one has ended.

    Args:
      key: random key.
      state: the state before the step.
      action: an element of the action space.
      params: the parameters; the default ones if None.

    Returns:
      Observation and state, of the next episode if this one has ended; the ()
      reward; whether the episode has terminated and whether the time limit has
      cut it off, () bool; and `info`, with the observation that the step led
      to, before any reset, under `final_observation`.
    """

  def observation_space(self, params: PyTree = None) -> spaces.Space:
    """Returns the space of observations."""

  def action_space(self, params: PyTree = None) -> spaces.Space:
    """Returns the space of actions."""
