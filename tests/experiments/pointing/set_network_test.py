"""Networks for sets: golden values, invariance, sets of several sizes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.pointing import decoding
from experiments.pointing import set_network
from tests.experiments.pointing.pointer_test import lstm
from tests.experiments.pointing.pointer_test import nested


def variables_of(params):
  """Returns our variables of golden parameters."""
  width = len(params["read"]["b"])
  attention = {
    name + key: value[:, None] if key == "v" else value
    for name, group in (("", params), ("glimpse_", params["glimpse"]))
    for key, value in group.items()
    if key in ("W1", "W2", "v")
  }
  return {
    "params": {
      "reader": {"kernel": params["read"]["W"], "bias": params["read"]["b"]},
      "U": params["U"],
      "b": params["b"],
      "bridge": {"kernel": params["bridge_h"]},
      "embed": {"kernel": np.eye(1, width)},
      "decoder": lstm(params["dec"], width)["layers_0"]["mixer"],
      "pointing": attention,
      "go": params["go"],
    }
  }


@pytest.mark.parametrize(
  "name",
  [
    *(
      pytest.param(name, marks=pytest.mark.slow)
      for name in ("sort_p0_g0", "sort_p1_g0")
    ),
    "sort_p3_g1",
  ],
)
def test_golden_values(golden, x64, name):
  data = golden(f"order_matters/{name}")
  params = nested(data, "param/")
  glimpses = int(data["glimpses"])
  config = set_network.SetConfig(
    len(params["v"]), steps=int(data["steps"]), glimpses=glimpses
  )
  network = set_network.SetNetwork(config)
  variables = variables_of(params)
  if not glimpses:
    pointing_params = variables["params"]["pointing"]
    for key in ("W1", "W2", "v"):
      del pointing_params[f"glimpse_{key}"]
  elements, lengths = data["x"][..., None], data["length"]
  target = data["target"]
  mask = target >= 0

  def loss(variables):
    chosen = jnp.maximum(target, 0)
    logs = network.apply(variables, elements, chosen, lengths)
    picked = jnp.take_along_axis(logs, chosen[..., None], -1)[..., 0]
    return -jnp.where(mask, picked, 0).sum(axis=1).mean(), logs

  (value, logs), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(
    variables
  )
  np.testing.assert_allclose(logs[mask], data["log_prob"][mask], rtol=1e-9)
  np.testing.assert_allclose(value, data["loss"], rtol=1e-9)
  process = jax.jit(functools.partial(network.apply, method="process"))
  processed = process(variables, elements, lengths)
  np.testing.assert_allclose(processed.summary, data["q_star"], atol=1e-12)
  np.testing.assert_allclose(processed.trace, data["trace"], atol=1e-12)
  grads, want = grads["params"], nested(data, "grad/")
  pairs = [
    (grads["reader"]["kernel"], want["read"]["W"]),
    (grads["reader"]["bias"], want["read"]["b"]),
    (grads["bridge"]["kernel"], want["bridge_h"]),
    (grads["decoder"]["R"].reshape(want["dec"]["U"].shape), want["dec"]["U"]),
    *((grads[key], want[key]) for key in ("U", "b", "go")),
    *((grads["pointing"][key], want[key]) for key in ("W1", "W2")),
  ]
  if glimpses:
    key = "glimpse_W2"
    pairs.append((grads["pointing"][key], want["glimpse"]["W2"]))
  for got, expected in pairs:
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-12)


@pytest.mark.slow
def test_processing_does_not_see_the_order(x64):
  network = set_network.SetNetwork(set_network.SetConfig(5, steps=3))
  elements = jax.random.normal(jax.random.key(0), (2, 6, 1), jnp.float64)
  init = jax.jit(network.init)
  variables = init(jax.random.key(1), elements, np.zeros((2, 6), int))
  order = np.array([3, 0, 5, 1, 4, 2])
  apply = jax.jit(lambda x: network.apply(variables, x, method="process"))
  one, other = apply(elements), apply(elements[:, order])
  np.testing.assert_allclose(one.summary, other.summary, atol=1e-12)
  assert np.ptp(one.summary[:, 0]) > 1e-5


@pytest.mark.slow
def test_sets_of_several_sizes_are_as_each_alone():
  network = set_network.SetNetwork(
    set_network.SetConfig(5, steps=2, glimpses=1)
  )
  elements = jax.random.normal(jax.random.key(0), (2, 5, 1))
  chosen = np.array([[2, 0, 1, 0, 0], [4, 1, 0, 2, 3]])
  lengths = np.array([3, 5])
  variables = jax.jit(network.init)(jax.random.key(1), elements, chosen)
  both = jax.jit(network.apply)(variables, elements, chosen, lengths)
  alone = jax.jit(network.apply)(variables, elements[:1, :3], chosen[:1, :3])
  np.testing.assert_allclose(both[:1, :3, :3], alone, atol=1e-6)
  # Nothing is left behind the last, and nothing there is no number.
  assert (np.asarray(both[0, 3:]) == -np.inf).all()


@pytest.mark.slow
def test_what_is_decoded_has_its_probability():
  network = set_network.SetNetwork(
    set_network.SetConfig(5, steps=2, glimpses=1, add_glimpses=True)
  )
  elements = jax.random.normal(jax.random.key(0), (2, 5, 1))
  lengths = np.array([3, 5])
  init = jax.jit(network.init)
  variables = init(jax.random.key(1), elements, np.zeros((2, 5), int))
  best, log_prob = decoding.decode(
    network, variables, elements, 5, lengths=lengths, end=None
  )
  assert sorted(best[1, 0].tolist()) == list(range(5))
  picked = network.apply(variables, elements, best[:, 0], lengths)
  picked = np.take_along_axis(np.asarray(picked), best[:, 0, :, None], -1)
  np.testing.assert_allclose(log_prob[1, 0], picked[1].sum(), rtol=1e-5)


@pytest.mark.parametrize(
  "kind", ["induced", pytest.param("pooled", marks=pytest.mark.slow)]
)
def test_set_transformers(kind):
  layer = {
    "induced": set_network.InducedAttention(8, points=3, heads=2),
    "pooled": set_network.PooledAttention(8, outputs=2, heads=2),
  }[kind]
  x = jax.random.normal(jax.random.key(0), (2, 5, 3))
  mask = np.arange(5) < np.array([[3], [5]])
  variables = jax.jit(layer.init)(jax.random.key(1), x)
  apply = jax.jit(layer.apply)
  both = np.asarray(apply(variables, x, mask))
  alone = np.asarray(jax.jit(layer.apply)(variables, x[:1, :3]))
  got = both[:1, :3] if kind == "induced" else both[:1]
  np.testing.assert_allclose(got, alone, atol=1e-5)
  order = np.array([3, 0, 4, 1, 2])
  other = np.asarray(apply(variables, x[:, order], mask[:, order]))
  want = both[:, order] if kind == "induced" else both
  np.testing.assert_allclose(other, want, atol=1e-5)

  # Of an empty set there are values, and its elements change nothing.
  empty = apply(variables, x, np.zeros_like(mask))
  assert np.isfinite(empty).all()
  if kind == "pooled":
    gradient = jax.grad(
      lambda x: apply(variables, x, np.zeros_like(mask)).sum()
    )(x)
    assert not np.asarray(gradient).any()


@pytest.mark.parametrize(
  "kind", [set_network.InducedAttention, set_network.PooledAttention]
)
def test_lengths_are_no_mask(kind):
  key, x = jax.random.key(0), jnp.ones((2, 3, 4))
  for mask in (jnp.array([3, 1]), jnp.ones((2, 3))):
    with pytest.raises(ValueError, match=r"mask: .*\(2, 3\) bool, as masks"):
      jax.eval_shape(lambda mask: kind(4).init(key, x, mask), mask)
