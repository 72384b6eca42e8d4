"""Layers that differ, that have mixers side by side, or that share values."""

import dataclasses
import functools
import sys
import types

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import mixers
from jaxseq import nn
from jaxseq.interop import network_file
from jaxseq.mixers import contract
from jaxseq.training import configuration

# float32 sums in another order, a few layers deep.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
DIFFERENT = nn.StackConfig(
  "gru",
  {},
  layers=(
    {"feedforward": "relu2", "feedforward_options": {"bias": False}},
    {"mixer": "attention", "mixer_options": {"heads": 2, "window": 9}},
    {"norm_output": True, "feedforward": "geglu"},
  ),
  d_model=4,
  num_layers=3,
  norm="rms",
)


def x_of(*shape):
  return jax.random.normal(jax.random.key(5), (*shape, 4))


@pytest.mark.slow
def test_a_layer_may_be_a_feedforward_alone():
  half = {"mixes": False, "feedforward": "relu2", "feedforward_width": 3}
  model = nn.SequenceModel(
    nn.StackConfig("gru", layers=(half, {}), d_model=4, num_layers=2)
  )
  variables, _ = check_three_ways(model, x_of(2, 5))
  first = variables["params"]["layers_0"]
  assert set(first) == {"feedforward_norm", "feedforward"}
  assert model.initial_state((2,))[0] == ()
  with pytest.raises(ValueError, match="mixes: got False, expected True for"):
    nn.StackConfig("gru", mixes=False)


def check_three_ways(model, x):
  """Whole, in pieces, and step by step, with resets."""
  reset = jax.random.bernoulli(jax.random.key(1), 0.3, x.shape[:-1])
  variables = jax.jit(model.init)(jax.random.key(0), x)
  apply = jax.jit(model.apply)
  step = jax.jit(functools.partial(model.apply, method="step"))
  y, final = apply(variables, x, None, reset)
  states = model.initial_state((len(x),))
  chex.assert_trees_all_equal_shapes_and_dtypes(states, final)
  # Pieces of one length, which one program reads, and a step.
  pieces, last = [], x.shape[1] - 1
  for t in range(0, last, 2):
    piece = np.s_[:, t : t + 2]
    y_piece, states = apply(variables, x[piece], states, reset[piece])
    pieces.append(y_piece)
  y_last, states = step(variables, x[:, last], states, reset[:, last])
  pieces = jnp.concatenate([*pieces, y_last[:, None]], 1)
  chex.assert_trees_all_close((pieces, states), (y, final), **CLOSE)
  states = model.initial_state((len(x),))
  for t in range(x.shape[1]):
    y_t, states = step(variables, x[:, t], states, reset[:, t])
    np.testing.assert_allclose(y_t, y[:, t], **CLOSE)
  chex.assert_trees_all_close(states, final, **CLOSE)
  return variables, y


@pytest.mark.slow
def test_layers_may_differ():
  variables, _ = check_three_ways(nn.SequenceModel(DIFFERENT), x_of(2, 5))
  first, second, third, _ = (
    variables["params"][name]
    for name in ("layers_0", "layers_1", "layers_2", "final_norm")
  )
  assert set(first["feedforward"]["in"]) == {"kernel"}
  assert "W_q" in second["mixer"]
  assert "feedforward" not in second
  assert set(third["feedforward"]) == {"in", "gate", "out"}
  assert DIFFERENT.mixer_names == ("gru", "attention", "gru")


@pytest.mark.slow
def test_layers_come_from_config_files_and_go_to_files(tmp_path):
  fields = {
    "mixer": "gru",
    "layers": (
      {"feedforward": "relu2", "feedforward_options": {"bias": False}},
      {"mixer": "attention", "mixer_options": {"heads": 2, "window": 9}},
      {"norm_output": True, "feedforward": "geglu"},
    ),
    "d_model": 4,
    "num_layers": 3,
    "norm": "rms",
  }
  assert configuration.from_config_dict(nn.StackConfig, fields) == DIFFERENT
  model = nn.SequenceModel(DIFFERENT)
  variables = jax.jit(model.init)(jax.random.key(0), x_of(1, 2))
  network_file.save(tmp_path / "network", model, variables)
  loaded, _ = network_file.load(tmp_path / "network")
  assert loaded == model


def test_a_norm_of_the_output_stands_within_the_residual_sum():
  config = nn.StackConfig(
    "gru",
    d_model=4,
    num_layers=1,
    norm="rms",
    norm_output=True,
    activation="none",
    final_norm=False,
  )
  x = x_of(2, 3)
  model = nn.SequenceModel(config)
  variables = jax.jit(model.init)(jax.random.key(0), x)
  y, _ = jax.jit(model.apply)(variables, x)
  inner = dataclasses.replace(config, norm="none", residual=False)
  (layer,) = variables["params"].values()
  mixed, _ = jax.jit(nn.SequenceLayer(inner).apply)(
    {"params": {"mixer": layer["mixer"]}}, x
  )
  normed = mixed / jnp.sqrt(jnp.mean(mixed**2, -1, keepdims=True) + 1e-6)
  np.testing.assert_allclose(y, x + normed, **CLOSE)


@pytest.mark.slow
def test_parallel_mixers_read_the_same_and_are_added_up():
  config = nn.StackConfig(
    "gru",
    parallel={"attention": {"heads": 2, "window": 9}, "s5": {"ssm_size": 16}},
    d_model=4,
    num_layers=1,
    norm="none",
    residual=False,
    activation="none",
  )
  model, x = nn.SequenceModel(config), x_of(2, 5)
  variables, _ = check_three_ways(model, x)
  layer = variables["params"]["layers_0"]
  total = 0
  for name, one in zip(
    ("mixer", "mixer_1", "mixer_2"), (*config.mixers, *config.parallel_mixers)
  ):
    total += mixers.module_of(one).apply(one, layer[name], x)[0]
  y, _ = model.apply(variables, x)
  np.testing.assert_allclose(y, total, **CLOSE)
  assert "Lambda_re" in config.ssm_parameters


def test_parameters_that_an_option_leaves_out_are_no_group():
  for decay, names in (("none", ()), ("head", ("A_log", "dt_bias"))):
    config = nn.StackConfig("gated_deltanet", {"decay": decay}, d_model=4)
    assert config.ssm_parameters == names


@pytest.mark.slow
def test_layers_share_values_carry_two_states_and_know_their_depth():
  config = nn.StackConfig(
    "rwkv7",
    {"head_size": 2},
    d_model=4,
    num_layers=2,
    activation="none",
    feedforward="channel_mix",
  )
  variables, _ = check_three_ways(nn.SequenceModel(config), x_of(2, 5))
  first, second = (variables["params"][f"layers_{i}"] for i in range(2))
  assert "v0" not in first["mixer"]
  assert "v0" in second["mixer"]
  assert np.any(first["feedforward"]["mu_k"] != second["feedforward"]["mu_k"])
  assert config.every_layer[1].channel_mix.layer == 1


@pytest.mark.slow
def test_layers_have_one_parameter_in_common():
  config = nn.StackConfig(
    "hgrn2", {"heads": 2}, d_model=4, num_layers=3, final_norm=False
  )
  model, x = nn.SequenceModel(config), x_of(2, 5)
  variables, _ = check_three_ways(model, x)
  params = variables["params"]
  np.testing.assert_array_equal(params["hgrn2_layers"], np.zeros((3, 4)))

  def loss(params):
    return jnp.sum(model.apply({"params": params}, x)[0] ** 2)

  assert np.all(jax.grad(loss)(params)["hgrn2_layers"] != 0)
  # Bounds grow by thirds, from none in the first layer.
  z = x
  for i, bound in enumerate((0.0, 1 / 3, 2 / 3)):
    options = {"heads": 2, "lower_bound": bound}
    one = nn.SequenceLayer(dataclasses.replace(config, mixer_options=options))
    z, _ = one.apply({"params": params[f"layers_{i}"]}, z)
  # `check_three_ways` has resets, this has none.
  y, _ = model.apply(variables, x)
  np.testing.assert_allclose(y, z, **CLOSE)


@pytest.mark.slow
def test_a_gate_joins_what_a_sum_would():
  config = nn.StackConfig(
    "gru", d_model=4, num_layers=1, gate="gru", feedforward="relu"
  )
  variables, y = check_three_ways(nn.SequenceModel(config), x_of(2, 5))
  layer = variables["params"]["layers_0"]
  assert np.all(layer["gate"]["bias"] == 2)
  assert "feedforward_gate" in layer
  # The more of the input is kept, the less is changed.
  changed = []
  for bias in (0.0, 9.0):
    wide = dataclasses.replace(config, gate_bias=bias, final_norm=False)
    model = nn.SequenceModel(wide)
    x = x_of(2, 5)
    y, _ = model.apply(jax.jit(model.init)(jax.random.key(0), x), x)
    changed.append(float(jnp.abs(y - x).max()))
  assert changed[1] < 0.01 < changed[0]


def summing_mixer():
  """A mixer that adds its input to a sum that all layers share."""
  module = types.ModuleType("summing_mixer")

  @dataclasses.dataclass(frozen=True)
  class Config:
    d_model: int

  Config.__module__ = module.__name__
  module.Config = Config
  module.init = lambda key, config: {"scale": jnp.full((config.d_model,), 2.0)}

  @contract.initial_state
  def initial_state(config, batch_shape=(), dtype=jnp.float32):
    return jnp.zeros(batch_shape, dtype)

  def apply_shared(config, params, x, state, reset, shared, *, axis=None):
    below = shared.get("sum", jnp.zeros_like(x))
    y = params["scale"] * x + below
    if state is None:
      state = initial_state(config, x.shape[:-2])
    return y, state, {"sum": below + x}

  def step_shared(config, params, x, state, reset, shared):
    return apply_shared(config, params, x, state, reset, shared)

  def apply(config, params, x, state=None, reset=None, *, axis=None):
    return apply_shared(config, params, x, state, reset, {})[:2]

  def step(config, params, x, state, reset=None):
    return apply(config, params, x, state, reset)

  for function in (initial_state, apply_shared, step_shared, apply, step):
    setattr(module, function.__name__, function)
  return module


@pytest.mark.parametrize("remat", [False, True])
def test_layers_share_values(monkeypatch, remat):
  monkeypatch.setitem(sys.modules, "summing_mixer", summing_mixer())
  monkeypatch.setattr(
    mixers.registry,
    "_MIXERS",
    mixers.registry._registry.Registry(
      "mixer", {"summing": "summing_mixer", "gru": "jaxseq.mixers.gated.gru"}
    ),
  )
  options = {"norm": "none", "activation": "none", "residual": False}
  config = nn.StackConfig(
    "summing", d_model=4, num_layers=3, remat=remat, **options
  )
  model, x = nn.SequenceModel(config), x_of(2, 3)
  variables = jax.jit(model.init)(jax.random.key(0), x)
  y, states = jax.jit(model.apply)(variables, x)
  # y1 = 2 x; y2 = 2 y1 + x; y3 = 2 y2 + x + y1.
  np.testing.assert_allclose(y, (2 * (2 * 2 + 1) + 1 + 2) * x, rtol=1e-6)
  y_0, _ = model.apply(variables, x[:, 0], states, method="step")
  np.testing.assert_allclose(y_0, y[:, 0], rtol=1e-6)
  with pytest.raises(ValueError, match="scan_layers: got True, expected False"):
    dataclasses.replace(config, scan_layers=True)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"layers": ({},), "num_layers": 2}, "num_layers: got 2, expected 1, as m"),
    ({"layers": "x"}, "layers: got 'x', expected the fields of each layer"),
    ({"layers": ({}, {"d_model": 3})}, r"layers\[1\]: field: got 'd_model'"),
    ({"layers": ({}, {"norm": "x"})}, r"layers\[1\]: norm: got 'x'"),
    (
      {"layers": ({}, {"mixer": "attention", "mixer_options": {"head": 3}})},
      r"layers\[1\]: option of mixer 'attention': got 'head'",
    ),
    ({"layers": ({}, {}), "hybrid": {"lstm": {}}}, "hybrid: got .* beside lay"),
    ({"layers": ({}, {}), "scan_layers": True}, "scan_layers: got True, expec"),
    ({"feedforward_options": {"bias": True}}, "feedforward 'none': got 'bias'"),
    (
      {"feedforward": "relu", "feedforward_options": {"bias": 3}},
      "feedforward_options.bias: got 3",
    ),
    (
      {"feedforward": "experts", "feedforward_options": {"experts": 0}},
      "feedforward_options: experts: got 0",
    ),
    ({"gate": "gru", "residual": False}, "gate: got 'gru', expected 'none'"),
    (
      {"feedforward": "channel_mix", "feedforward_options": {"experts": 2}},
      "of feedforward 'channel_mix': got 'experts', expected one of",
    ),
    ({"parallel": {"lstm": {"x": 1}}}, "option of mixer 'lstm': got 'x'"),
  ],
)
def test_errors_name_what_came(options, message):
  with pytest.raises(ValueError, match=message):
    nn.StackConfig("gru", **options)


def test_outputs_are_scaled_and_bounded():
  stack = nn.StackConfig("gru", d_model=4, num_layers=1, norm="layer")
  plain = nn.NetworkConfig(stack, tie=True, embedding_norm=True)
  tokens = jnp.arange(6).reshape(2, 3)
  network = nn.SequenceNetwork(plain, 7, 7)
  variables = jax.jit(network.init)(jax.random.key(0), tokens)
  assert set(variables["params"]) == {"embed", "embedding_norm", "stack"}
  y, _ = jax.jit(network.apply)(variables, tokens)
  scaled = dataclasses.replace(plain, logit_scale=100.0, logit_cap=0.5)
  z, _ = jax.jit(nn.SequenceNetwork(scaled, 7, 7).apply)(variables, tokens)
  np.testing.assert_allclose(z, 0.5 * jnp.tanh(200 * y), rtol=1e-4, atol=1e-6)
  # A norm undoes a factor, but for its epsilon.
  larger = dataclasses.replace(plain, embedding_scale=50.0)
  z, _ = jax.jit(nn.SequenceNetwork(larger, 7, 7).apply)(variables, tokens)
  assert jnp.abs(z - y).max() > 0
  none = dataclasses.replace(stack, norm="none")
  with pytest.raises(ValueError, match="embedding_norm: got True, expected Fa"):
    nn.NetworkConfig(none, embedding_norm=True)
