"""Episodes that show their last observation before the next one begins."""

import dataclasses

from flax import struct
import jax
import jax.numpy as jnp

from jaxseq._types import PyTree
from jaxseq.rl import wrappers
from jaxseq.rl.envs import spaces


@struct.dataclass
class LastObservationState:
  """State of `LastObservation`."""

  env_state: PyTree
  cut: jax.Array  # () bool; the observation on show is the last of an episode
  first: PyTree  # observation of the episode after that
  info: PyTree  # of the step that cut the episode off


@dataclasses.dataclass(frozen=True)
class LastObservation(wrappers.Wrapper):
  """Shows the observation at which a time limit cuts an episode off.

  An environment that resets itself hides that observation in `info`, where a
  recurrent policy does not meet it. Here it follows in its turn, and the step
  after it does nothing, whatever the action: it pays 0, says `truncated`, and
  leads to the first observation of the next episode; its `info` is that of the
  step before. Whoever learns from what was played finds at each step with
  `truncated` an observation to take the value of, and no action. An episode
  that a time limit ends is so longer by one step; one that terminates is as it
  was.

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
    # What the step below does is dropped where the observation was the last.
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
