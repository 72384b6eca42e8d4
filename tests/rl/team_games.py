"""A memory game of two agents, whose returns can be worked out by hand."""

import dataclasses

from flax import struct
import jax
import jax.numpy as jnp

from jaxseq.rl.envs import action_masks
from jaxseq.rl.envs import base
from jaxseq.rl.envs import spaces
from jaxseq.rl.envs import teams


@struct.dataclass
class State(base.EnvState):
  """State of `Recall`: a bit for each agent, (2,) int32."""

  bits: jax.Array


@dataclasses.dataclass(frozen=True)
class Recall(base.Environment):
  """Shows each agent a bit of its own at first, and asks for it at last.

  The first agent earns 1 for its bit, and the second one 2 for the opposite of
  its bit, or for its bit if not `opposite`. Until the last step the mask allows
  option 0 alone. An episode ends by itself after `length` steps, or is cut off
  after `limit`.
  """

  length: int = 3
  limit: int = 99
  shows_state: bool = True
  opposite: bool = True

  num_agents = 2
  reset_words = 2

  @property
  def default_params(self):
    return base.EnvParams(max_steps_in_episode=self.limit)

  def start(self, words, params):
    return State(jnp.int32(0), (words >> 31).astype(jnp.int32))

  def advance(self, words, state, action, params):
    asked_for = state.bits ^ jnp.array([0, int(self.opposite)])
    right = action == asked_for
    asked = state.time == self.length - 1
    pay = jnp.where(asked, right * jnp.array([1.0, 2.0]), 0.0)
    return state.replace(time=state.time + 1), pay

  def is_terminated(self, state, params):
    return state.time >= self.length

  def observe(self, state, params):
    seen = jnp.where(state.time == 0, 2.0 * state.bits - 1, 0.0)[:, None]
    mask = jnp.stack([True, state.time == self.length - 1])
    own = {
      "agent": jnp.arange(2),
      action_masks.OBSERVATION: seen,
      action_masks.MASK: jnp.broadcast_to(mask, (2, 2)),
    }
    whole = jnp.append(2.0 * state.bits - 1, state.time)
    return teams.Observation(own, whole if self.shows_state else None)

  def observation_space(self, params=None):
    masked = action_masks.with_mask(spaces.Box(-1.0, 1.0, (1,)), 2)
    return spaces.Dict({"agent": spaces.Discrete(2)} | dict(masked.spaces))

  def action_space(self, params=None):
    return spaces.Discrete(2)
