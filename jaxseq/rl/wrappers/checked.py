"""Checks of masks of actions, for whoever writes an environment."""

import dataclasses

from jax.experimental import checkify

from jaxseq.rl.envs import action_masks
from jaxseq.rl.wrappers import base


@dataclasses.dataclass(frozen=True)
class CheckedMasks(base.Wrapper):
  """Tells masks that allow nothing where an action is to follow.

  Policies take such a mask for one that allows everything. With

      error, outcome = checkify.checkify(env.step)(key, state, action)
      error.throw()

  it is an error; without `checkify.checkify` nothing is checked.

  Attributes:
    env: the environment; its observations come with masks.
  """

  def _reset(self, key, params):
    observation, state = self.env.reset(key, params)
    self._check(observation, params)
    return observation, state

  def _step(self, key, state, action, params):
    stepped = self.env.step(key, state, action, params)
    self._check(stepped[0], params)
    return stepped

  def _check(self, observation, params):
    _, mask = action_masks.split(observation)
    allows = action_masks.choosable(self.env.action_space(params), mask)
    text = f"{action_masks.MASK}: got False alone, expected an action"
    checkify.debug_check(allows, text)
