"""The protocol of environments: gymnax 1.0's, with optional extensions."""

from typing import Protocol

import jax

from jaxseq.rl.envs import spaces
from jaxseq.types import PyTree

# Observation, state, reward, terminated, truncated and info; see `Env.step`.
Step = tuple[PyTree, PyTree, jax.Array, jax.Array, jax.Array, dict[str, PyTree]]


class Env(Protocol):
  """An environment: pure functions of one player, for `jit` and `vmap`.

  It is hashable. When an episode ends it starts the next one by itself.
  Examples are gymnax's environments, those of `base`, and Atari's and
  MinAtar's, whose observations are images of bytes.

  An environment may also have these attributes

      frame_stack     number of images that agents should see at once
      shows_history   True if observations already hold the previous action
      num_trials      trials of an episode
      num_steps       most steps of an episode without a time limit
      check_params    a function that raises for parameters it cannot play with
      num_agents      agents of a game that several play, see `envs.teams`

  and `info` of a step may have

      life_lost       () bool: the return ends here, though the game continues
      forget          () bool: requests a reset of the memory
      trial, trial_ended   of episodes that consist of trials

  and the parameters may have

      waits           () bool: a step does nothing. Callers that discard the
                      result of a step set it if the step cannot be undone
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
      truncated it, () bool; and `info`, with the observation after the step,
      before any reset, under `final_observation`.
    """

  def observation_space(self, params: PyTree = None) -> spaces.Space:
    """Returns the space of observations."""

  def action_space(self, params: PyTree = None) -> spaces.Space:
    """Returns the space of actions."""
