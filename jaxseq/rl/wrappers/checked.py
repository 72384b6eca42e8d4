"""Checks of action masks, for authors of environments."""

import dataclasses

from jax.experimental import checkify

from jaxseq import validate
from jaxseq.rl.envs import action_masks
from jaxseq.rl.wrappers import base


@dataclasses.dataclass(frozen=True)
class CheckedMasks(base.Wrapper):
  """Reports masks that forbid all actions.

  Policies treat such a mask like one that allows everything. With

      error, outcome = checkify.checkify(env.step)(key, state, action)
      error.throw()

  it is an error; without `checkify.checkify` nothing is checked.

  Attributes:
    env: the environment; its observations come with masks.
  """

  def __post_init__(self):
    space = self.env.observation_space(self.env.default_params)
    if not action_masks.is_masked(space):
      raise validate.error("env", space, "observations with a mask of actions")

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
    expected = "an option of each that is allowed"
    text = f"{action_masks.MASK}: got a choice without any, expected {expected}"
    checkify.debug_check(allows, text)
