"""A game that allows some of its actions, for tests of masks."""

import dataclasses

from flax import struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.rl.envs import action_masks
from jaxseq.rl.envs import base
from jaxseq.rl.envs import randomness
from jaxseq.rl.envs import spaces


@struct.dataclass
class _State(base.EnvState):
  mask: jax.Array


@dataclasses.dataclass(frozen=True)
class SomeActions(base.Environment):
  """Allows some actions at random, none of them if that is how it falls.

  Pays 1 for an action that was allowed.
  """

  choices: tuple[int, ...] = (3,)
  chance: float = 0.7
  numbers: bool = False

  max_steps = 4

  @property
  def step_words(self):
    return sum(self.choices)

  @property
  def reset_words(self):
    return sum(self.choices)

  def _mask(self, words):
    return randomness.uniform(words) < self.chance

  def start(self, words, params):
    return _State(jnp.int32(0), self._mask(words))

  def advance(self, words, state, action, params):
    parts = jnp.split(state.mask, np.cumsum(self.choices)[:-1])
    pairs = zip(parts, jnp.atleast_1d(action))
    free = [part[choice] | ~part.any() for part, choice in pairs]
    reward = jnp.stack(free).all().astype(jnp.float32)
    return _State(state.time + 1, self._mask(words)), reward

  def observe(self, state, params):
    seen = jnp.sin(state.time.astype(jnp.float32))[None]
    return action_masks.join(seen, state.mask)

  def observation_space(self, params=None):
    return action_masks.with_mask(
      spaces.Box(-1.0, 1.0, (1,)), sum(self.choices)
    )

  def action_space(self, params=None):
    if self.numbers:
      return spaces.Box(-1.0, 1.0, (3,))
    if len(self.choices) > 1:
      return spaces.MultiDiscrete(self.choices)
    return spaces.Discrete(*self.choices)
