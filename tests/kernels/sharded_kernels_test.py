"""Kernels inside `jax.shard_map`, over rows and over time."""

import functools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.recurrence import kernels
from jaxseq.recurrence.platform import choice

pytestmark = pytest.mark.devices

H100, V5E = ("gpu", "sm_90", "cuda"), ("tpu", "TPU v5 lite", "tpu")


def gradient(method, axis, **options):
  """Of a loss of the states and the last one, in decays and inputs."""
  mesh = jax.make_mesh((2,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
  spec = jax.P(None, "d") if axis else jax.P("d")
  scan = jax.shard_map(
    functools.partial(recurrence.linear_scan, method=method, axis=axis),
    mesh=mesh,
    in_specs=(spec, spec),
    out_specs=(spec, jax.P() if axis else jax.P("d")),
    **options,
  )

  def loss(a, b):
    h, final = scan(a, b)
    return jnp.sum(h**2) + jnp.sum(final)

  return jax.jit(jax.value_and_grad(loss, (0, 1)))


@pytest.mark.parametrize("axis", [None, "d"])
@pytest.mark.parametrize("platform", [H100, V5E], ids=["cuda", "tpu"])
def test_lowers_with_checked_types(platform, axis):
  backend, chip, name = platform
  if name == "cuda" and jax.__version_info__ < (0, 11):
    pytest.skip("Hopper kernels need jax 0.11.")
  x = jax.ShapeDtypeStruct((2, 16, 3), jnp.float32)
  with kernels.choosing_for(backend, chip):
    traced = gradient("pallas", axis).trace(x, x)
    text = traced.lower(lowering_platforms=(name,)).as_text()
  kernel = {"cuda": "mosaic_gpu", "tpu": "tpu_custom_call"}[name]
  # Forward and backward.
  assert text.count(f"custom_call @{kernel}") == 2


def selective(x, B, v, axis=None):
  """Of x [rows, time, 3], B [rows, time, 2]."""
  A = -jnp.ones((3, 2))
  if axis is None:
    A = jax.lax.pcast(A, "d", to="varying")
  how = {"method": "pallas", "axis": axis}
  return recurrence.selective_scan(x, v, A, B, B, **how)[0]


def outer(x, B, v, axis=None):
  """Keys of B, values of x."""
  x, k = (y.astype(jnp.bfloat16)[:, :, None] for y in (x, B))
  decay = v[:, :, None, :1]
  how = {"method": "pallas", "axis": axis}
  return recurrence.outer_scan_heads(k, k, x, decay, **how)[0]


def outer_channels(x, B, v):
  """The same with a decay for each key."""
  x, k = (y.astype(jnp.bfloat16)[:, :, None] for y in (x, B))
  decay = v[:, :, None, :2]
  reset = v[:, :, 0] > 0
  return recurrence.outer_scan_heads(
    k, k, x, decay, reset=reset, method="pallas"
  )[0]


def delta(x, B, v):
  """Keys of B, values of x."""
  x, k = (y.astype(jnp.bfloat16) for y in (x, B))
  return recurrence.delta_scan(
    k, k, x, k, v[..., :1], reset=v[..., 0] > 0, method="pallas"
  )[0]


def delta_channels(x, B, v):
  """The same with a decay for each key."""
  x, k = (y.astype(jnp.bfloat16) for y in (x, B))
  return recurrence.delta_scan(
    k, k, x, k, v[..., :2], reset=v[..., 0] > 0, method="pallas"
  )[0]


def averages(x, B, v):
  """Keys of B, values of x, logits of v."""
  x, k = (y.astype(jnp.bfloat16) for y in (x, B))
  return recurrence.softmax_outer_scan(
    k, v[..., :2], k, x, reset=v[..., 0] > 0, method="pallas"
  )[0]


def lti(x, B, v):
  """In 128 elements with 32 inputs, for one kernel on a GPU."""
  del B, v
  u = jnp.tile(x, (1, 8, 11))[..., :32]
  system = jnp.full(3, 0.5), jnp.ones((3, 32)), jnp.ones((32, 3))
  system = (jax.lax.pcast(y, "d", to="varying") for y in system)
  return recurrence.lti_scan(*system, u, method="pallas")[0]


@pytest.mark.slow
@pytest.mark.parametrize("scan", [selective, lti])
def test_rows_with_segments_of_time_lower_with_checked_types(scan):
  with mock.patch.object(choice, "_segments", return_value=2):
    test_rows_of_other_kernels_lower_with_checked_types(H100, scan)


@pytest.mark.parametrize(
  "scan",
  [
    pytest.param(selective, marks=pytest.mark.slow),
    pytest.param(lti, marks=pytest.mark.slow),
    outer,
    pytest.param(outer_channels, marks=pytest.mark.slow),
    pytest.param(averages, marks=pytest.mark.slow),
    pytest.param(delta, marks=pytest.mark.slow),
    pytest.param(delta_channels, marks=pytest.mark.slow),
  ],
)
@pytest.mark.parametrize("platform", [H100, V5E], ids=["cuda", "tpu"])
def test_rows_of_other_kernels_lower_with_checked_types(platform, scan):
  backend, chip, name = platform
  if name == "cuda" and jax.__version_info__ < (0, 11):
    pytest.skip("Hopper kernels need jax 0.11.")
  mesh = jax.make_mesh((2,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
  rows = jax.P("d")
  sharded = jax.shard_map(scan, mesh=mesh, in_specs=rows, out_specs=rows)

  def loss(*arguments):
    return jnp.sum(sharded(*arguments).astype(jnp.float32) ** 2)

  x, B = (jax.ShapeDtypeStruct((2, 16, n), jnp.float32) for n in (3, 2))
  with kernels.choosing_for(backend, chip):
    traced = jax.jit(jax.value_and_grad(loss, (0, 1, 2))).trace(x, B, x)
    text = traced.lower(lowering_platforms=(name,)).as_text()
  assert {"cuda": "mosaic_gpu", "tpu": "tpu_custom_call"}[name] in text


def window(x, B, v, axis=None):
  """Queries, keys and values of x."""
  del B, v
  q = x[:, :, None]
  how = {"method": "pallas", "axis": axis, "scheme": "halo"}
  return recurrence.window_attention(q, q, q, 4, **how)[0]


@pytest.mark.parametrize(
  ("scan", "platform"),
  [
    pytest.param(selective, V5E, id="selective-tpu"),
    pytest.param(selective, H100, id="selective-cuda"),
    pytest.param(outer, H100, id="outer-cuda"),
    pytest.param(window, V5E, id="window-tpu"),
  ],
)
def test_kernels_run_where_time_is_split(scan, platform):
  backend, chip, name = platform
  if name == "cuda" and jax.__version_info__ < (0, 11):
    pytest.skip("Hopper kernels need jax 0.11.")
  mesh = jax.make_mesh((2,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
  time = jax.P(None, "d")
  scan = functools.partial(scan, axis="d")
  # Kernels of other libraries have no checked types.
  checked = {"check_vma": scan.func is not window}
  sharded = jax.shard_map(
    scan, mesh=mesh, in_specs=time, out_specs=time, **checked
  )

  def loss(*arguments):
    return jnp.sum(sharded(*arguments).astype(jnp.float32) ** 2)

  x, B = (jax.ShapeDtypeStruct((2, 16, n), jnp.float32) for n in (3, 2))
  with kernels.choosing_for(backend, chip):
    traced = jax.jit(jax.value_and_grad(loss)).trace(x, B, x)
    text = traced.lower(lowering_platforms=(name,)).as_text()
  assert {"cuda": "mosaic_gpu", "tpu": "tpu_custom_call"}[name] in text


@pytest.mark.slow
def test_time_split_over_devices_changes_nothing():
  """Without checked types, which Pallas's interpreter does not keep."""
  rng = np.random.default_rng(0)
  a = rng.uniform(0.5, 1, (2, 16, 3)).astype("f4")
  b = rng.normal(size=(2, 16, 3)).astype("f4")
  with kernels.interpret():
    found = gradient("pallas", "d", check_vma=False)(a, b)
  expected = gradient("sequential", "d")(a, b)
  # float32 rounding of sums over 16 elements.
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5),
    found,
    expected,
  )
