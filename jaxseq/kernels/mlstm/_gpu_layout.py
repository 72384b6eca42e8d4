"""`mlstm_scan` by the kernels of `outer_scan` on Hopper, with weights."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.kernels import _calls
from jaxseq.kernels.outer import _gpu as _outer_gpu
from jaxseq.kernels.outer import _gpu_backward as _outer_gpu_backward
from jaxseq.kernels.outer import _gpu_layout as _outer_gpu_layout
from jaxseq.kernels.outer import _products as _outer_products
from jaxseq.recurrence.platform import support


class Inputs(NamedTuple):
  """Arrays of the recurrence."""

  q: jax.Array  # [rows, time, heads, K] bfloat16
  k: jax.Array  # [rows, time, heads, K]
  v: jax.Array  # [rows, time, heads, V]
  log_weight: jax.Array  # [rows, time, heads] float32, of the keys, at most 0
  decay: jax.Array  # [rows, time, heads] float32, logarithms
  # [rows, heads, K, V] float32, the state before the first element
  C: jax.Array
  n: jax.Array  # [rows, heads, K] float32, the state of the column of ones
  reset: jax.Array | None  # [rows, time] bool, or None


class Results(NamedTuple):
  """Results of the recurrence."""

  o: jax.Array  # [rows, time, heads, V], q C
  total: jax.Array  # [rows, time, heads] float32, q n
  C: jax.Array  # the state after the last element
  n: jax.Array  # the state of the column of ones


class Kept(NamedTuple):
  """Residuals of the gradient, besides the inputs."""

  outer: _outer_gpu_layout.Kept  # residuals of `outer_scan`
  ones: jax.Array  # entering states of the column of ones, per chunk


def outer_inputs(x: Inputs) -> _outer_products.Inputs:
  """Returns `outer_scan_heads`' inputs, without weights and column of ones."""
  return _outer_products.Inputs(x.q, x.k, x.v, x.decay[..., None], x.C, x.reset)


def forward(
  form: support.Form, x: Inputs, keeps: bool
) -> tuple[Results, Kept | None]:
  """Returns the results, and residuals if requested."""
  _outer_gpu_layout.check("mlstm", x.v.dtype, x.q.shape[-1])
  outer, n = outer_inputs(x), x.n[..., None]
  whole = outer._replace(init=jnp.concatenate([x.C, n], axis=-1))
  lost = _outer_gpu_layout.undefined(whole, x.log_weight[..., None])
  weight, _ = _log_weights(x)
  facts, last = _outer_gpu_layout.facts(outer, lost, weight), None
  C, n = x.C, x.n
  if lost is not None:
    last = lost[:, -1, :, None, None]
    C, n = _outer_products.clean(C), _outer_products.clean(n)
  heads = x.v.shape[2]
  o, C, entering, ones = _outer_gpu.scan(
    form,
    heads,
    _outer_gpu_layout.blocks(outer, facts),
    _outer_gpu_layout.padded_state(C),
    keeps=keeps,
    ones=_calls.padded(n, 2, _outer_gpu_layout.TILE),
  )
  o = _outer_gpu_layout.by_head(o, x.v.shape)
  total = _of_elements(ones.outputs, x.v.shape[1])
  C = _calls.cut(C, x.C.shape)
  n = ones.final[..., : x.n.shape[-1]]
  if lost is not None:
    total = jnp.where(lost, jnp.nan, total)
    C, n = jnp.where(last, jnp.nan, C), jnp.where(last[..., 0], jnp.nan, n)
  saved = None
  if keeps:
    saved = Kept(_outer_gpu_layout.Kept(entering, facts, last), ones.entering)
  return Results(o, total, C, n), saved


def backward(
  form: support.Form, x: Inputs, saved: Kept, cotangents: Results
) -> Inputs:
  """Returns cotangents of the inputs from those of the results."""
  g, d_total, dC, dn = cotangents
  facts, undefined = saved.outer.facts, saved.outer.undefined
  if undefined is not None:
    dC = jnp.where(undefined, 0, dC)
    dn = jnp.where(undefined[..., 0], 0, dn)
  doubt = facts[..., _outer_gpu.Facts.DOUBT, :]
  cotangent = jnp.where(doubt > 1, 0, _outer_gpu_layout.in_chunks(d_total))
  facts = jnp.concatenate([facts, cotangent[..., None, :]], axis=3)
  outer, heads = outer_inputs(x), x.v.shape[2]
  blocks = _outer_gpu_layout.blocks(outer, facts)
  g = _outer_gpu_layout.flat(g, _outer_gpu.COLUMNS)
  dv, dC, after, ones = _outer_gpu.scan(
    form,
    heads,
    blocks._replace(q=blocks.k, k=blocks.q, v=g),
    _outer_gpu_layout.padded_state(dC),
    keeps=True,
    reverse=True,
    ones=_calls.padded(dn, 2, _outer_gpu_layout.TILE),
  )
  dq, dk, sums = _outer_gpu_backward.backward(
    *(form, heads, blocks, g, saved.outer.entering, after, True),
    (saved.ones, ones.entering),
  )
  Sums = _outer_gpu_backward.Sums
  sums = _outer_gpu_layout.sums_of(sums, heads)
  # The kernel omits the column of ones from state to state.
  through = facts[..., _outer_gpu.Facts.ENTER, -1]
  of_states = through * jnp.sum(saved.ones * ones.entering, axis=-1)
  sums = sums.at[..., Sums.LAST, -1].add(of_states)
  d_weight = sums[..., Sums.EARLIER, :] + sums[..., Sums.WEIGHT, :]
  if undefined is not None:
    _, bad = _log_weights(x)
    d_weight = jnp.where(bad, 0, d_weight)
  by_head = _outer_gpu_layout.by_head
  return Inputs(
    by_head(dq, x.q.shape),
    by_head(dk, x.k.shape),
    by_head(dv, x.v.shape),
    _of_elements(d_weight, x.v.shape[1]),
    _outer_gpu_layout.d_decay(outer, sums)[..., 0],
    _calls.cut(dC, x.C.shape),
    ones.final[..., : x.n.shape[-1]],
    None,
  )


def _log_weights(x):
  """Returns log-weights [rows, heads, chunks, C], and flags of bad ones."""
  log_weight = _outer_gpu_layout.in_chunks(x.log_weight)
  bad = ~_outer_products.finite(log_weight)
  return (log_weight if x.reset is None else jnp.where(bad, 0, log_weight)), bad


def _of_elements(x, time):
  """Converts [rows, heads, chunks, C] to [rows, time, heads]."""
  return x.reshape(*x.shape[:2], -1)[..., :time].swapaxes(1, 2)
