"""Pointer networks to golden values, padding, and decoding."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.pointing import decoding
from experiments.pointing import pointer
from experiments.pointing import set_network
from jaxseq import nn


def lstm(params, width):
  """Returns a layer's parameters of golden ones, gates i, f, g, o."""
  kernel = np.zeros((width, 4 * width))
  kernel[: len(params["W"])] = params["W"]
  return {
    "layers_0": {
      "mixer": {
        "W": kernel.reshape(width, 4, width),
        "R": params["U"].reshape(1, width, 4, width),
        "b": params["b"].reshape(4, width),
      }
    }
  }


def nested(data, prefix):
  """Returns the arrays of a file below a prefix, as nested dicts."""
  tree = {}
  for key, value in data.items():
    if key.startswith(prefix):
      *path, last = key.removeprefix(prefix).split("/")
      place = tree
      for name in path:
        place = place.setdefault(name, {})
      place[last] = value
  return tree


def case(data):
  """Returns the network and the variables of a golden file."""
  params = nested(data, "param/")
  width = len(params["end"])
  stack = dataclasses.replace(pointer.LSTM, d_model=width)
  config = pointer.PointerConfig(
    stack, stack, no_repeat=bool(data["no_repeat"])
  )
  variables = {
    "embed": {"kernel": np.eye(2, width)},
    "encoder": lstm(params["enc"], width),
    "decoder": lstm(params["dec"], width),
    "pointing": {
      **{k: params[k] for k in ("W1", "W2")},
      "v": params["v"][:, None],
    },
    "go": params["go"],
    "end": params["end"],
  }
  return pointer.PointerNetwork(config), {"params": variables}


@pytest.mark.parametrize(
  "name", [pytest.param("hull", marks=pytest.mark.slow), "hull_no_repeat"]
)
def test_golden_values(golden, x64, name):
  data = golden(f"pointer/{name}")
  network, variables = case(data)
  target, lengths = data["target"], data["length"]
  mask = target >= 0

  def loss(variables):
    logs = network.apply(variables, data["x"], jnp.maximum(target, 0), lengths)
    picked = jnp.take_along_axis(logs, jnp.maximum(target, 0)[..., None], -1)
    value = -jnp.where(mask, picked[..., 0], 0).sum(axis=1).mean()
    return value, logs

  (value, logs), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(
    variables
  )
  np.testing.assert_allclose(logs[mask], data["log_prob"][mask], rtol=1e-9)
  np.testing.assert_allclose(value, data["loss"], rtol=1e-9)
  grads = grads["params"]
  want = nested(data, "grad/")
  width = len(want["end"])
  for ours, theirs in (("encoder", "enc"), ("decoder", "dec")):
    layer = grads[ours]["layers_0"]["mixer"]
    got = layer["W"].reshape(width, -1)[:2]
    np.testing.assert_allclose(got, want[theirs]["W"], rtol=1e-6, atol=1e-12)
    got = layer["R"].reshape(width, -1)
    np.testing.assert_allclose(got, want[theirs]["U"], rtol=1e-6, atol=1e-12)
  for key in ("W1", "W2"):
    np.testing.assert_allclose(
      grads["pointing"][key], want[key], rtol=1e-6, atol=1e-12
    )
  for key in ("go", "end"):
    np.testing.assert_allclose(grads[key], want[key], rtol=1e-6, atol=1e-12)
  greedy = data["greedy"]
  time = greedy.shape[1]
  chosen, _ = decoding.decode(
    network, variables, jnp.asarray(data["x"]), time, lengths=lengths
  )
  np.testing.assert_array_equal(chosen[:, 0], np.maximum(greedy, 0))


def tiny(no_repeat=False, mixer="gru"):
  """Returns a small network, and four points of two rows."""
  stack = nn.StackConfig(mixer, d_model=6, num_layers=1)
  network = pointer.PointerNetwork(
    pointer.PointerConfig(stack, stack, no_repeat=no_repeat)
  )
  points = jax.random.uniform(jax.random.key(0), (2, 4, 2))
  init = jax.jit(network.init)
  return network, init(jax.random.key(1), points, np.ones((2, 3), int)), points


def test_glimpses_take_the_place_of_the_query_or_are_added_to_it():
  keys = jax.random.split(jax.random.key(0), 3)
  memory, query = (jax.random.normal(key, (4, 3)) for key in keys[:2])
  mask = np.array([[True, True, False, True]])
  variables = pointer.Pointing(1).init(keys[2], memory, query, mask)
  names = ("W1", "W2", "v")
  params = variables["params"]
  last, own = (
    {name: jnp.squeeze(params[start + name]) for name in names}
    for start in ("", "glimpse_")
  )
  read = jnp.exp(pointer.point(own, memory, query, mask)) @ memory
  for add, expected in ((False, read), (True, query + read)):
    got = pointer.Pointing(1, add).apply(variables, memory, query, mask)
    want = pointer.point(last, memory, expected, mask)
    np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.slow
def test_padding_changes_nothing():
  network, variables, points = tiny()
  chosen = np.array([[2, 1, 0], [3, 1, 2]])
  apply = jax.jit(network.apply)
  lengths = np.array([3, 4])
  both = apply(variables, points, chosen, lengths)
  other = points.at[0, 3].set(100.0)
  np.testing.assert_array_equal(apply(variables, other, chosen, lengths), both)
  alone = network.apply(variables, points[:1, :3], chosen[:1])
  np.testing.assert_allclose(both[:1, :, :4], alone, atol=1e-6)
  assert (np.asarray(both[0, :, 4]) == -np.inf).all()


def test_beams_find_the_best_tour():
  network, variables, points = tiny(no_repeat=True)
  lengths = jnp.array([4, 3])
  tour = decoding.Tour(lengths, 4)
  chosen, log_prob = decoding.decode(
    network, variables, points, 5, lengths=lengths, beams=24, constraint=tour
  )
  for row, length in enumerate((4, 3)):
    paths = list(itertools.permutations(range(1, length + 1)))
    assert np.isfinite(log_prob[row]).sum() == len(paths)
    found = {
      tuple(each[:length].tolist()) for each in chosen[row, : len(paths)]
    }
    assert found == set(paths)
    assert (np.asarray(chosen[row, : len(paths), length:]) == 0).all()
  assert (np.diff(log_prob[0]) <= 0).all()


@pytest.mark.parametrize(
  ("fields", "name"),
  [({"features": 0}, "features"), ({"glimpses": -1}, "glimpses")]
  + [({"decoder": nn.StackConfig("gru")}, "carry")]
  + [({"decoder": nn.StackConfig(d_model=5)}, "decoder.d_model")],
)
def test_wrong_options_are_named(fields, name):
  with pytest.raises(ValueError, match=name):
    pointer.PointerConfig(**fields)


@pytest.mark.parametrize(
  ("network", "last"),
  [
    (pointer.PointerNetwork(pointer.PointerConfig(features=1)), 3),
    (set_network.SetNetwork(set_network.SetConfig(4)), 2),
  ],
)
def test_sizes_and_places_that_are_not_there(network, last):
  x, chosen = jnp.ones((2, 3, 1)), jnp.full((2, 2), last)

  def shape(*more):
    # The values of what is closed over are known, those of arguments not.
    return jax.eval_shape(lambda: network.init(jax.random.key(0), *more))

  shape(x, chosen, jnp.array([3, 1]))
  with pytest.raises(ValueError, match=r"lengths: got shape \(3,\), .*2"):
    shape(x, chosen, jnp.ones(3, int))
  with pytest.raises(ValueError, match="lengths: got 4, expected at most 3"):
    shape(x, chosen, jnp.array([4, 1]))
  with pytest.raises(ValueError, match=f"chosen: got {last + 1}, .*count"):
    shape(x, chosen + 1)
