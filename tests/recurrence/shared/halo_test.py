import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import collectives
from jaxseq.recurrence.shared import _halo

pytestmark = pytest.mark.devices

P = jax.sharding.PartitionSpec


def _previous(devices, count, with_init=True):
  """A function of the whole x (rows, time, features) and init."""
  mesh = jax.sharding.Mesh(np.asarray(jax.devices()[:devices]), ("sp",))
  return jax.shard_map(
    lambda x, init: _halo.previous(x, count, "sp", init if with_init else None),
    mesh=mesh,
    in_specs=(P(None, "sp"), P()),
    out_specs=P(None, "sp"),
  )


def _arguments(devices, size, count, dtype=np.float32):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, devices * size, 3)).astype(dtype)
  return x, rng.normal(size=(2, count, 3)).astype(dtype)


def _expected(x, init, devices, count):
  """The elements before each chunk, one after the other."""
  size = x.shape[1] // devices
  whole = np.concatenate([init, x], axis=1)
  return np.concatenate(
    [whole[:, i * size : i * size + count] for i in range(devices)], axis=1
  )


def _check(devices, size, count, dtype=np.float32):
  x, init = _arguments(devices, size, count, dtype)
  got = jax.jit(_previous(devices, count))(x, init)
  np.testing.assert_array_equal(got, _expected(x, init, devices, count))
  assert got.dtype == dtype
  got = jax.jit(_previous(devices, count, with_init=False))(x, init)
  zeros = np.zeros_like(init)
  np.testing.assert_array_equal(got, _expected(x, zeros, devices, count))


# Less than a chunk, more than one, and more than there is.
@pytest.mark.parametrize(
  ("devices", "size", "count"), [(4, 3, 2), (4, 2, 5), (4, 1, 7)]
)
def test_elements_before_a_chunk(devices, size, count):
  _check(devices, size, count)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.bool_])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 20])
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("devices", [1, 2, 8])
def test_any_number_of_elements(devices, size, count, dtype):
  _check(devices, size, count, dtype)


def test_flags():
  flags = np.random.default_rng(0).random((2, 8)) < 0.5
  before = np.random.default_rng(1).random((2, 3)) < 0.5
  mesh = jax.sharding.Mesh(np.asarray(jax.devices()[:4]), ("sp",))
  split = jax.shard_map(
    lambda x, init: _halo.previous_flags(x, 3, "sp", init),
    mesh=mesh,
    in_specs=(P(None, "sp"), P()),
    out_specs=P(None, "sp"),
  )
  got = jax.jit(split)(flags, before)
  expected = _expected(flags[..., None], before[..., None], 4, 3)[..., 0]
  np.testing.assert_array_equal(got, expected)


def test_gradients_go_back_to_where_elements_came_from():
  x, init = _arguments(4, 2, 3)
  weights = np.random.default_rng(1).normal(size=(2, 12, 3)).astype(np.float32)

  def loss(x, init):
    return jnp.sum(weights * _previous(4, 3)(x, init))

  d_x, d_init = jax.jit(jax.grad(loss, (0, 1)))(x, init)
  # Each element gets the weights of all its copies.
  places = np.arange(3 + 8)[None, :, None] * np.ones((2, 1, 3))
  copies = _expected(places[:, 3:], places[:, :3], 4, 3)
  expected = np.stack(
    [np.sum(weights * (copies == i), axis=1) for i in range(11)], axis=1
  )
  got = np.concatenate([d_init, d_x], axis=1)
  # Sums of at most four float32 numbers.
  np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("count", "messages"), [(2, 1), (3, 2), (100, 3)])
def test_one_message_for_each_chunk_that_is_needed(count, messages):
  arguments = _arguments(4, 2, count)
  names = collectives.names(_previous(4, count), *arguments)
  assert names == ["ppermute"] * messages


def test_what_does_not_fit_is_named():
  x, init = _arguments(4, 2, 3)
  with pytest.raises(
    ValueError, match=r"init: got shape .*, expected \(2, 2, 3\)"
  ):
    jax.eval_shape(_previous(4, 2), x, init)
  with pytest.raises(
    ValueError, match="count: got -1, expected an integer of at least 0"
  ):
    jax.eval_shape(_previous(4, -1), x, init)
