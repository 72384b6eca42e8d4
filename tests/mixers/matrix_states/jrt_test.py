"""Prefix linear attention against its authors' layer (float64)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.mixers.matrix_states import jrt
from tests.mixers.golden_cases import close

# Of float64, as sums in another order need.
_VALUES, _GRADIENTS = 1e-10, 1e-9
_NAMES = {
  "W_q": "proj_q",
  "W_k": "proj_k",
  "W_v": "proj_v",
  "W_k_prefix": "proj_k_enc",
  "W_v_prefix": "proj_v_enc",
  "W_o": "out_proj",
}
_LAYERS = ["pla", "pla_prefix_only"]


def layer(data):
  config = jrt.Config(
    data["x"].shape[-1],
    heads=int(data["num_heads"]),
    d_feature=int(data["feature_dim"]),
  )
  return config, parameters(data, "p.")


def parameters(data, prefix):
  return {
    name: data[f"{prefix}{original}.weight"].T
    for name, original in _NAMES.items()
  }


@pytest.mark.parametrize("name", _LAYERS)
def test_golden(x64, golden, name):
  """Outputs, of the prefix too, and the gradients of sum(y * cot)."""
  del x64
  data = golden(f"jrt/{name}")
  config, params = layer(data)
  prefix = int(data["prefix_len"])

  def loss(params, x):
    y, _ = jrt.apply(config, params, x, prefix=prefix)
    return jnp.sum(y * data["cot"]), y

  gradient = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
  (_, y), (grads, grad_x) = gradient(params, data["x"])
  close(y, data["y"], _VALUES)
  close(grad_x, data["dx"], _GRADIENTS)
  for key, expected in parameters(data, "g.").items():
    close(grads[key], expected, _GRADIENTS)
  close(jrt.taylor_features(data["fmap_x"]), data["fmap_y"], _VALUES)


@pytest.mark.parametrize(
  "name", ["pla", pytest.param("pla_prefix_only", marks=pytest.mark.slow)]
)
def test_golden_state_after_the_prefix(x64, golden, name):
  """It is continued by single steps, and by a causal pass."""
  del x64
  data = golden(f"jrt/{name}")
  config, params = layer(data)
  prefix, x = int(data["prefix_len"]), data["dec_x"]
  apply = jax.jit(
    functools.partial(jrt.apply, config, params), static_argnames="prefix"
  )
  y, state = apply(x[:, :prefix], prefix=prefix)
  close(y, data["dec_y_full"][:, :prefix], _VALUES)
  close(state.S, np.moveaxis(data["prefill_kv"], -1, -2), _VALUES)
  close(state.z, data["prefill_k"], _VALUES)
  rest, _ = apply(x[:, prefix:], state)
  close(rest, data["dec_y_full"][:, prefix:], _VALUES)
  step = jax.jit(functools.partial(jrt.step, config, params))
  for t in range(prefix, x.shape[1]):
    y, state = step(x[:, t], state)
    close(y, data["dec_y_full"][:, t], _VALUES)


def _problem(time=8, rows=3):
  config = jrt.Config(6, heads=2, d_feature=3)
  params = jrt.init(jax.random.key(0), config)
  params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
  x = np.random.default_rng(0).normal(size=(rows, time, 6))
  return config, params, x


@pytest.mark.slow
def test_each_row_has_its_prefix(x64):
  del x64
  config, params, x = _problem()
  apply = jax.jit(functools.partial(jrt.apply, config, params))
  together, states = apply(x, prefix=jnp.array([0, 3, 20]))
  for row, prefix in enumerate([None, 3, 8]):
    y, state = jrt.apply(config, params, x[row], prefix=prefix)
    close(together[row], y, _VALUES)
    for leaf, one in zip(states, state):
      close(leaf[row], one, _VALUES)


@pytest.mark.slow
def test_prompts_padded_at_the_left_are_those_without(x64):
  """Undefined padding adds nothing, not even to the divisor."""
  del x64
  config, params, x = _problem()
  mask = np.ones(x.shape[:2], bool)
  for row, count in enumerate([0, 2, 4]):
    x[row, :count], mask[row, :count] = np.nan, False
  padded, states = jrt.apply(config, params, x, prefix=5, mask=mask)
  for row, count in enumerate([0, 2, 4]):
    y, state = jrt.apply(config, params, x[row, count:], prefix=5 - count)
    close(padded[row, count:], y, _VALUES)
    for leaf, one in zip(states, state):
      close(leaf[row], one, _VALUES)


@pytest.mark.slow
def test_a_prefix_ends_at_resets(x64):
  """One at the first element only says that the state before it is left."""
  del x64
  config, params, x = _problem(rows=1)
  _, used = jrt.apply(config, params, x)
  reset = np.zeros((1, 8), bool)
  reset[0, [0, 3]] = True
  y, state = jrt.apply(config, params, x, used, reset, prefix=5)
  first, _ = jrt.apply(config, params, x[:, :3], prefix=3)
  second, expected = jrt.apply(config, params, x[:, 3:])
  close(y, np.concatenate([first, second], axis=1), _VALUES)
  for leaf, one in zip(state, expected):
    close(leaf, one, _VALUES)


@pytest.mark.slow
@pytest.mark.parametrize("time", [pytest.param(6, marks=pytest.mark.slow), 7])
def test_pieces_change_nothing(x64, monkeypatch, time):
  """Values, states and gradients, with and without elements left over."""
  del x64
  config, params, x = _problem(time)
  mask = np.ones(x.shape[:2], bool)
  mask[1, 2] = False
  reset = ~mask & (np.arange(time) == 2)

  def evaluate(size):
    monkeypatch.setattr(jrt, "_PIECE", size)

    def run(params, x):
      return jrt.apply(config, params, x, None, reset, prefix=4, mask=mask)

    out, pull = jax.vjp(jax.jit(run), params, jnp.asarray(x))
    return jax.tree.leaves((out, pull(jax.tree.map(jnp.cos, out))))

  for got, expected in zip(evaluate(3), evaluate(100)):
    close(got, expected, _VALUES)


@pytest.mark.slow
@pytest.mark.devices
@pytest.mark.parametrize("resets", [False, True])
def test_a_prefix_over_devices(x64, resets):
  """Values and gradients are those of one device."""
  del x64
  config, params, x = _problem()
  P = jax.sharding.PartitionSpec
  reset = None
  if resets:
    reset = np.zeros((3, 8), bool)
    reset[0, 0] = reset[1, 3] = reset[2, 0] = reset[2, 5] = True
    reset = jnp.asarray(reset)
  prefix = jnp.array([5, 5, 8])
  _, used = jrt.apply(config, params, x)
  mesh = jax.sharding.Mesh(np.asarray(jax.devices()[:4]), ("sp",))

  def split(params, x, state):
    return jax.shard_map(
      lambda *args: jrt.apply(config, *args[:4], axis="sp", prefix=args[4]),
      mesh=mesh,
      in_specs=(P(), P(None, "sp"), P(), P(None, "sp"), P()),
      out_specs=(P(None, "sp"), P()),
    )(params, x, state, reset, prefix)

  def whole(params, x, state):
    return jrt.apply(config, params, x, state, reset, prefix=prefix)

  def both(function):
    out, pull = jax.vjp(jax.jit(function), params, jnp.asarray(x), used)
    return out, pull(jax.tree.map(jnp.cos, out))

  for got, expected in zip(*map(jax.tree.leaves, map(both, (split, whole)))):
    close(got, expected, _VALUES)


@pytest.mark.parametrize(
  ("prefix", "match"),
  [
    (2.0, "prefix: got dtype float.*, expected integers"),
    (np.array([1, 2]), r"prefix: got shape \(2,\), expected \(3,\)"),
    (99, "prefix: got 99, expected a number from 0 to"),
  ],
)
def test_prefixes_that_do_not_fit(prefix, match):
  config, params, x = _problem()
  with pytest.raises(ValueError, match=match):
    jrt.apply(config, params, x.astype("f"), prefix=prefix)
