"""Attention over a split sequence: each device takes whole heads."""

import math

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.recurrence.attention._schemes import blocks
from jaxseq.recurrence.averages import _softmax_state


def ulysses(problem: blocks.Problem, axis: str) -> jax.Array:
  """Exchanges a split of time for one of heads, averages, and reverts it."""
  mask, devices = problem.mask, problem.mask.layout.devices
  heads, groups = problem.q.shape[-3], problem.k.shape[-3]
  if heads % devices:
    raise validate.error(
      "q",
      f"shape {problem.q.shape}",
      f"a number of heads that is a multiple of the {devices} devices on axis "
      f"{axis!r} for scheme 'ulysses'",
    )
  repeats = devices // math.gcd(devices, groups)
  k, v = (jnp.repeat(x, repeats, axis=-3) for x in (problem.k, problem.v))
  q_all, k_all, v_all = (
    _by_device(_to_heads(x, axis), devices) for x in (problem.q, k, v)
  )
  # Of any queries: an empty average is the same for all of them.
  nothing = jax.tree.map(
    lambda x: lax.slice_in_dim(x, 0, heads // devices, axis=problem.q.ndim - 3),
    problem.nothing,
  )

  def rows(element):
    i, q = element

    def body(state, element):
      j, k, v = element
      return blocks.accumulate(state, q, k, v, mask, i, j), None

    return lax.scan(body, nothing, (indices, k_all, v_all))[0]

  indices = jnp.arange(devices)
  state = lax.map(rows, (indices, q_all))
  if problem.init is None:
    o = _softmax_state.divide(state.w, state.u[..., None]).astype(problem.dtype)
    o = jnp.where(problem.undefined[..., None], jnp.nan, _to_time(o, axis))
    return o.astype(problem.dtype)
  state = blocks.unpack(_to_time(blocks.pack(state), axis))
  return blocks.finish(problem, state)


def _to_heads(x, axis):
  """Converts (*batch, heads, time, d) to (*batch, heads / W, W * time, d)."""
  return lax.all_to_all(x, axis, x.ndim - 3, x.ndim - 2, tiled=True)


def _to_time(x, axis):
  """Converts (W, *batch, heads / W, time, d) to (*batch, heads, time, d)."""
  x = jnp.moveaxis(x, 0, -3)
  x = x.reshape(*x.shape[:-3], -1, x.shape[-1])
  return lax.all_to_all(x, axis, x.ndim - 2, x.ndim - 3, tiled=True)


def _by_device(x, devices):
  """Converts (..., W * time, d) to (W, ..., time, d)."""
  return jnp.moveaxis(x.reshape(*x.shape[:-2], devices, -1, x.shape[-1]), -3, 0)
