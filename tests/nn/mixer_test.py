import functools

import chex
from flax import errors
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import mixers
from jaxseq import nn
from jaxseq.nn import mixer

_CONFIGS = {
  "gru": mixers.make_config("gru", d_model=4, d_hidden=6, heads=2),
  "s5": mixers.make_config("s5", d_model=4, ssm_size=8, blocks=2),
}


@pytest.fixture(params=list(_CONFIGS))
def config(request):
  return _CONFIGS[request.param]


def _x(*shape):
  return jax.random.normal(jax.random.key(5), (*shape, 4))


def test_parameters_are_the_mixers_own(config):
  module = mixers.module_of(config)
  layer = nn.SequenceMixer(config)
  x = _x(2, 5)
  params = jax.jit(layer.init)(jax.random.key(0), x)["params"]
  own = module.init(jax.random.key(1), config)
  chex.assert_trees_all_equal_shapes_and_dtypes(params, own)
  # Both ways round: Flax's parameters in the functions, theirs in Flax.
  bound = jax.jit(layer.apply)
  free = jax.jit(functools.partial(module.apply, config))
  for tree in (params, own):
    chex.assert_trees_all_equal(bound({"params": tree}, x), free(tree, x))


def test_init_draws_as_the_mixer(config):
  """Same key, same numbers: not one key per array."""
  layer = nn.SequenceMixer(config)
  params = layer.init(jax.random.key(3), _x(2, 5))["params"]
  # The key that Flax derives for the module's first draw.
  key = layer.apply(
    {},
    method=lambda m: m.make_rng("params"),
    rngs={"params": jax.random.key(3)},
  )
  own = mixers.module_of(config).init(key, config)
  chex.assert_trees_all_equal(params, own)


def test_step_and_state(config):
  layer = nn.SequenceMixer(config)
  x = _x(2, 3)
  variables = jax.jit(layer.init)(jax.random.key(0), x)
  y, final = jax.jit(layer.apply)(variables, x)
  step = jax.jit(functools.partial(layer.apply, method="step"))
  state = layer.initial_state((2,))
  chex.assert_trees_all_equal_shapes_and_dtypes(state, final)
  for t in range(3):
    y_t, state = step(variables, x[:, t], state)
    chex.assert_trees_all_close(y_t, y[:, t], rtol=1e-4, atol=1e-5)
  chex.assert_trees_all_close(state, final, rtol=1e-4, atol=1e-5)


_BLOCK = {"layers": (1,), "heads": 2, "width": 8}
_EXPERTS = {"experts": 4, "active": 2, "shared_width": 8}


@pytest.mark.parametrize(
  "stack",
  [
    {"mixer": "gru", "bidirectional": True},
    {"mixer": "rwkv7", "feedforward": "channel_mix"},
    {"mixer": "gru", "shared_block": _BLOCK},
    {"mixer": "gru", "scan_layers": True, "parallel": {"mamba2": {}}},
    {
      "mixer": "mamba2",
      "hybrid": {"attention": {"qkv_bias": True}},
      "feedforward": "experts",
      "feedforward_options": _EXPERTS,
    },
  ],
  ids=lambda stack: stack["mixer"],
)
@pytest.mark.parametrize("tie", [False, True])
def test_parameter_shapes_are_those_of_init(stack, tie):
  config = nn.NetworkConfig(nn.StackConfig(d_model=8, **stack), tie=tie)
  network = nn.SequenceNetwork(config, 5, 5)
  tokens = jax.ShapeDtypeStruct((2, 3), jnp.int32)
  variables = jax.eval_shape(network.init, jax.random.key(0), tokens)
  shapes = mixer.parameter_shapes(network, tokens)
  chex.assert_trees_all_equal(shapes, variables["params"])


def test_parameter_shapes_run_no_mixer(monkeypatch):
  config = _CONFIGS["gru"]
  monkeypatch.delattr(mixers.module_of(config), "apply")
  shapes = mixer.parameter_shapes(nn.SequenceMixer(config), _x(2, 3))
  own = mixers.module_of(config).init(jax.random.key(0), config)
  chex.assert_trees_all_equal_shapes_and_dtypes(shapes, own)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_dtype(config, dtype):
  layer = nn.SequenceMixer(config, dtype)
  variables = jax.eval_shape(layer.init, jax.random.key(0), _x(2, 3))
  y, state = jax.eval_shape(layer.apply, variables, _x(2, 3))
  assert y.dtype == dtype
  for leaf in jax.tree.leaves((variables, state)):
    assert leaf.dtype in (jnp.float32, jnp.complex64)


def test_float64_stays(x64, config):
  layer = nn.SequenceMixer(config)
  x = _x(2, 3).astype(jnp.float64)
  variables = jax.eval_shape(layer.init, jax.random.key(0), x)
  y, _ = jax.eval_shape(layer.apply, variables, x)
  assert y.dtype == jnp.float64


def test_options_reach_the_mixer():
  config = _CONFIGS["s5"]
  layer = nn.SequenceMixer(config)
  x = _x(2, 3)
  variables = jax.jit(layer.init)(jax.random.key(0), x)
  gaps = jnp.full((2, 3), 2.0)
  bound = jax.jit(layer.apply)
  free = jax.jit(functools.partial(mixers.get("s5").apply, config))
  y, _ = bound(variables, x, gaps=gaps)
  expected, _ = free(variables["params"], x, gaps=gaps)
  chex.assert_trees_all_equal(y, expected)
  plain, _ = bound(variables, x)
  assert jnp.abs(plain - y).max() > 1e-3


def test_missing_parameters(config):
  with pytest.raises(errors.ScopeParamNotFoundError):
    nn.SequenceMixer(config).apply({}, _x(2, 3))


def test_not_a_mixer():
  with pytest.raises(ValueError, match="config: got .* the Config of a mixer"):
    nn.SequenceMixer(3).init(jax.random.key(0), _x(2, 3))


def test_integer_inputs(config):
  with pytest.raises(
    ValueError, match="x: got dtype int32, expected a floating dtype"
  ):
    nn.SequenceMixer(config).init(jax.random.key(0), jnp.ones((2, 3, 4), int))


def test_options_with_and_without_arrays():
  gaps, shape = np.ones((2, 3)), (4, 4)
  arrays, fixed = mixer.split_options(
    {"gaps": gaps, "shape": shape, "axis": "t"}
  )
  assert list(arrays) == ["gaps"]
  assert fixed == {"shape": shape, "axis": "t"}
  assert mixer.split_options(None) == ({}, {})
