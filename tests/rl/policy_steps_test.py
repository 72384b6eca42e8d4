"""Steps of policies as programs: they act as the policies do."""

import dataclasses
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import nn
from jaxseq.rl import algorithms
from jaxseq.rl import encoders
from jaxseq.rl import evaluate
from jaxseq.rl import networks
from jaxseq.rl import policies
from jaxseq.rl import rollout
from jaxseq.rl.agents import ppo
from jaxseq.rl.agents import r2d2
from jaxseq.rl.agents import sac
from tests.rl import toy

toy.register(StepPaid=toy.Paid, StepParts=toy.Parts)

_CONFIG = ppo.Config(
  env_id="JaxseqTest-StepPaid",
  network=toy.network("gru", 8),
  normalize_observation=True,
  num_envs=2,
  num_minibatches=1,
)
_ENCODER = encoders.Config(
  image_shape=(6, 6, 3), channels=(2,), kernels=(3,), strides=(2,)
)


def _policy(config):
  """An untrained policy whose heads say something."""
  player = algorithms.of(config).player(config)
  shown = rollout.start(player, jax.random.key(0), 1).observation
  variables = jax.jit(player.network.init)(
    jax.random.key(1), jax.tree.map(lambda x: x[:, None], shown)
  )
  return policies.Trained(
    config, jax.tree.map(lambda x: 3 * np.asarray(x), variables)
  )


def _program(policy, path, **options):
  """What the JSON says, the program, and fresh states."""
  pytest.importorskip("flatbuffers")
  described = policies.export_step(policy, path, batch=1, **options)
  program = jax.export.deserialize(bytearray(path.read_bytes()))
  states = {
    entry["name"]: np.full(entry["shape"], entry["initial"], entry["dtype"])
    for entry in described["inputs"]
    if "next" in entry
  }
  return described, program.call, states


def _images(config=_CONFIG, **options):
  encoder = dataclasses.replace(_ENCODER, **options)
  return dataclasses.replace(
    config,
    env_id="Blank",
    env_options=(("shape", (6, 6, 1)), ("frame_stack", 3), ("num_actions", 5)),
    network=dataclasses.replace(config.network, encoder=encoder),
    normalize_observation=False,
  )


def _best(logits, noise):
  return [np.argmax(logits + noise)]


def _best_of_each(logits, noise):
  both = np.split((logits + noise)[0], [2])
  return [[np.argmax(each) for each in both]]


def _epsilon_greedy(values, noise):
  return [np.argmax(noise[0, :-1] if noise[0, -1] < 0.5 else values)]


@pytest.mark.parametrize(
  ("config", "told", "drawn"),
  [
    # Images of before, which the program keeps.
    pytest.param(_images(), "logits", _best, id="frames"),
    # Observations in parts, and several choices.
    pytest.param(
      dataclasses.replace(_CONFIG, env_id="JaxseqTest-StepParts"),
      "logits",
      _best_of_each,
      id="factored",
    ),
    pytest.param(
      r2d2.Config(env_id="CountRecallEasy", network=toy.network("gru", 8)),
      "values",
      _epsilon_greedy,
      id="values",
    ),
    pytest.param(
      r2d2.Config(
        env_id="CountRecallEasy",
        network=toy.network("gru", 8),
        value_loss="hl_gauss",
      ),
      "values",
      _epsilon_greedy,
      id="histograms",
    ),
  ],
)
def test_a_step_acts_as_the_policy_does(tmp_path, config, told, drawn):
  policy = _policy(config)
  explores = told == "values"
  if explores:
    exploration = {"exploration": {"epsilon": np.float32(0.5)}}
    policy.variables.update(exploration)
  path = tmp_path / "agent.bin"
  described, call, states = _program(policy, path, deterministic=False)
  shapes = {e["name"]: e["shape"] for e in described["inputs"]}
  # Noise that leaves the most probable action.
  noise = np.full(shapes["noise"], float(explores), np.float32)
  space = policy.observation_space
  memory = None
  for t, key in enumerate(jax.random.split(jax.random.key(2), 5)):
    first = t in (0, 3)
    memory = policy.initial_memory() if first else memory
    observation = jax.tree.map(np.asarray, space.sample(key))
    action, memory = policy.act(observation, memory)
    if not isinstance(observation, dict):
      observation = {"": observation}
    given = {
      f"observation_{name}".rstrip("_"): x[None]
      for name, x in observation.items()
    }
    given |= {"reset": np.array([first]), **states}
    results = call(given | {"noise": noise})
    np.testing.assert_array_equal(results["action"][0], action)
    states = {name: results[f"next_{name}"] for name in states}
    after = [x for name, x in states.items() if name.startswith("state")]
    for x, want in zip(after, jax.tree.leaves(memory.states), strict=True):
      np.testing.assert_allclose(x, want, rtol=1e-5, atol=1e-6)
  for seed in range(4):
    noise = np.random.default_rng(seed).random(noise.shape, np.float32)
    results = call(given | {"noise": noise})
    wanted = drawn(np.asarray(results[told]), noise)
    np.testing.assert_array_equal(results["action"], wanted)


@pytest.mark.slow
def test_numbers_within_bounds_are_drawn_by_normal_noise():
  config = sac.Config(
    env_id="PositionOnlyPendulumEasy", network=toy.network("gru", 8)
  )
  policy = _policy(config)
  step = policies._policy_steps.step_of(
    policy._player, policy.variables, False, {}
  )
  noise = np.array([[0.7], [-3.0]], np.float32)
  shown = {
    "observation": np.ones((2, 2), np.float32),
    "reset": np.ones(2, bool),
    "noise": noise,
  }
  states = jax.tree.map(lambda x: np.stack([x, x]), step.states)
  told, after = step.compute(shown, states)
  z = told["mean"] + np.exp(told["log_std"]) * noise
  np.testing.assert_allclose(told["action"], 2 * np.tanh(z), rtol=1e-5)
  np.testing.assert_array_equal(after["last_action"], told["action"])


def test_fresh_memories_are_those_that_were_tuned():
  policy = _policy(dataclasses.replace(_CONFIG, critic="shared"))
  tuned = np.linspace(-1, 1, 8, dtype=np.float32)
  policy.variables["initial_states"] = {"memory": {"0/h": tuned}}
  memory = policy.initial_memory()
  np.testing.assert_array_equal(memory.states[0].h[0], tuned)
  step = policies._policy_steps.step_of(
    policy._player, policy.variables, True, {}
  )
  np.testing.assert_array_equal(step.states["state"][0].h, tuned)


def test_max_pooling_has_no_counterpart_in_onnx(tmp_path):
  pytest.importorskip("onnx")
  policy = _policy(_images(kind="impala", channels=(2,), blocks=1))
  message = "expected 'jax' .*: reduce_window_max: has no counterpart in ONNX"
  with pytest.raises(ValueError, match=message):
    policies.export_step(policy, tmp_path / "agent.onnx", "onnx")


@pytest.mark.slow
@pytest.mark.parametrize(
  ("env_id", "stack"),
  [
    # Complex states, and actions that are numbers.
    ("PositionOnlyPendulumEasy", nn.StackConfig("lru", d_model=8)),
    ("PositionOnlyPendulumEasy", nn.StackConfig("mamba2", d_model=8)),
    ("CartPole-v1", nn.StackConfig("lstm", d_model=8)),
    ("CartPole-v1", nn.StackConfig.gtrxl(8, 1, heads=2, window=4)),
    # Traces, which no file has.
    ("CartPole-v1", nn.StackConfig("s5", d_model=8, rtrl=True)),
  ],
  ids=["lru", "mamba2", "lstm", "gtrxl", "s5"],
)
@pytest.mark.parametrize("form", ["onnx", "jax"])
def test_an_episode_is_the_same_action_by_action(tmp_path, form, env_id, stack):
  """By `act`, and by a program that knows nothing of jaxseq."""
  network = networks.Config(stack, encoder_widths=(8,), head_widths=(8,))
  policy = _policy(dataclasses.replace(_CONFIG, env_id=env_id, network=network))
  statistics = policy.variables["statistics"]
  policy.variables["statistics"] = statistics._replace(
    mean=statistics.mean + 0.1, variance=0.3 * statistics.variance
  )
  path = tmp_path / "agent.bin"
  if form == "onnx":
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    described = policies.export_step(policy, path, form, batch=1)
    session = onnxruntime.InferenceSession(path)
    names = [entry["name"] for entry in described["outputs"]]

    def call(given):
      return dict(zip(names, session.run(names, given)))

  else:
    described, call, _ = _program(policy, path)
  # What is there before the first step is made fresh by its flag.
  states = {
    entry["name"]: np.ones(entry["shape"], entry["dtype"])
    for entry in described["inputs"]
    if "next" in entry
  }
  env, params = rollout.unwrapped(env_id)
  observation, state = env.reset(jax.random.key(3), params)
  memory, actions = policy.initial_memory(), []
  for t, key in enumerate(jax.random.split(jax.random.key(4), 12)):
    action, memory = policy.act(observation, memory)
    given = {
      "observation": np.asarray(observation)[None],
      "reset": np.array([t == 0]),
    }
    results = call(given | states)
    states = {name: np.asarray(results[f"next_{name}"]) for name in states}
    if action.dtype.kind == "f":
      # float32 in another order, through states of twelve steps.
      np.testing.assert_allclose(
        results["next_last_action"][0], memory.action, rtol=1e-3, atol=1e-5
      )
    else:
      np.testing.assert_array_equal(results["action"][0], action)
    actions.append(action)
    # The next observation follows from the action.
    observation, state, *_ = env.step(key, state, action, params)
  assert np.std(actions) > 0


def test_the_loop_of_the_page_plays_gymnasium(tmp_path):
  gymnasium = pytest.importorskip("gymnasium")
  pytest.importorskip("onnx")
  pytest.importorskip("onnxruntime")
  page = pathlib.Path(__file__).resolve().parents[2] / "docs" / "deploying.md"
  (block,) = re.findall(
    r"```python\n(# Not run here[^`]*def play.*?)```", page.read_text(), re.S
  )
  names = {}
  exec(compile(block, page.name, "exec"), names)
  policy = _policy(dataclasses.replace(_CONFIG, env_id="CartPole-v1"))
  path = tmp_path / "agent.onnx"
  policies.export_step(policy, path, "onnx")
  env = gymnasium.make("CartPole-v1")
  returns = []
  for seed in range(3):
    observation, _ = env.reset(seed=seed)
    memory, over, total = policy.initial_memory(), False, 0.0
    while not over:
      action, memory = policy.act(observation, memory)
      observation, reward, *ends, _ = env.step(int(action))
      over, total = any(ends), total + reward
    returns.append(total)
  assert names["play"](path, env, 3) == returns


@pytest.mark.parametrize("scales", [False, True])
def test_a_step_without_jaxseq_plays_as_evaluate_does(scales, tmp_path):
  config = dataclasses.replace(
    _CONFIG,
    env_id="PositionOnlyPendulumEasy",
    scale_actions=scales,
    env_params=(("max_steps_in_episode", 9),),
    network=toy.network("mamba2", 8),
  )
  variables = dict(ppo.init(config, jax.random.key(0)).variables)
  # A scale of its own, and actions beyond their bounds.
  statistics = variables["statistics"]
  mean = jnp.linspace(-0.5, 0.5, len(statistics.mean))
  variables["statistics"] = statistics._replace(
    mean=mean, variance=0.1 * statistics.variance
  )
  variables["params"] = jax.tree.map(lambda x: 4 * x + 0.1, variables["params"])
  path = tmp_path / "agent.safetensors"
  policies.save(path, config, variables)
  # Two episodes, so that there is a reset inside.
  played, _ = evaluate.record(
    config, variables, jax.random.key(1), 18, greedy=True
  )
  described, call, states = _program(
    policies.load(path), tmp_path / "agent.bin"
  )
  names = [entry["name"] for entry in described["inputs"]]
  assert names[:2] == ["observation", "reset"]
  assert "last_action" in names
  size = described["inputs"][0]["shape"][1]
  for t in range(18):
    given = {
      "observation": np.asarray(played.observation[t, None, :size]),
      "reset": np.array([t % 9 == 0]),
    }
    results = call(given | states)
    states = {name: results[f"next_{name}"] for name in states}
    want = np.asarray(played.action[t]) * (2 if scales else 1)
    bounded = np.clip(want, -2, 2)
    before = bounded if scales else want
    np.testing.assert_allclose(states["last_action"][0], before, rtol=1e-4)
    np.testing.assert_allclose(results["action"][0], bounded, rtol=1e-4)
    np.testing.assert_allclose(results["value"], played.value[t], rtol=1e-3)
  assert np.abs(played.action).max() > (1 if scales else 2)
  described, call, _ = _program(
    policies.load(path), tmp_path / "b.bin", deterministic=False
  )
  assert described["about"]["noise"] == "standard normal"
  noise = np.array([[-1.5]], np.float32)
  results = call(given | states | {"noise": noise})
  drawn = results["mean"] + np.exp(results["log_std"]) * noise
  drawn = np.clip(2 * drawn, -2, 2) if scales else drawn
  np.testing.assert_allclose(results["next_last_action"], drawn, rtol=1e-5)
