"""Initial states that are tuned: golden, every mixer, files."""

import dataclasses
import functools
import json
import pathlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxseq
from jaxseq import mixers
from jaxseq import nn
from jaxseq.adapt import initial_states
from jaxseq.adapt import lora
from jaxseq.interop import huggingface
from jaxseq.interop import safetensors_file

BASES = pathlib.Path(__file__).resolve().parents[1] / "golden/hybrids"
# Those of the golden files: float32 of another library, through some layers.
_GOLDEN = {"rtol": 1e-4, "atol": 1e-4}
# Each takes seconds to compile; others than this one are slow.
_TUNED = [
  pytest.param(name, marks=() if name == "mamba2" else pytest.mark.slow)
  for name in mixers.names()
  if mixers.traits(name).memory
]


def _loaded(name):
  config, variables = huggingface.load(BASES / name)
  network = huggingface.make_network(config, variables)
  return network, variables, initial_states.parameters(network, variables)


def _named(golden, prefix, states):
  """The golden arrays by the paths of states; Mamba-2's turned round."""
  return {
    path: np.swapaxes(golden[f"{prefix}/{i}"], -1, -2)
    if path.endswith("ssm")
    else golden[f"{prefix}/{i}"]
    for i, path in enumerate(states)
  }


@pytest.mark.parametrize(
  "name", [pytest.param("qwen3_next", marks=pytest.mark.slow), "falcon_h1"]
)
def test_golden(golden, name):
  golden = golden(f"adapt/initial_states/{name}")
  network, variables, zeros = _loaded(name)
  ids = jnp.asarray(golden["ids"], jnp.int32)
  scored = np.arange(ids.shape[1]) >= np.tile(golden["prompt"], (len(ids), 1))
  states = _named(golden, "state", zeros)

  @jax.jit
  def logits(states):
    tuned = initial_states.attach(network, variables, states)
    return network.apply(tuned, ids)[0]

  np.testing.assert_allclose(logits(states), golden["logits"], **_GOLDEN)
  np.testing.assert_allclose(
    logits(zeros), golden["logits_zero_state"], **_GOLDEN
  )
  recipe = initial_states.Recipe(int(golden["recipe_losses"].size))
  tuned, losses = initial_states.tune(
    network, variables, zeros, ids, scored, recipe
  )
  np.testing.assert_allclose(losses, golden["recipe_losses"], rtol=1e-5)
  expected = _named(golden, "recipe_state", zeros)
  for path, state in tuned.items():
    largest = np.abs(expected[path]).max()
    np.testing.assert_allclose(state, expected[path], atol=1e-3 * largest)
  used = initial_states.scaled(tuned, float(golden["alpha"]))
  np.testing.assert_allclose(
    logits(used), golden["recipe_logits_scaled"], **_GOLDEN
  )
  value, slope = jax.jit(
    jax.value_and_grad(
      lambda states: initial_states.loss(
        network, variables, states, ids, scored
      )
    )
  )(states)
  np.testing.assert_allclose(value, golden["loss"], rtol=1e-5)
  expected = _named(golden, "grad", zeros)
  for path, gradient in slope.items():
    largest = np.abs(expected[path]).max()
    np.testing.assert_allclose(gradient, expected[path], atol=1e-4 * largest)


def _network(*names, shapes=False, **fields):
  stack = nn.StackConfig.alternating(
    *names, d_model=6, num_layers=len(names), **fields
  )
  network = nn.SequenceNetwork(nn.NetworkConfig(stack), 5)
  # float64 where that is on.
  x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 6)))

  def init(key, x):
    # Some mixers begin with matrices of zeros behind their states.
    variables = network.init(key, x)
    return jax.tree.map(lambda leaf: leaf + 0.05, variables)

  init = functools.partial(jax.eval_shape, init) if shapes else jax.jit(init)
  return network, init(jax.random.key(0), x), x


def _states(network, variables):
  """States of which none is zero; sums of weights are positive."""
  zeros = initial_states.parameters(network, variables)
  rng = np.random.default_rng(1)
  return {
    path: jnp.asarray(0.2 + 0.1 * rng.normal(size=leaf.shape))
    for path, leaf in zeros.items()
  }


def _check_begins(network, variables, x):
  """Sequences, steps with resets, and pieces begin with the tuned states."""
  states = _states(network, variables)
  reset = jnp.array([[False, False, True], [False, True, False]])

  @jax.jit
  def run(states, weight):
    tuned = initial_states.attach(network, variables, states)
    whole, _ = network.apply(tuned, x)
    first, carried = network.apply(tuned, x[:, :2])
    second, _ = network.apply(tuned, x[:, 2:], carried)
    outputs, carried = [], None
    for t in range(3):
      y, carried = network.apply(
        tuned, x[:, t], carried, reset[:, t], method="step"
      )
      outputs.append(y)
    rows = x[:1, 2:], x[1:, 1:]
    alone = [network.apply(tuned, row)[0] for row in rows]
    plain, _ = network.apply(variables, x)
    pieces = jnp.concatenate([first, second], axis=1)
    results = whole, pieces, jnp.stack(outputs, 1), *alone, plain
    return jnp.sum(weight * whole), results

  weight = np.random.default_rng(2).normal(size=(2, 5, 5))
  slope, results = jax.jit(jax.grad(run, has_aux=True))(states, weight)
  whole, pieces, steps, third, second, plain = results
  # Sums of a few numbers in float64.
  close = {"rtol": 1e-9, "atol": 1e-11}
  np.testing.assert_allclose(pieces, whole, **close)
  np.testing.assert_allclose(steps[0, :2], whole[0, :2], **close)
  np.testing.assert_allclose(steps[0, 2], third[0, 0], **close)
  np.testing.assert_allclose(steps[1, 0], whole[1, 0], **close)
  np.testing.assert_allclose(steps[1, 1:], second[0, :2], **close)
  assert np.abs(whole - plain).max() > 1e-6
  # Along one direction.
  rng = np.random.default_rng(3)
  along = {path: rng.normal(size=leaf.shape) for path, leaf in states.items()}
  up, down = (
    run({path: states[path] + h * along[path] for path in states}, weight)[0]
    for h in (1e-5, -1e-5)
  )
  expected = sum(float(jnp.sum(slope[path] * along[path])) for path in slope)
  np.testing.assert_allclose((up - down) / 2e-5, expected, rtol=1e-5, atol=1e-8)
  tuned = initial_states.attach(network, variables, states)
  with pytest.raises(ValueError, match="reset: .* None with tuned states"):
    jax.eval_shape(
      lambda: network.apply(tuned, x, None, jnp.zeros((2, 5), "?"))
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", _TUNED)
def test_every_mixer_begins_with_them(x64, name):
  del x64
  _check_begins(*_network(name))


@pytest.mark.parametrize(
  "fields",
  [
    {"scan_layers": True},
    {"parallel": (("attention", {"window": 4}),)},
    {"feedforward": "channel_mix"},
  ],
  ids=("scanned", "parallel", "channel_mix"),
)
@pytest.mark.slow
def test_every_form_of_a_layer_begins_with_them(x64, fields):
  del x64
  _check_begins(*_network("lru", **fields))


@pytest.mark.slow
@pytest.mark.parametrize("name", [param.values[0] for param in _TUNED])
def test_zeros_can_be_left(x64, name):
  del x64
  network, variables, x = _network(name)
  zeros = initial_states.parameters(network, variables)
  weight = np.random.default_rng(2).normal(size=(2, 5, 5))

  def run(states):
    tuned = initial_states.attach(network, variables, states)
    return jnp.sum(weight * network.apply(tuned, x)[0])

  slope = jax.jit(jax.grad(run))(zeros)
  assert all(np.isfinite(leaf).all() for leaf in slope.values())
  assert any(np.any(leaf) for leaf in slope.values())


@pytest.mark.devices
def test_time_that_is_split_over_devices_begins_with_them():
  network, variables, _ = _network("gla", "rglru")
  x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 6)))
  states = _states(network, variables)

  def loss(config, states):
    network = nn.SequenceNetwork(config, 5)
    tuned = initial_states.attach(network, variables, states)
    return jnp.sum(network.apply(tuned, x)[0] ** 2)

  run = jax.jit(jax.value_and_grad(loss, argnums=1), static_argnums=0)
  whole = run(network.config, states)
  stack = dataclasses.replace(network.config.stack, time_axis="time")
  cut = dataclasses.replace(network.config, stack=stack)
  axes = {"axis_types": (jax.sharding.AxisType.Auto,)}
  with jax.set_mesh(jax.make_mesh((4,), ("time",), **axes)):
    split = run(cut, states)
    assert "collective" in run.lower(cut, states).as_text()
  # Parameters are float32, and sums are taken in another order.
  chex.assert_trees_all_close(split, whole, rtol=1e-5, atol=1e-5)


def test_what_is_tuned():
  network, variables, _ = _network("rglru", "attention", "s5", shapes=True)
  states = initial_states.parameters(network, variables)
  assert {path: leaf.shape for path, leaf in states.items()} == {
    "0/h": (6,),
    "2": (128, 2),
  }
  assert list(initial_states.parameters(network, variables, "^0")) == ["0/h"]
  with pytest.raises(
    ValueError, match="which: got '1', expected one of 0/h, 2"
  ):
    initial_states.parameters(network, variables, "1")
  with pytest.raises(ValueError, match=r"which: got '\(', expected a regular"):
    initial_states.parameters(network, variables, "(")
  with pytest.raises(
    ValueError, match="states: got '0/conv', expected among 0"
  ):
    initial_states.attach(network, variables, {"0/conv": jnp.zeros((3, 6))})
  with pytest.raises(ValueError, match=r"states\['0/h'\]: got shape \(5,\)"):
    initial_states.attach(network, variables, {"0/h": jnp.zeros(5)})
  network, variables, _ = _network("attention", shapes=True)
  with pytest.raises(
    ValueError, match="network: got 'attention', expected mixers"
  ):
    initial_states.parameters(network, variables)


def test_with_adapters():
  network, variables, x = _network("minlstm")
  states = _states(network, variables)
  config = lora.Config(("mixer.W",), rank=2)
  adapters = lora.init(jax.random.key(1), network, variables, config)
  adapters = jax.tree.map(lambda leaf: leaf + 0.1, adapters)
  both = [
    initial_states.attach(network, change(variables, adapters), states)
    for change in (lora.attach, lora.merge)
  ]
  apply = jax.jit(lambda variables: network.apply(variables, x[:, :2])[0])
  attached, merged = map(apply, both)
  # Weights are float32 here, and so their products.
  np.testing.assert_allclose(attached, merged, rtol=1e-5, atol=1e-6)
  other = lora.attach(both[1], adapters)
  assert other["initial_states"] is both[1]["initial_states"]


def test_scaled():
  states = {"a": jnp.array([3.0, 4.0]), "b": jnp.zeros(2)}
  plain = initial_states.scaled(states, 0.5)
  np.testing.assert_array_equal(plain["a"], [1.5, 2.0])
  normal = initial_states.scaled(states, 0.5, normalize=True)
  np.testing.assert_allclose(normal["a"], [0.3, 0.4], rtol=1e-6)
  np.testing.assert_array_equal(normal["b"], [0.0, 0.0])


def test_files(tmp_path):
  network, variables, _ = _network("gru")
  states = initial_states.parameters(network, variables)
  states = {path: leaf + 0.25 for path, leaf in states.items()}
  path = tmp_path / "states.safetensors"
  initial_states.save(path, states, variables)
  loaded = initial_states.load(path, variables)
  assert loaded.keys() == states.keys()
  np.testing.assert_array_equal(loaded["0/h"], states["0/h"])
  assert jaxseq.load(path).base == initial_states.digest(variables)
  others = jax.tree.map(lambda leaf: leaf + 1, variables)
  with pytest.raises(ValueError, match="tuned for other parameters"):
    initial_states.load(path, others)


def test_states_of_other_programs(tmp_path, golden):
  expected = golden("adapt/initial_states/falcon_h1")
  network, variables, _ = _loaded("falcon_h1")
  own = {"0": expected["state/0"], "1": expected["state/1"]}
  path = tmp_path / "states.safetensors"
  safetensors_file.write(path, own)
  (tmp_path / "config.json").write_text(json.dumps({"alpha": 0.65}))
  states = initial_states.read_s0(tmp_path, network, variables)
  np.testing.assert_array_equal(
    states["1/1/ssm"], np.swapaxes(own["1"], -1, -2)
  )
  safetensors_file.write(path, {"0": own["0"]})
  with pytest.raises(
    ValueError, match=r"layers \[0\]', expected those of 0/1/"
  ):
    initial_states.read_s0(tmp_path, network, variables)


def test_states_of_rwkv(tmp_path):
  stack = nn.StackConfig("rwkv7", {"head_size": 4}, d_model=8, num_layers=2)
  network = nn.SequenceNetwork(nn.NetworkConfig(stack), 5)
  variables = jax.eval_shape(network.init, jax.random.key(0), jnp.ones((1, 8)))
  rng, path = np.random.default_rng(0), tmp_path / "rwkv.safetensors"
  tensors = {
    f"blocks.{i}.att.time_state": rng.normal(size=(2, 4, 4)).astype("f")
    for i in range(2)
  }
  safetensors_file.write(path, {**tensors, "emb.weight": np.zeros((2, 2))})
  states = initial_states.read_rwkv(path, network, variables)
  for i, state in enumerate(tensors.values()):
    np.testing.assert_array_equal(states[f"{i}/S"], state.transpose(0, 2, 1))
