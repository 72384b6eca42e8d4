"""Arguments of outer_scan for its tests, and its gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import recurrence

GROUPS, HEADS, DK, DV = 2, 4, 3, 5
CHUNK = 6


def problem(time, kind, groups=GROUPS, rows=2, seed=0):
  """Arguments of `outer_scan_heads` in float64."""
  rng = np.random.default_rng(seed)
  q, k = rng.normal(size=(2, rows, time, groups, DK))
  v = rng.normal(size=(rows, time, HEADS, DV))
  decay = -rng.exponential(0.2, (rows, time, HEADS, DK))
  if kind in ("scalar", "forget"):
    decay = decay[..., :1]
  if kind == "forget":
    decay[rng.uniform(size=decay.shape) < 0.3] = -np.inf
  init = rng.normal(size=(rows, HEADS, DK, DV))
  return q, k, v, None if kind == "none" else decay, init


_STATIC = "method", "chunk_size", "inclusive"


@functools.partial(jax.jit, static_argnames=_STATIC)
def run(
  arguments, reset=None, method="chunked", chunk_size=CHUNK, inclusive=True
):
  how = {"chunk_size": chunk_size, "method": method, "inclusive": inclusive}
  return recurrence.outer_scan_heads(*arguments, reset=reset, **how)


@functools.partial(jax.jit, static_argnames=_STATIC)
def evaluate(
  arguments, reset=None, method="chunked", chunk_size=CHUNK, inclusive=True
):
  """Results, and gradients with cotangents on outputs and last state."""
  return gradients(
    lambda x: run(x, reset, method, chunk_size, inclusive), arguments
  )


def gradients(function, arguments):
  """Results of a scan, and gradients, likewise."""

  def loss(arguments):
    o, final = function(arguments)
    rng = np.random.default_rng(5)
    value = jnp.sum(o * rng.normal(size=o.shape).astype(o.dtype))
    weights = rng.normal(size=final.shape).astype(final.dtype)
    return value + jnp.sum(final * weights), (o, final)

  return jax.value_and_grad(loss, has_aux=True)(arguments)
