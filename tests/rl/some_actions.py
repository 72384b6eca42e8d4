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


def _space(parts):
  """The space of nested dictionaries of spaces."""
  if isinstance(parts, dict):
    return spaces.Dict({name: _space(part) for name, part in parts.items()})
  if type(parts) is spaces.Tuple:
    return spaces.Tuple(tuple(map(_space, parts.spaces)))
  return parts


@dataclasses.dataclass(frozen=True)
class SomeActions(base.Environment):
  """Allows some actions at random, none of them if that is how it falls.

  Pays 1 for an action that was allowed. The `form` of an observation says where
  the mask is: "", "goal", or one that no agent takes.
  """

  choices: tuple[int, ...] = (3,)
  chance: float = 0.7
  numbers: bool = False
  form: str = ""

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
    return self._formed(seen, state.mask, jnp.zeros(1), tuple)

  def _formed(self, seen, mask, goal, pair):
    """An observation, or its space, with the mask where the form says."""
    masked = {"observation": seen, "action_mask": mask}
    return {
      "": masked,
      "goal": {**masked, "goal": goal},
      "without observation": {"action_mask": mask},
      "mask": {"observation": seen, "mask": mask},
      "legal": {"observation": seen, "legal_actions": mask, "goal": goal},
      "nested": {"agent": masked, "goal": goal},
      "tuple": pair((seen, mask)),
      "dict in a tuple": pair((masked, goal)),
      "mask in a mask": {"observation": masked, "action_mask": mask},
    }[self.form]

  def observation_space(self, params=None):
    box = spaces.Box(-1.0, 1.0, (1,))
    masked = action_masks.with_mask(box, sum(self.choices))
    return _space(
      self._formed(box, masked.spaces["action_mask"], box, spaces.Tuple)
    )

  def action_space(self, params=None):
    if self.numbers:
      return spaces.Box(-1.0, 1.0, (3,))
    if len(self.choices) > 1:
      return spaces.MultiDiscrete(self.choices)
    return spaces.Discrete(*self.choices)
