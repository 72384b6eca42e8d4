"""Environments that show or pay something else than they declare."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl import envs
from jaxseq.rl import rollout
from jaxseq.rl.agents import ppo
from jaxseq.rl.envs import action_masks
from jaxseq.rl.envs import base
from jaxseq.rl.envs import spaces
from tests.rl import toy

_BYTES = spaces.Box(0, 255, (2,), np.dtype(np.uint8))


@dataclasses.dataclass(frozen=True)
class _Arm(base.Environment):
  """Shows and pays what it is told to."""

  space: spaces.Space = spaces.Box(-1.0, 1.0, (2,))
  seen: tuple[str, ...] = ("observation", "action_mask")
  masked: bool = False
  size: int = 2
  mask: str = "bool"
  reward: tuple[int, ...] = ()
  over: str = "bool"

  actions = spaces.Discrete(5)
  max_steps = 3

  def observation_space(self, params=None):
    return action_masks.with_mask(self.space, 5) if self.masked else self.space

  def start(self, words, params):
    return base.EnvState(jnp.int32(0))

  def advance(self, words, state, action, params):
    return state.replace(time=state.time + 1), jnp.zeros(self.reward, int)

  def observe(self, state, params):
    seen = jnp.zeros(self.size)
    if not self.masked or not self.seen:
      return seen
    return dict(zip(self.seen, (seen, jnp.ones(5, self.mask))))

  def is_terminated(self, state, params):
    return jnp.zeros((), self.over)


_KEY = jax.eval_shape(lambda: jax.random.key(0))

envs.register("JaxseqTest-Arm", _Arm)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"size": 3}, "observation of .*Arm: got shape .3,. of .*, expected shape"),
    ({"space": _BYTES}, "observation of .*: got .* of float32, .* of uint8"),
    ({"masked": True, "seen": ()}, r"got shape .2,. .* with .'action_mask', "),
    ({"masked": True, "seen": ("observation", "mask")}, "got .'mask', 'obs.*"),
    ({"masked": True, "size": 4}, r"\['observation'\]: got shape \(4,\)"),
    (
      {"masked": True, "mask": "float32"},
      r".'action_mask'.: .* of float32, ex",
    ),
    ({"reward": (1,)}, "reward of .*Arm: got shape .1,. .*, expected a scalar"),
    ({"over": "float32"}, "is_terminated of .*: got dtype float32, .* bool"),
  ],
)
def test_what_is_not_as_declared_gets_one_sentence(options, message):
  with pytest.raises(ValueError, match=message):
    rollout.environment("JaxseqTest-Arm", tuple(options.items()))


def _config(**options):
  return ppo.Config(
    env_id="JaxseqTest-Arm",
    env_options=options,
    network=toy.network(),
    num_envs=2,
    num_minibatches=1,
    rollout_length=2,
    total_steps=4,
  )


def test_agents_check_what_is_declared():
  with pytest.raises(ValueError, match="observation of JaxseqTest-Arm: got"):
    jax.eval_shape(lambda key: ppo.init(_config(size=3), key), _KEY)


def test_integers_are_rewards():
  config = _config()

  def play(key):
    runner, player = ppo.init(config, key), ppo.player(config)
    return rollout.step(player, runner.variables, runner.world, key)[1]

  assert jax.eval_shape(play, _KEY).reward.dtype == jnp.float32
