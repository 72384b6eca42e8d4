"""Mixture-of-Memories against the authors' layers, and as its routes say."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.mixers.matrix_states import mom
from tests.mixers.golden_cases import close

# Of float64, as sums in another order need.
_VALUES, _GRADIENTS = 1e-10, 1e-9
_LAYERS = (
  "gated_deltanet",
  "linear_attn_shared",
  pytest.param("linear_attn", marks=pytest.mark.slow),
)
_NAMES = {
  "W_router": "gate",
  "W_q": "q_proj",
  "W_g": "g_proj",
  "W_o": "o_proj",
}


def parameters(data, prefix, config):
  """The original's parameters, or their gradients, by our names."""

  def side_by_side(name):
    """Of all memories; the shared one has another name in one layer."""
    own = [f"{prefix}{name}_proj.{e}.weight" for e in range(config.every)]
    shared = f"{prefix}shared_{name}.weight"
    matrices = [data[key] for key in own if key in data]
    matrices += [data[shared]] if shared in data else []
    return np.concatenate(matrices).T

  params = {
    ours: data[f"{prefix}{original}.weight"].T
    for ours, original in _NAMES.items()
    if f"{prefix}{original}.weight" in data
  }
  names = "kvba" if config.rule == "gated_deltanet" else "kv"
  params |= {f"W_{name}": side_by_side(name) for name in names}
  if config.rule == "gated_deltanet":
    params |= {name: data[prefix + name] for name in ("A_log", "dt_bias")}
    taps = [data[f"{prefix}{name}_conv1d.weight"] for name in "qkv"]
    params["conv_weight"] = np.concatenate(taps).T
    params["norm_scale"] = data[f"{prefix}o_norm.weight"]
  else:
    params["norm_scale"] = data[f"{prefix}norm.weight"]
  return params


def configuration(name, data):
  options = {
    "memories": int(data["num_memories"]),
    "active": int(data["topk"]),
    "shared": bool(data["shared_mem"]),
    "heads": int(data["num_heads"]),
  }
  if name == "gated_deltanet":
    key = int(data["head_dim"])
    options |= {
      "d_key": key,
      "d_value": key * int(data["expand_v"]),
      "one_projection": bool(data["single_kv_proj"]),
    }
  else:
    kind = str(data["feature_map"])
    options |= {
      "rule": "linear_attention",
      "feature_map": "none" if kind == "identity" else kind,
      "normalize": bool(data["normalize"]),
      "d_conv": 1,
      "gate": "none",
    }
  return mom.Config(data["x"].shape[-1], **options)


@pytest.mark.parametrize("name", _LAYERS)
def test_golden(x64, golden, name):
  """Outputs and the gradients of sum(o * cot); then step by step."""
  del x64
  data = golden(f"mom/{name}")
  config = configuration(name, data)
  params = parameters(data, "p.", config)

  def loss(params, x):
    y, _ = mom.apply(config, params, x)
    return jnp.sum(y * data["cot"]), y

  gradient = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
  (_, y), (grads, grad_x) = gradient(params, data["x"])
  close(y, data["o"], _VALUES)
  close(grad_x, data["dx"], _GRADIENTS)
  expected = parameters(data, "g.", config)
  assert grads.keys() == expected.keys()
  for key in grads:
    close(grads[key], expected[key], _GRADIENTS)

  step = jax.jit(functools.partial(mom.step, config, params))
  state = mom.initial_state(config, (2,), jnp.float64)
  for t in range(data["x"].shape[1]):
    y, state = step(data["x"][:, t], state)
    close(y, data["o"][:, t], _VALUES)


@pytest.mark.parametrize("name", _LAYERS)
def test_golden_routes(x64, golden, name):
  del x64
  data = golden(f"mom/{name}")
  config = configuration(name, data)
  params = parameters(data, "p.", config)
  logits = mom.router(config, params, data["x"])
  close(logits, data["router_logits"], _VALUES)
  weights, routed = mom.route(logits, config.active)
  expected = np.zeros_like(logits)
  np.put_along_axis(expected, data["selected"], data["routing_weights"], -1)
  close(weights, expected, _VALUES)
  np.testing.assert_array_equal(routed, expected > 0)
  if "aux_loss_authors" in data:
    got = mom.balance_loss(logits, config.active)
    close(got, data["aux_loss_authors"], _VALUES)
    got = mom.pooled_balance_loss(logits, config.active)
    close(got, data["aux_loss_fla"], _VALUES)
    got = mom.auxiliary_loss(config, params, data["x"])
    close(got, 0.01 * data["aux_loss_authors"], _VALUES)
    pooled = dataclasses.replace(config, balance="pooled")
    got = mom.auxiliary_loss(pooled, params, data["x"])
    close(got, 0.01 * data["aux_loss_fla"], _VALUES)


@pytest.mark.slow
@pytest.mark.parametrize(
  "rule", ["gated_deltanet", pytest.param("gla", marks=pytest.mark.slow)]
)
def test_memories_without_elements_stay_as_they_are(rule):
  """To the bit, over chunks and steps, whatever they hold."""
  config = mom.Config(8, rule=rule, heads=2, memories=4, active=2)
  params = mom.init(jax.random.key(0), config)
  # The first memory is never among the two best, the others are.
  params["W_router"] = params["W_router"].at[:, 0].set(0).at[0, 0].set(-40)
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, 70, 8)).astype(np.float32)
  x[..., 0] = 1
  state = jax.tree.map(
    lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype),
    mom.initial_state(config, (2,)),
  )
  _, after = jax.jit(functools.partial(mom.apply, config))(params, x, state)
  _, one = jax.jit(functools.partial(mom.step, config))(params, x[:, 0], state)
  for before, *later in zip(state[:2], after[:2], one[:2]):
    for leaf in later:
      np.testing.assert_array_equal(leaf[:, 0], before[:, 0])
      assert np.all(np.any(leaf[:, 4] != before[:, 4], axis=(-1, -2)))


@pytest.mark.slow
@pytest.mark.parametrize(
  ("rule", "value"),
  [
    ("gated_deltanet", np.nan),
    pytest.param("gated_deltanet", np.inf, marks=pytest.mark.slow),
    pytest.param("gla", np.nan, marks=pytest.mark.slow),
  ],
)
def test_undefined_values_reach_no_memory_without_elements(rule, value):
  config = mom.Config(8, rule=rule, heads=2, memories=4, active=2, d_conv=1)
  params = mom.init(jax.random.key(0), config)
  # The first memory is never among the two best.
  params["W_router"] = params["W_router"].at[:, 0].set(0).at[0, 0].set(-40)
  params["W_v"] = jnp.full_like(params["W_v"], value)
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, 20, 8)).astype(np.float32)
  x[..., 0] = 1
  state = jax.tree.map(
    lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype),
    mom.initial_state(config, (2,)),
  )
  reset = np.zeros((2, 20), bool)
  for flags in (None, reset):
    _, after = jax.jit(functools.partial(mom.apply, config))(
      params, x, state, flags
    )
    np.testing.assert_array_equal(after.S[:, 0], state.S[:, 0])
  _, one = jax.jit(functools.partial(mom.step, config))(params, x[:, 0], state)
  np.testing.assert_array_equal(one.S[:, 0], state.S[:, 0])


@pytest.mark.slow
def test_each_memory_is_a_layer_of_its_own(x64):
  """A memory reads what one without routes reads of its elements alone."""
  del x64
  config = mom.Config(6, heads=2, memories=3, active=1, shared=False)
  alone = mom.Config(6, heads=2, memories=1, active=1, shared=False)
  params = mom.init(jax.random.key(0), config)
  params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
  x = np.random.default_rng(0).normal(size=(14, 6))
  apply = jax.jit(mom.apply, static_argnums=0)
  y, _ = apply(config, params, x)
  chosen = np.argmax(mom.router(config, params, x), axis=-1)
  assert set(chosen.tolist()) == {0, 1, 2}
  for memory in range(3):
    own = dict(params)
    for name in ("W_router", "W_k", "W_v", "W_b", "W_a"):
      own[name] = np.split(params[name], 3, axis=1)[memory]
    expected, _ = apply(alone, own, x[chosen == memory])
    close(y[chosen == memory], expected, _VALUES)


def test_even_use_is_the_best_of_the_losses():
  """Of all logits equal, each memory has its share of the choices alone."""
  logits = jnp.log(jnp.array([[0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]]))
  even = 40 * (logits - jnp.mean(logits))
  for loss in (mom.balance_loss, mom.pooled_balance_loss):
    # Two elements with two of four memories each: shares of 1/2, means of 1/4.
    np.testing.assert_allclose(loss(even, 2), 2, rtol=1e-3)
    np.testing.assert_allclose(loss(even[:1], 2), 4, rtol=1e-3)


@pytest.mark.parametrize(
  ("options", "match"),
  [
    ({"active": 5}, "active: got 5, expected at most memories = 4"),
    ({"feature_map": "elu"}, "feature_map: got 'elu', expected 'none' with ru"),
    (
      {"rule": "linear_attention", "normalize": True},
      "feature_map: got 'none', expected 'elu' or 'relu' with normalize",
    ),
    ({"balance_weight": -1.0}, "balance_weight: got -1.0"),
  ],
)
def test_options_that_do_not_fit(options, match):
  with pytest.raises(ValueError, match=match):
    mom.Config(8, **options)
