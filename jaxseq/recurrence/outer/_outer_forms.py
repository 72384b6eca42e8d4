"""Chunks of `outer_scan` as matrix products, with explicit derivatives.

The products q k^T are multiplied by a head's decays of the pairs (Mamba-2,
arXiv:2405.21060, section 6); decays per channel are factors inside them (gated
linear attention, arXiv:2312.06635, section 4). Sums are never bfloat16.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.recurrence.outer import _outer_decays
from jaxseq.recurrence.shared import _contractions
from jaxseq.recurrence.shared import _episodes

sum_over = _contractions.sum_over


class Inputs(NamedTuple):
  """Arrays that a chunk consumes, of R heads of a group."""

  q: jax.Array  # [B, 1, C, K]
  k: jax.Array  # [B, 1, C, K]
  v: jax.Array  # [B, R, C, V]
  # [B, R, C, 1 or K], log-decays, in the dtype of the sums
  decay: jax.Array | None


def _ends(x, masks, sums):
  """Factors [B|1, R|1, C, A] from the state before and to the one after."""
  if sums is None:
    factors = (masks.enter, masks.leave, masks.through)
    one = jnp.ones((1, 1, 1, 1), x.v.dtype)
    return tuple(
      one if mask is None else mask.astype(x.v.dtype) for mask in factors
    )
  last = sums[..., -1:, :]
  return (
    _outer_decays.exp_where(masks.enter, sums.total()),
    _outer_decays.exp_where(masks.leave, last - sums),
    _outer_decays.exp_where(masks.through, last.total()),
  )


@jax.custom_vjp
def scalar(
  x: Inputs, state: jax.Array, masks: _episodes.Masks
) -> tuple[jax.Array, jax.Array]:
  """One decay per head, or None: the pairs' decays [C, C] multiply q k^T."""
  dot = _product(x)
  gram, decays, enter, leave, through = _scalar_parts(x, masks)
  o = dot(gram * decays, x.v, -1, -2) + dot(enter * x.q, state, -1, -2)
  return o, through * state + dot(leave * x.k, x.v, -2, -2)


def _product(x):
  """Returns products in the dtype of the inputs."""
  return functools.partial(_contractions.dot, operands=x.v.dtype)


def _scalar_parts(x, masks):
  sums = None if x.decay is None else _outer_decays.log_decay_sums(x.decay)
  if sums is None:
    decays = masks.pairs.astype(x.v.dtype)
  else:
    transposed = _outer_decays.Sums(*(part.swapaxes(-1, -2) for part in sums))
    decays = _outer_decays.exp_where(masks.pairs, sums - transposed)
  # One product for all heads of a group.
  gram = _product(x)(x.q, x.k, -1, -1)
  return (gram, decays, *_ends(x, masks, sums))


def _scalar_forward(x, state, masks):
  return scalar(x, state, masks), (x, state, masks)


def _scalar_backward(residuals, cotangents):
  x, state, masks = residuals
  g, d_after = cotangents
  dot = _product(x)
  gram, decays, enter, leave, through = _scalar_parts(x, masks)
  q_in, k_out = enter * x.q, leave * x.k
  d_q_in = dot(g, state, -1, -1)
  d_k_out = dot(x.v, d_after, -1, -1)
  d_state = through * d_after + dot(q_in, g, -2, -2)
  dv = dot(gram * decays, g, -2, -2) + dot(k_out, d_after, -1, -2)
  d_pairs = dot(g, x.v, -1, -1) * decays
  d_gram = sum_over(d_pairs, 1)
  dq = dot(d_gram, x.k, -1, -2) + sum_over(enter * d_q_in, 1)
  dk = dot(d_gram, x.q, -2, -2) + sum_over(leave * d_k_out, 1)
  da = None
  if x.decay is not None:
    d_pairs = d_pairs * gram
    d_leave = sum_over(d_k_out * k_out, -1)
    d_sums = (
      sum_over(d_pairs, -1)
      - sum_over(d_pairs, -2).swapaxes(-1, -2)
      + sum_over(d_q_in * q_in, -1)
      - d_leave
    )
    d_last = jnp.sum(d_leave, -2, keepdims=True)
    d_last += through * jnp.sum(d_after * state, (-1, -2), keepdims=True)
    da = _outer_decays.d_log_decay(
      d_sums.at[..., -1, :].add(d_last[..., 0, :]), x.decay, masks.begins
    )
  return _like(x, dq, dk, dv, da), d_state, None


def _like(x, *cotangents):
  """Casts cotangents to the dtypes of the inputs."""
  return jax.tree.map(
    lambda leaf, d: d.astype(leaf.dtype), x, Inputs(*cotangents)
  )


scalar.defvjp(_scalar_forward, _scalar_backward)


@jax.custom_vjp
def vector(
  x: Inputs, state: jax.Array, masks: _episodes.Masks
) -> tuple[jax.Array, jax.Array]:
  """A decay per channel of the keys: it cannot be taken out of q k^T."""
  return _vector_forward(x, state, masks)[0]


def _vector_parts(x, masks):
  sums = _outer_decays.log_decay_sums(x.decay)
  scores = functools.partial(
    _outer_decays.scores, sums=sums, operands=x.v.dtype
  )
  return scores, _ends(x, masks, sums)


def _vector_forward(x, state, masks):
  dot = _product(x)
  scores, (enter, leave, through) = _vector_parts(x, masks)
  pairs = jnp.where(masks.pairs, scores(x.q, x.k), 0)
  o = dot(pairs, x.v, -1, -2) + dot(enter * x.q, state, -1, -2)
  after = through.swapaxes(-1, -2) * state + dot(leave * x.k, x.v, -2, -2)
  return (o, after), (x, state, masks, after)


def _vector_backward(residuals, cotangents):
  """Computes the decays' cotangents from those of q and k."""
  x, state, masks, after = residuals
  g, d_after = cotangents
  dot = _product(x)
  scores, (enter, leave, through) = _vector_parts(x, masks)
  # In the dtype of the decays, so that cotangents are not rounded yet.
  q, k = (
    jnp.broadcast_to(z, x.decay.shape).astype(x.decay.dtype) for z in (x.q, x.k)
  )
  pairs, pull = jax.vjp(scores, q, k)
  pairs = jnp.where(masks.pairs, pairs, 0)
  d_pairs = jnp.where(masks.pairs, dot(g, x.v, -1, -1), 0)
  dq, dk = pull(d_pairs)
  dq = dq + enter * dot(g, state, -1, -1)
  dk = dk + leave * dot(x.v, d_after, -1, -1)
  dv = dot(pairs, g, -2, -2) + dot(leave * x.k, d_after, -1, -2)
  d_state = through.swapaxes(-1, -2) * d_after + dot(enter * x.q, g, -2, -2)
  d_last = sum_over(d_after * after, -1).swapaxes(-1, -2)
  d_sums = (x.q * dq - x.k * dk).at[..., -1, :].add(d_last[..., 0, :])
  da = _outer_decays.d_log_decay(d_sums, x.decay, masks.begins)
  return _like(x, sum_over(dq, 1), sum_over(dk, 1), dv, da), d_state, None


vector.defvjp(_vector_forward, _vector_backward)
