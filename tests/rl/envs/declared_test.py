"""Environments that show or pay something else than they declare."""

import dataclasses

from absl import logging
from flax import struct
from gymnax.environments import environment
from gymnax.environments import spaces as gymnax_spaces
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl import actions
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


@struct.dataclass
class _Gravity:
  """Parameters without a time limit."""

  gravity: float = 9.8


@dataclasses.dataclass(frozen=True)
class _Odd(toy.Guess):
  """Lacks what gymnax's environments have."""

  unlimited: bool = False
  values: int = 6

  @property
  def default_params(self):
    return _Gravity() if self.unlimited else super().default_params

  def step(self, key, state, action, params=None):
    return super().step(key, state, action, params)[: self.values]


envs.register("JaxseqTest-Odd", _Odd)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    (
      {"unlimited": True},
      "parameters of .*Odd: got .*, expected .* the time l",
    ),
    ({"values": 5}, "step of .*Odd: got 5, expected 6 values, as in gymnax 1"),
  ],
)
def test_what_an_environment_lacks_is_named(options, message):
  with pytest.raises(ValueError, match=message):
    rollout.environment("JaxseqTest-Odd", tuple(options.items()))


class _Endless(environment.Environment):
  """Does not say how long an episode may be."""

  def reset_env(self, key, params):
    return jnp.zeros(1), environment.EnvState(0)

  def step_env(self, key, state, action, params):
    state = state.replace(time=state.time + 1)
    return jnp.zeros(1), state, jnp.float32(1), jnp.bool_(False), {}

  def observation_space(self, params):
    return gymnax_spaces.Box(0.0, 1.0, (1,))

  def action_space(self, params):
    return gymnax_spaces.Discrete(2)


class _OneStep(_Endless):
  """Says that it is one step."""

  @property
  def default_params(self):
    return environment.EnvParams()


@dataclasses.dataclass(frozen=True)
class _EndlessHere(base.Environment):
  """The same of this package."""

  observations = spaces.Box(0.0, 1.0, (1,))
  actions = spaces.Discrete(2)

  def start(self, words, params):
    return base.EnvState(jnp.int32(0))

  def advance(self, words, state, action, params):
    return state.replace(time=state.time + 1), jnp.float32(1)

  def observe(self, state, params):
    return jnp.zeros(1)


@pytest.mark.parametrize(
  ("env", "warns"), [(_Endless, True), (_EndlessHere, True), (_OneStep, False)]
)
def test_a_missing_time_limit_is_told(env, warns, caplog, monkeypatch):
  monkeypatch.setattr(logging.get_absl_logger(), "propagate", True)
  name = f"JaxseqTest-{env.__name__}"
  envs.register(name, env)
  rollout.environment(name)
  told = "every episode is cut off after one step" in caplog.text
  assert told == warns
  caplog.clear()
  rollout.environment(name, params=(("max_steps_in_episode", 9),))
  assert not caplog.text


class _OfGymnasium:
  """What Gymnasium calls an environment."""

  observation_space = spaces.Box(0.0, 1.0, (1,))
  action_space = spaces.Discrete(2)


def test_what_is_no_environment_gets_one_sentence():
  envs.register("JaxseqTest-Other", _OfGymnasium)
  with pytest.raises(ValueError, match="got '_OfGymnasium'.*gymnasium.registe"):
    envs.make("JaxseqTest-Other")
  with pytest.raises(ValueError, match="env_id: got <class .*Odd'>.* a name, "):
    envs.make(_Odd)


def test_integers_in_a_box_are_no_numbers():
  space = spaces.Box(0, 3, (1,), np.dtype(np.int32))
  with pytest.raises(ValueError, match="action space: .* MultiDiscrete, for s"):
    actions.spec_of(space)
