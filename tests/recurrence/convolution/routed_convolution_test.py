"""The convolution in the order of memories against single steps."""

import chex
import jax
import jax.numpy as jnp
from jax.test_util import check_grads
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.recurrence import reference
from tests.recurrence.shared.sharded_cases import assert_close

P = jax.sharding.PartitionSpec
# float64 rounding of a few products.
_FLOAT64 = {"rtol": 1e-12, "atol": 1e-14}


def problem(time, width, batch=(2, 3), share=0.4):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(*batch, time, 2))
  weight = rng.normal(size=(width, 2))
  window = rng.normal(size=(*batch, width - 1, 2))
  routed = rng.uniform(size=(*batch, time)) < share
  reset = rng.uniform(size=(*batch, time)) < 0.2
  return x, weight, window, routed, reset


@pytest.mark.parametrize(
  ("time", "width", "share", "resets"),
  [
    (13, 4, 0.4, True),
    (13, 4, 0.4, False),
    pytest.param(13, 3, 1.0, True, marks=pytest.mark.slow),
    pytest.param(6, 2, 0.0, True, marks=pytest.mark.slow),
    (1, 4, 0.5, False),
    pytest.param(5, 1, 0.5, True, marks=pytest.mark.slow),
  ],
)
def test_equals_the_loop(x64, time, width, share, resets):
  """Outputs, the last window, and all gradients."""
  del x64
  *inputs, routed, reset = problem(time, width, share=share)
  reset = reset if resets else None

  def both(function):
    def run(*inputs):
      return function(*inputs, routed, reset)

    out, pull = jax.vjp(jax.jit(run), *inputs)
    rng = np.random.default_rng(1)
    cotangents = [rng.normal(size=leaf.shape) for leaf in out]
    return out, pull(tuple(map(jnp.asarray, cotangents)))

  chex.assert_trees_all_close(
    both(recurrence.routed_conv), both(reference.routed_conv), **_FLOAT64
  )


@pytest.mark.slow
def test_steps_equal_the_sequence(x64):
  del x64
  x, weight, window, routed, reset = problem(7, 4)
  expected = recurrence.routed_conv(x, weight, window, routed, reset)
  step, ys = jax.jit(recurrence.routed_conv_step), []
  for t in range(7):
    flags = routed[..., t], reset[..., t]
    y, window = step(x[..., t, :], weight, window, *flags)
    ys.append(y)
  chex.assert_trees_all_close((jnp.stack(ys, -2), window), expected, **_FLOAT64)


def test_all_routed_is_the_plain_convolution(x64):
  del x64
  x, weight, window, routed, reset = problem(9, 4, share=1.0)
  got = recurrence.routed_conv(x, weight, window, routed, reset)
  expected = recurrence.causal_conv(x, weight, None, window, reset)
  chex.assert_trees_all_close(got, expected, **_FLOAT64)


@pytest.mark.slow
def test_second_derivatives(x64):
  del x64
  *inputs, routed, reset = problem(6, 3, batch=(2,))
  check_grads(
    jax.jit(lambda *inputs: recurrence.routed_conv(*inputs, routed, reset)),
    tuple(map(jnp.asarray, inputs)),
    order=2,
    modes=["rev"],
  )


def test_nothing_undefined_passes_a_reset():
  x, weight, window, routed, reset = problem(9, 4)
  reset[:] = np.arange(9) == 4
  y, after = recurrence.routed_conv(x, weight, window, routed, reset)
  x[..., :4, :] = window[:] = np.nan
  got = recurrence.routed_conv(x, weight, window, routed, reset)
  np.testing.assert_array_equal(got[0][..., 4:, :], y[..., 4:, :])
  np.testing.assert_array_equal(got[1], after)


@pytest.mark.slow
@pytest.mark.devices
@pytest.mark.parametrize(
  ("devices", "size", "resets"),
  [(4, 3, True), (8, 1, True), (4, 2, False)],
)
def test_time_over_devices(x64, devices, size, resets):
  """Windows from further left than the next device; values and gradients."""
  del x64
  *inputs, routed, reset = problem(devices * size, 4, batch=(6, 3))
  reset = jnp.asarray(reset) if resets else None
  # A row that is routed on the first device alone, and one on none.
  routed[0] = np.arange(devices * size) < size
  routed[1] = False
  mesh = jax.sharding.Mesh(np.asarray(jax.devices()[:devices]), ("sp",))
  rows, flags = P(None, None, "sp"), P(None, None, "sp")

  def split(*inputs):
    run = jax.shard_map(
      lambda *args: recurrence.routed_conv(*args, axis="sp"),
      mesh=mesh,
      in_specs=(rows, P(), P(), flags, flags),
      out_specs=(rows, P()),
    )
    return run(*inputs, jnp.asarray(routed), reset)

  def both(function):
    out, pull = jax.vjp(jax.jit(function), *map(jnp.asarray, inputs))
    return out, pull(jax.tree.map(lambda leaf: jnp.cos(leaf), out))

  whole = both(lambda *args: recurrence.routed_conv(*args, routed, reset))
  assert_close(both(split), whole, 1e-12)


def test_bad_arguments():
  x, weight, window, routed, reset = problem(3, 4)
  for arguments, match in (
    ((x, weight, window[:, :, 1:], routed, reset), "window: got shape"),
    ((x, weight, window, routed[:, 0], reset), "routed: got shape"),
    ((x, weight, window, routed + 0, reset), "routed: got dtype int.*, expec"),
  ):
    with pytest.raises(ValueError, match=match):
      recurrence.routed_conv(*arguments)
