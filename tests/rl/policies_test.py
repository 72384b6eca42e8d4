"""Files of trained policies."""

import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxseq
from jaxseq import models
from jaxseq import nn
from jaxseq.interop import described_file
from jaxseq.rl import algorithms
from jaxseq.rl import conditioned_players
from jaxseq.rl import encoders
from jaxseq.rl import envs
from jaxseq.rl import evaluate
from jaxseq.rl import networks
from jaxseq.rl import policies
from jaxseq.rl import rollout
from jaxseq.rl.agents import ppo
from jaxseq.rl.agents import r2d2
from jaxseq.rl.envs import _described_spaces
from jaxseq.rl.envs import registry
from jaxseq.rl.envs import spaces
from tests.rl import toy

_MODELS = pathlib.Path(__file__).parents[1] / "golden" / "models"

toy.register(PaidAgain=toy.Paid)

_CONFIG = ppo.Config(
  env_id="JaxseqTest-PaidAgain",
  env_params=(("max_steps_in_episode", 4),),
  network=toy.network("mamba2", 8),
  normalize_observation=True,
  num_envs=2,
  rollout_length=4,
  num_minibatches=1,
  total_steps=64,
)


def test_a_policy_is_saved_loaded_and_played(tmp_path):
  path = tmp_path / "agent.safetensors"
  runner, key = ppo.init(_CONFIG, jax.random.key(0)), jax.random.key(1)
  policies.save(path, _CONFIG, runner.variables)
  config, variables = policies.load(path)
  assert config == _CONFIG
  jax.tree.map(np.testing.assert_array_equal, variables, runner.variables)
  scores = evaluate.evaluate(config, variables, key, num_episodes=2)
  np.testing.assert_array_equal(scores["episode_return"], [4, 4])


@pytest.mark.parametrize(
  "config",
  [
    r2d2.Config(
      env_id="ProjectedControl",
      env_options=(("tasks", ("Reacher-misc",)), ("num_trials", 2)),
      network=dataclasses.replace(
        toy.network(), encoder=encoders.Config(image_shape=(64, 64, 4))
      ),
    ),
    dataclasses.replace(
      _CONFIG,
      network=toy.network("mamba2", 8, num_layers=2),
      segment_length=2,
      truncate_gradient=True,
    ),
  ],
)
def test_every_option_survives(tmp_path, config):
  path = tmp_path / "agent.safetensors"
  policies.save(path, config, {"params": {"a": np.ones((64, 10))}})
  found = policies.load(path)
  assert found.config == config
  assert hash(found.config) == hash(config)


def test_what_is_no_policy_gets_one_sentence(tmp_path):
  path = tmp_path / "agent.safetensors"
  weights = {"params": {"a": np.ones(2)}}
  with pytest.raises(TypeError, match="expected an algorithm's Config"):
    policies.save(path, object(), weights)
  policies.save(path, _CONFIG, weights)
  content = bytearray(path.read_bytes())
  content[-1] ^= 1
  path.write_bytes(content)
  with pytest.raises(ValueError, match="no whole policy: its SHA-256 differs"):
    policies.load(path)
  described = {"format": 1, "algorithm": "dqn", "config": {}, "versions": {}}
  described_file.write(path, described, weights)
  with pytest.raises(ValueError, match="algorithm: got 'dqn'"):
    policies.load(path)
  described_file.write(
    path, described | {"algorithm": "ppo"}, {"statistics": {"a": np.ones(2)}}
  )
  with pytest.raises(ValueError, match="fields: got .*'mean'"):
    policies.load(path)
  described |= {"algorithm": "ppo", "config": {"colour": 1}}
  described_file.write(path, described, weights)
  with pytest.raises(ValueError, match="no field 'colour'"):
    policies.load(path)
  with pytest.raises(
    ValueError, match="is a policy and no model: open it by p"
  ):
    models.load(path)
  with pytest.raises(ValueError, match="is a policy and no player: open it by"):
    conditioned_players.load(path)
  with pytest.raises(
    ValueError, match="a model and no policy: open it by jaxs"
  ):
    policies.load(_MODELS / "classes.safetensors")


_STACK = nn.StackConfig("gru", d_model=8, num_layers=1)
_SMALL = networks.Config(_STACK, encoder_widths=(8,), head_widths=(8,))
_IMAGES = dataclasses.replace(
  _SMALL, encoder=encoders.Config(image_shape=(44, 44, 4))
)


@pytest.mark.parametrize(
  "config",
  [
    pytest.param(
      ppo.Config(env_id="RepeatPreviousEasy", network=_SMALL),
      marks=pytest.mark.slow,
    ),
    # Its observations tell the previous action themselves.
    pytest.param(
      ppo.Config(
        env_id="ProjectedCartPole", network=_SMALL, normalize_observation=True
      ),
      marks=pytest.mark.slow,
    ),
    ppo.Config(
      env_id="PositionOnlyPendulumEasy",
      network=_SMALL,
      normalize_observation=True,
    ),
    # The bounds of its actions are not those of the default parameters.
    ppo.Config(
      env_id="Pendulum-v1", env_params={"max_torque": 5.0}, network=_SMALL
    ),
    r2d2.Config(env_id="CountRecallEasy", network=_SMALL),
    pytest.param(
      ppo.Config(
        env_id="Blank",
        env_options=(("shape", (44, 44, 1)),),
        network=_IMAGES,
      ),
      marks=pytest.mark.slow,
    ),
  ],
  ids=lambda config: config.env_id,
)
def test_a_policy_acts_outside_as_in_its_environment(config, tmp_path):
  algorithm = algorithms.of(config)
  player = algorithm.player(config)
  shown = rollout.start(player, jax.random.key(0), 1)
  variables = player.network.init(
    jax.random.key(1), jax.tree.map(lambda x: x[:, None], shown.observation)
  )
  # Heads that say something, as those of trained networks do.
  variables = jax.tree.map(lambda x: 3 * x, variables)
  path = tmp_path / "agent.safetensors"
  policies.save(path, config, variables)
  policy = jaxseq.load(path)
  env, params = rollout.unwrapped(
    config.env_id, config.env_options, config.env_params
  )
  step = jax.jit(functools.partial(rollout.step, player, greedy=True))
  key_start = jax.random.key(0)
  world = shown
  observation, state = env.reset(jax.random.split(key_start, 1)[0], params)
  memory = policy.initial_memory()
  for key in jax.random.split(jax.random.key(2), 6):
    world, taken = step(variables, world, key)
    action, memory = policy.act(jax.tree.map(np.asarray, observation), memory)
    assert isinstance(action, np.ndarray)
    wanted = player.network.actions.to_environment(taken.action[0])
    np.testing.assert_allclose(action, wanted, rtol=1e-5, atol=1e-6)
    # A reset is folded into the next step there, and a fresh memory here.
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6),
      memory.states,
      world.memory,
    )
    _, key_env = jax.random.split(key)
    key_step = jax.random.split(key_env, 1)[0]
    observation, state, _, terminated, truncated, _ = env.step(
      key_step, state, jnp.asarray(action), params
    )
    if terminated or truncated:
      memory = policy.initial_memory()


@pytest.mark.slow
def test_a_policy_acts_where_its_environment_is_unknown(tmp_path, monkeypatch):
  monkeypatch.setattr(registry.ENVIRONMENTS, "_paths", dict(_paths()))
  envs.register("JaxseqTest-Parts", toy.Parts)
  config = ppo.Config(env_id="JaxseqTest-Parts", network=_SMALL, num_envs=8)
  runner = ppo.init(config, jax.random.key(0))
  path = tmp_path / "agent.safetensors"
  policies.save(path, config, runner.variables)
  del registry.ENVIRONMENTS._paths["JaxseqTest-Parts"]
  rollout._environment.cache_clear()
  policy = policies.load(path)
  memory = policy.initial_memory()
  good = {"number": [0.5], "choice": 1}
  first, memory = policy.act(good, memory, jax.random.key(0))
  assert first.shape == (2,)
  assert first.dtype.kind == "i"
  assert not memory.first
  np.testing.assert_array_equal(memory.action, first)
  for wrong, message in (
    ({"number": [0.5]}, "observation: got .*'number'.*'choice', 'number'"),
    ({**good, "number": 0.5}, r"observation.'number'.: got shape .. of"),
    ({**good, "number": [np.nan]}, "observation.'number'.: got .nan."),
    ({**good, "choice": 2}, "observation.'choice'.: got 2, expected"),
    ({**good, "choice": 0.5}, "observation.'choice'.: got shape"),
  ):
    with pytest.raises(ValueError, match=message):
      policy.act(wrong, memory)
  with pytest.raises(ValueError, match="memory: got 'NoneType', expected what"):
    policy.act(good, None)
  with pytest.raises(ValueError, match="policy: got .*, expected a policy"):
    policies.export_step(path, tmp_path / "step.bin")
  plain = dataclasses.replace(_CONFIG, normalize_observation=False)
  with pytest.raises(ValueError, match="variables: got .'params'., expected"):
    evaluate.evaluate(plain, {"params": {}}, jax.random.key(0))


def _paths():
  return registry.ENVIRONMENTS._paths


def test_files_of_before_act_where_the_environment_is_registered(tmp_path):
  path = tmp_path / "agent.safetensors"
  runner = ppo.init(_CONFIG, jax.random.key(0))
  policies.save(path, _CONFIG, runner.variables)
  contents = described_file.read(path)
  described = dict(contents.described)
  del described["spaces"]
  described_file.write(path, described, contents.tree)
  policy = policies.load(path)
  assert policy.seen is None
  action, _ = policy.act(np.zeros(1), policy.initial_memory())
  assert action in (0, 1)


@pytest.mark.parametrize("name", algorithms.names())
def test_fields_that_files_of_before_lack_are_those_of_then(tmp_path, name):
  path, algorithm = tmp_path / "agent.safetensors", algorithms.get(name)
  published = algorithms.published(algorithm.Config)
  # Defaults have changed, and what was the default is named.
  named = dict(algorithm.Config.published)
  assert {x for x in named if named[x] == getattr(algorithm.Config, x)} == set()
  config = dataclasses.replace(
    published, env_id="JaxseqTest-PaidAgain", network=toy.network("gru", 8)
  )
  player = algorithm.player(config)
  shown = rollout.start(player, jax.random.key(0), 1).observation
  variables = jax.jit(player.network.init)(
    jax.random.key(1), jax.tree.map(lambda x: x[:, None], shown)
  )
  policies.save(path, config, variables)
  contents = described_file.read(path)
  described = dict(contents.described)
  fields = dict(described["config"])
  for lacking in {*named, "reward_scale"} - {"network"}:
    del fields[lacking]
  described_file.write(path, described | {"config": fields}, contents.tree)
  assert policies.load(path).config == config


@pytest.mark.parametrize(
  "space",
  [
    spaces.Discrete(3),
    spaces.MultiDiscrete((2, 4)),
    spaces.Box(-np.inf, np.inf, (2,)),
    spaces.Box(0, 255, (4, 4, 1), np.dtype(np.uint8)),
    spaces.Tuple((spaces.Discrete(2), spaces.Box(-1, [1, 2], (2,)))),
    spaces.Dict({"a": spaces.Discrete(2)}),
  ],
  ids=lambda space: type(space).__name__,
)
def test_spaces_survive_as_tuples(space):
  described = _described_spaces.describe(space)
  again = _described_spaces.read(described)
  assert _described_spaces.describe(again) == described
  assert spaces.signature(again) == spaces.signature(space)


@pytest.mark.parametrize(
  "described", [["Discrete", 0], ["Box", 0, [1, 2], [3], "float32"], [], "a"]
)
def test_what_is_no_space_gets_one_sentence(described):
  with pytest.raises(ValueError, match="space"):
    _described_spaces.read(described)
