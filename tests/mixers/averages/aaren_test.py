"""Aaren against attention that is computed anew for every prefix, float64."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import nn
from jaxseq.mixers.averages import aaren
from tests.mixers.golden_cases import FORWARD
from tests.mixers.golden_cases import GRADIENT
from tests.mixers.golden_cases import close

CONFIG = aaren.Config(8, heads=2)


def layer_params(data, prefix):
  """A Transformer layer's arrays, or their gradients, in our layout."""

  def dense(name):
    return {
      "kernel": data[f"{prefix}{name}.weight"].T,
      "bias": data[f"{prefix}{name}.bias"],
    }

  def norm(name):
    return {
      "scale": data[f"{prefix}{name}.weight"],
      "bias": data[f"{prefix}{name}.bias"],
    }

  W = np.split(data[f"{prefix}self_attn.in_proj_weight"], 3)
  b = np.split(data[f"{prefix}self_attn.in_proj_bias"], 3)
  out = dense("self_attn.out_proj")
  mixer = {"q_tok": data[f"{prefix}query"]}
  mixer |= {f"W_{name}": w.T for name, w in zip("qkv", W)}
  mixer |= {f"b_{name}": w for name, w in zip("qkv", b)}
  return {
    "mixer": mixer | {"W_o": out["kernel"], "b_o": out["bias"]},
    "norm": norm("norm1"),
    "feedforward_norm": norm("norm2"),
    "feedforward": {"in": dense("linear1"), "out": dense("linear2")},
  }


@pytest.mark.parametrize(
  "order", ["postnorm", pytest.param("prenorm", marks=pytest.mark.slow)]
)
def test_golden_stack(x64, golden, order):
  """Two encoder layers: their outputs, and the gradients of sum(y * cot)."""
  del x64
  data = golden(f"aaren/stack_{order}")
  layer = nn.SequenceLayer(
    nn.StackConfig(
      "aaren",
      {"heads": int(data["num_heads"])},
      d_model=16,
      norm="layer",
      prenorm=bool(data["pre_norm"]),
      activation="none",
      feedforward="relu",
      feedforward_width=24,
      norm_epsilon=1e-5,
    )
  )

  @jax.jit
  def gradient(layers, x):
    def loss(layers, x):
      h1, _ = layer.apply({"params": layers[0]}, x)
      y, _ = layer.apply({"params": layers[1]}, h1)
      return jnp.sum(y * data["cot"]), (h1, y)

    return jax.value_and_grad(loss, (0, 1), has_aux=True)(layers, x)

  layers = [layer_params(data, f"p.{i}.") for i in range(2)]
  (_, (h1, y)), (grads, d_x) = gradient(layers, data["x"])
  close(h1, data["h1"], FORWARD)
  close(y, data["y"], FORWARD)
  close(d_x, data["dx"], GRADIENT)
  expected = [layer_params(data, f"g.{i}.") for i in range(2)]
  chex.assert_trees_all_equal_structs(grads, expected)
  jax.tree.map(lambda a, b: close(a, b, GRADIENT), grads, expected)


def test_parameter_count_of_the_paper():
  """A Transformer layer has 3,152,384, and the query token adds 512."""
  layer = nn.SequenceLayer(
    nn.StackConfig(
      "aaren",
      d_model=512,
      norm="layer",
      activation="none",
      feedforward="relu",
      feedforward_width=2048,
    )
  )
  x = jax.ShapeDtypeStruct((1, 3, 512), jnp.float32)
  variables = jax.eval_shape(layer.init, jax.random.key(0), x)
  count = sum(leaf.size for leaf in jax.tree.leaves(variables))
  assert count == 3_152_896


def random_params(config=CONFIG):
  """Float64 parameters, none of them zero."""
  params = jax.jit(aaren.init, static_argnums=1)(jax.random.key(0), config)
  rng = np.random.default_rng(0)
  return {
    name: value + 0.1 * rng.normal(size=value.shape)
    for name, value in params.items()
  }


def test_state_is_of_one_size():
  """H (2 + d / H) numbers, however much was seen."""
  params = aaren.init(jax.random.key(0), CONFIG)
  for time in (1, 7, 100_000):
    x = jax.ShapeDtypeStruct((time, 8), jnp.float32)
    _, state = jax.eval_shape(functools.partial(aaren.apply, CONFIG), params, x)
    assert [leaf.shape for leaf in state] == [(2,), (2,), (2, 4)]


def test_query_is_not_computed_from_the_input(x64):
  """The last output is the same for any order of all elements.

  That of causal self-attention is not: its query is from the last of them.
  """
  del x64
  params = random_params()
  rng = np.random.default_rng(1)
  x = rng.normal(size=(2, 9, 8))
  apply = jax.jit(functools.partial(aaren.apply, CONFIG))
  y, _ = apply(params, x)
  shuffled, _ = apply(params, x[:, rng.permutation(9)])
  # float64 rounding.
  np.testing.assert_allclose(shuffled[:, -1], y[:, -1], rtol=1e-12, atol=1e-13)
  # And the learned query does matter.
  other, _ = apply(params | {"q_tok": -params["q_tok"]}, x)
  assert np.abs(other[:, -1] - y[:, -1]).max() > 1e-3


def test_padding_is_left_out(x64):
  """Left padding equals a shorter sequence; where there is only padding, b_o.

  Also one element at a time.
  """
  del x64
  params = random_params()
  x = np.random.default_rng(1).normal(size=(2, 9, 8))
  mask = np.arange(9) >= np.array([[4], [0]])
  apply = jax.jit(functools.partial(aaren.apply, CONFIG))
  y, final = apply(params, x, mask=mask)
  alone, end = apply(params, x[:1, 4:])
  # float64 rounding, here and below.
  options = {"rtol": 1e-12, "atol": 1e-13}
  np.testing.assert_allclose(y[:1, 4:], alone, **options)
  chex.assert_trees_all_close(
    jax.tree.map(lambda leaf: leaf[:1], final), end, **options
  )
  np.testing.assert_allclose(
    y[0, :4], np.tile(params["b_o"], (4, 1)), **options
  )
  step = jax.jit(functools.partial(aaren.step, CONFIG))
  state = aaren.initial_state(CONFIG, (2,), jnp.float64)
  for t in range(9):
    y_t, state = step(params, x[:, t], state, mask=mask[:, t])
    np.testing.assert_allclose(y_t, y[:, t], **options)
  chex.assert_trees_all_close(state, final, **options)


def test_initial_parameters():
  params = jax.jit(aaren.init, static_argnums=1)(
    jax.random.key(0), aaren.Config(64)
  )
  shapes = dict.fromkeys(("W_q", "W_k", "W_v", "W_o"), (64, 64))
  shapes |= dict.fromkeys(("q_tok", "b_q", "b_k", "b_v", "b_o"), (64,))
  assert {name: leaf.shape for name, leaf in params.items()} == shapes
  chex.assert_type(list(params.values()), jnp.float32)
  for name in ("W_q", "W_k", "W_v", "W_o"):
    bound = (1 / 64) ** 0.5 if name == "W_o" else (6 / 256) ** 0.5
    # The largest of 4096 uniform draws.
    assert 0.99 * bound < np.abs(params[name]).max() <= bound
  for name in ("b_q", "b_k", "b_v", "b_o"):
    assert not params[name].any()
  # 64 draws of a unit normal estimate its width to 0.09.
  assert 0.7 < params["q_tok"].std() < 1.3


def test_bad_arguments_are_named():
  params = aaren.init(jax.random.key(0), CONFIG)
  x = jnp.ones((2, 3, 8))
  with pytest.raises(ValueError, match=r"mask: got dtype float32"):
    aaren.apply(CONFIG, params, x, mask=jnp.ones((2, 3)))
  with pytest.raises(ValueError, match=r"mask: got shape .*\(2, 3\)"):
    aaren.apply(CONFIG, params, x, mask=jnp.ones((3,), bool))
