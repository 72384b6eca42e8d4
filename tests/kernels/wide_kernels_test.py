"""Kernels of 32-bit arrays are lowered where Python's numbers have 64 bits."""

import functools

import jax
import jax.numpy as jnp
import pytest

from jaxseq import recurrence
from jaxseq.mixers.gated import gru
from jaxseq.recurrence import kernels

_CHIPS = {
  "tpu": ("tpu", "TPU v5 lite"),
  "cuda": ("gpu", "sm_90"),
}
_CALLS = {"cuda": "mosaic_gpu", "tpu": "tpu_custom_call"}


def linear(x):
  return recurrence.linear_scan(x, x, method="pallas")[0]


def selective(x):
  A = -jnp.ones((3, 2), x.dtype)
  B = x[..., :2]
  return recurrence.selective_scan(x, x, A, B, B, method="pallas")[0]


def outer(x):
  v = x.astype(jnp.bfloat16)[:, :, None]
  return recurrence.outer_scan_heads(v, v, v, method="pallas")[0]


def gated(x, features=2):
  params = recurrence.GatedParams(
    jnp.ones((3, 3, features), x.dtype),
    jnp.ones((3, features), x.dtype),
    jnp.ones((1, features, 3, features), x.dtype),
  )
  state = (jnp.zeros((1, x.shape[1], features), x.dtype),)
  x = x.astype(jnp.bfloat16)
  run = functools.partial(recurrence.gated_scan, gru._CELL, method="pallas")
  return run(params, state, x)[0]


def gated_over_blocks(x):
  return gated(x, 65)


@pytest.mark.parametrize(
  "scan",
  [
    linear,
    *(
      pytest.param(scan, marks=pytest.mark.slow)
      for scan in (selective, outer, gated, gated_over_blocks)
    ),
  ],
)
@pytest.mark.parametrize("platform", _CHIPS)
def test_lowers_with_its_gradient(x64, platform, scan):
  del x64
  if platform == "cuda" and jax.__version_info__ < (0, 11):
    pytest.skip("Hopper kernels need jax 0.11.")

  def loss(x):
    return jnp.sum(scan(x).astype(jnp.float32))

  x = jax.ShapeDtypeStruct((2, 5, 3), jnp.float32)
  with kernels.choosing_for(*_CHIPS[platform]):
    traced = jax.jit(jax.value_and_grad(loss)).trace(x)
    text = traced.lower(lowering_platforms=(platform,)).as_text()
  assert _CALLS[platform] in text
