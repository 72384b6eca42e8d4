"""Gradients of one episode by another are exactly 0, inside a chunk too.

Sums of cotangents over a whole chunk would leave a rounding error behind, which
grows with what the other episode counts.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.recurrence import kernels

TIME, BORDER = 37, 21


def _outer(rng, dtype, channels):
  q, k, v = (rng.normal(size=(1, TIME, 8)) for _ in range(3))
  decay = -rng.random((1, TIME, channels))
  arrays = (jnp.asarray(x, dtype) for x in (q, k, v))
  return recurrence.outer_scan, (*arrays, jnp.asarray(decay, "f4"))


def _delta(rng, dtype, channels):
  scan, (q, k, v, decay) = _outer(rng, dtype, channels)
  del scan
  k = k / jnp.linalg.norm(k.astype("f4"), axis=-1, keepdims=True).astype(dtype)
  rate = jnp.asarray(rng.random((1, TIME, 1)), dtype)

  def run(q, k, v, decay, **options):
    return recurrence.delta_scan(q, k, v, rate * k, decay, **options)

  return run, (q, k, v, decay)


def _dplr(rng, dtype, channels):
  scan, arrays = _delta(rng, dtype, channels)
  del scan

  def run(q, k, v, decay, **options):
    return recurrence.dplr_scan(q, k, v, k, -0.3 * k, decay, **options)

  return run, arrays


def _mlstm(rng, dtype, channels):
  del channels
  q, k, v = (
    jnp.asarray(rng.normal(size=(1, TIME, 1, 8)), dtype) for _ in "qkv"
  )
  i, f = rng.normal(size=(2, 1, TIME, 1))
  gates = jnp.asarray(i, "f4"), jax.nn.log_sigmoid(jnp.asarray(f, "f4"))
  return recurrence.mlstm_scan_heads, (q, k, v, *gates)


def _check(make, dtype, channels, method):
  scan, arrays = make(np.random.default_rng(0), dtype, channels)
  if make is not _mlstm and (make, channels, method) != (_outer, 8, "pallas"):
    # What stands as the decay of a first element is not read. With a decay a
    # channel the kernels of `outer_scan` read whether it is defined.
    arrays = (*arrays[:3], arrays[3].at[:, BORDER].set(jnp.nan))
  reset = (np.arange(TIME) == BORDER)[None]

  @jax.jit
  def gradients(weights):
    def loss(*arrays):
      o, _ = scan(*arrays, reset=reset, method=method)
      shape = 1, TIME, *[1] * (o.ndim - 2)
      return jnp.sum(o.astype("f4") * weights.reshape(shape))

    return jax.grad(loss, argnums=tuple(range(len(arrays))))(*arrays)

  later = np.arange(TIME) >= BORDER
  for gradient in gradients(np.float32(1e4 * later)):
    np.testing.assert_array_equal(gradient[:, :BORDER], 0)
  if make is not _mlstm:
    np.testing.assert_array_equal(gradient[:, BORDER], 0)
  assert np.any(gradient[:, BORDER + 1 :] != 0)
  for gradient in gradients(np.float32(1e4 * ~later)):
    np.testing.assert_array_equal(gradient[:, BORDER:], 0)
  # Undefined ones neither, which stay where they belong.
  for inside in (later, ~later):
    for gradient in gradients(np.where(inside, np.nan, np.float32(0))):
      np.testing.assert_array_equal(gradient[:, ~inside], 0)
      assert np.all(np.isnan(gradient[:, inside][:, 1:]))


_SCANS = [
  pytest.param(_outer, 1, id="outer"),
  pytest.param(_outer, 8, id="outer-channels"),
  pytest.param(_delta, 1, id="delta"),
  pytest.param(_delta, 8, id="delta-channels"),
  pytest.param(_mlstm, 1, id="mlstm"),
]


def _but_slow(*quick):
  """All scans; those that are not named in the slow suite."""
  return [
    scan
    if scan.id in quick
    else pytest.param(*scan.values, id=scan.id, marks=pytest.mark.slow)
    for scan in _SCANS
  ]


@pytest.mark.parametrize(
  ("make", "channels"),
  [
    *_but_slow("outer-channels", "delta-channels", "mlstm"),
    pytest.param(_dplr, 1, id="dplr", marks=pytest.mark.slow),
    pytest.param(_dplr, 8, id="dplr-channels", marks=pytest.mark.slow),
  ],
)
def test_no_gradient_crosses_a_border(make, channels):
  _check(make, jnp.float32, channels, "chunked")


@pytest.mark.parametrize(("make", "channels"), _but_slow("outer-channels")[:-1])
def test_no_gradient_crosses_a_border_in_kernels_of_a_tpu(make, channels):
  with kernels.interpret("tpu"):
    _check(make, jnp.float32, channels, "pallas")


@pytest.mark.slow
@pytest.mark.skipif(
  jax.__version_info__ < (0, 11), reason="Mosaic GPU kernels need jax 0.11"
)
@pytest.mark.parametrize(("make", "channels"), _but_slow("outer"))
def test_no_gradient_crosses_a_border_in_kernels_of_a_gpu(make, channels):
  with kernels.interpret("gpu"):
    _check(make, jnp.bfloat16, channels, "pallas")
