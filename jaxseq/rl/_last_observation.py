"""A wrapper that shows the last observation of a truncated episode."""

import dataclasses

from flax import struct
import jax
import jax.numpy as jnp

from jaxseq.rl import wrappers
from jaxseq.rl.envs import spaces
from jaxseq.types import PyTree


@struct.dataclass
class LastObservationState:
  """State of `LastObservation`."""

  env_state: PyTree
  cut: jax.Array  # () bool; the current observation is the last of an episode
  first: PyTree  # first observation of the next episode
  info: PyTree  # info of the step that truncated the episode


@dataclasses.dataclass(frozen=True)
class LastObservation(wrappers.Wrapper):
  """Shows the observation at which a time limit truncates an episode.

  An environment that resets itself hides that observation in `info`, where a
  recurrent policy does not see it. Here it is returned like any other, and the
  step after it ignores the action: its reward is 0, it sets `truncated`, and
  it returns the first observation of the next episode; its `info` is that of
  the step before. In the recorded transitions each step with `truncated` has an
  observation to bootstrap from, and no effective action. A truncated episode
  thus becomes one step longer; one that terminates does not change.

  Attributes:
    env: the environment.
  """

  def _reset(self, key, params):
    observation, env_state = self.env.reset(key, params)
    action = spaces.zeros(self.env.action_space(params))
    stepped = jax.eval_shape(self.env.step, key, env_state, action, params)
    return observation, LastObservationState(
      env_state=env_state,
      cut=jnp.bool_(False),
      first=observation,
      info=jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), stepped[-1]),
    )

  def _step(self, key, state, action, params):
    # The result of this step is dropped if the observation was the last.
    if hasattr(params, "waits"):
      params = params.replace(waits=state.cut)
    first, env_state, reward, terminated, truncated, info = self.env.step(
      key, state.env_state, action, params
    )
    never, cut = jnp.bool_(False), truncated & ~terminated
    shown = wrappers.select(cut, info["final_observation"], first)
    played = (shown, env_state, reward, terminated, cut, info)
    zero = jnp.zeros_like(reward)
    waited = (state.first, state.env_state, zero, never, never, state.info)
    shown, env_state, reward, terminated, cut, info = wrappers.select(
      state.cut, waited, played
    )
    after = LastObservationState(env_state, cut, first, info)
    return shown, after, reward, terminated, state.cut, info
