"""A chunk of the delta rules as matrix products, with derivatives written out.

Inside a chunk, reads solve a unit triangular system (WY; arXiv:2406.06484,
section 3.2; with decays arXiv:2412.06464), never narrower than float32.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.recurrence.delta import _delta_decays
from jaxseq.recurrence.delta import _unit_triangular
from jaxseq.recurrence.shared import _contractions
from jaxseq.recurrence.shared import _episodes


class Tied(NamedTuple):
  """Inputs of S_t = D + k (v - read^T D)^T, D = exp(decay) S_{t-1}."""

  q: jax.Array
  k: jax.Array
  v: jax.Array
  read: jax.Array
  decay: jax.Array | None


class General(NamedTuple):
  """Inputs of S_t = e^decay S_{t-1} + b (a^T S_{t-1})^T + k v^T."""

  q: jax.Array
  k: jax.Array
  v: jax.Array
  a: jax.Array
  b: jax.Array
  decay: jax.Array | None


@jax.custom_vjp
def tied(
  x: Tied, state: jax.Array, masks: _episodes.Masks
) -> tuple[jax.Array, jax.Array]:
  """Outputs [B, 1, C, V] and the state after the chunk."""
  return _tied_forward(x, state, masks)[0]


def _tied_parts(x, state, masks):
  """Decays, the matrix of q and k, the inverse, and w."""
  decays = _decays(x, masks)
  A = decays.pairs(x.read, x.k, early=False, strict=True)
  inverse = _unit_triangular.inverse(A.astype(state.dtype))
  read = x.read.astype(state.dtype)
  entering = _exact(decays.enter(read), state, -1, -2)
  w = _exact(inverse, x.v.astype(state.dtype) - entering, -1, -2)
  return decays, inverse, w


def _tied_forward(x, state, masks):
  decays, _, w = _tied_parts(x, state, masks)
  dot = _product(x)
  pairs = decays.pairs(x.q, x.k, early=False, strict=False)
  o = dot(pairs, w, -1, -2) + dot(decays.enter(x.q), state, -1, -2)
  after = decays.through(state) + dot(decays.leave(x.k), w, -2, -2)
  return (o, after), (x, state, masks, after)


def _tied_backward(residuals, cotangents):
  x, state, masks, after = residuals
  g, d_after = cotangents
  decays, inverse, w = _tied_parts(x, state, masks)
  dot, wide = _product(x), _widened(x, state.dtype)

  def pairs(left, right, strict):
    return jax.vjp(
      lambda *x: decays.pairs(*x, early=False, strict=strict), left, right
    )

  scores, pull_scores = pairs(wide.q, wide.k, strict=False)
  d_w = dot(scores, g, -2, -2) + dot(decays.leave(x.k), d_after, -1, -2)
  dv = _exact(inverse, d_w, -2, -2)
  dq, dk = pull_scores(dot(g, w, -1, -1))
  _, pull_reads = pairs(wide.read, wide.k, strict=True)
  d_read, dk_read = pull_reads(-_exact(dv, w, -1, -1))
  dq = dq + decays.enter(dot(g, state, -1, -1))
  d_read = d_read - decays.enter(_exact(dv, state, -1, -1))
  dk = dk + dk_read + decays.leave(dot(w, d_after, -1, -1))
  d_state = decays.through(d_after) + dot(decays.enter(x.q), g, -2, -2)
  d_state = d_state - _exact(decays.enter(wide.read), dv, -2, -2)
  d_decay = None
  if x.decay is not None:
    on_time = wide.q * dq + wide.read * d_read - wide.k * dk
    last = jnp.sum(d_after * after, axis=-1)
    d_decay = _delta_decays.cotangent(
      x.decay, masks.begins, on_time, None, last
    )
  return _like(x, Tied(dq, dk, dv, d_read, d_decay)), d_state, None


tied.defvjp(_tied_forward, _tied_backward)


@jax.custom_vjp
def general(
  x: General, state: jax.Array, masks: _episodes.Masks
) -> tuple[jax.Array, jax.Array]:
  """Outputs [B, 1, C, V] and the state after the chunk."""
  return _general_forward(x, state, masks)[0]


def _general_parts(x, state, masks):
  """Decays, the matrix of a and k, the inverse, and u."""
  decays = _decays(x, masks)
  A = decays.pairs(x.a, x.b, early=True, strict=True)
  inverse = _unit_triangular.inverse(-A.astype(state.dtype))
  a = x.a.astype(state.dtype)
  entering = _exact(decays.enter(a, early=True), state, -1, -2)
  reads = decays.pairs(x.a, x.k, early=True, strict=True).astype(state.dtype)
  inside = _exact(reads, x.v.astype(state.dtype), -1, -2)
  u = _exact(inverse, entering + inside, -1, -2)
  return decays, inverse, u


def _general_forward(x, state, masks):
  decays, _, u = _general_parts(x, state, masks)
  dot = _product(x)
  of_b = decays.pairs(x.q, x.b, early=False, strict=False)
  of_k = decays.pairs(x.q, x.k, early=False, strict=False)
  o = dot(of_b, u, -1, -2) + dot(of_k, x.v, -1, -2)
  o = o + dot(decays.enter(x.q), state, -1, -2)
  after = decays.through(state) + dot(decays.leave(x.b), u, -2, -2)
  after = after + dot(decays.leave(x.k), x.v, -2, -2)
  return (o, after), (x, state, masks, after)


def _general_backward(residuals, cotangents):
  x, state, masks, after = residuals
  g, d_after = cotangents
  decays, inverse, u = _general_parts(x, state, masks)
  dot, wide = _product(x), _widened(x, state.dtype)

  def pairs(left, right, early):
    return jax.vjp(
      lambda *x: decays.pairs(*x, early=early, strict=early), left, right
    )

  of_b, pull_b = pairs(wide.q, wide.b, early=False)
  of_k, pull_k = pairs(wide.q, wide.k, early=False)
  reads, pull_reads = pairs(wide.a, wide.k, early=True)
  _, pull_inside = pairs(wide.a, wide.b, early=True)

  d_u = dot(of_b, g, -2, -2) + dot(decays.leave(x.b), d_after, -1, -2)
  z = _exact(inverse, d_u, -2, -2)
  dv = dot(of_k, g, -2, -2) + dot(decays.leave(x.k), d_after, -1, -2)
  dv = dv + _exact(reads, z, -2, -2)
  dq, db = pull_b(dot(g, u, -1, -1))
  dq_k, dk = pull_k(dot(g, x.v, -1, -1))
  da, dk_read = pull_reads(_exact(z, wide.v, -1, -1))
  da_inside, db_inside = pull_inside(_exact(z, u, -1, -1))
  dq = dq + dq_k + decays.enter(dot(g, state, -1, -1))
  da = da + da_inside + decays.enter(_exact(z, state, -1, -1), early=True)
  dk = dk + dk_read + decays.leave(dot(x.v, d_after, -1, -1))
  db = db + db_inside + decays.leave(dot(u, d_after, -1, -1))
  d_state = decays.through(d_after) + dot(decays.enter(x.q), g, -2, -2)
  d_state = d_state + _exact(decays.enter(wide.a, early=True), z, -2, -2)
  d_decay = None
  if x.decay is not None:
    on_time = wide.q * dq - wide.k * dk - wide.b * db
    last = jnp.sum(d_after * after, axis=-1)
    d_decay = _delta_decays.cotangent(
      x.decay, masks.begins, on_time, wide.a * da, last
    )
  return _like(x, General(dq, dk, dv, da, db, d_decay)), d_state, None


general.defvjp(_general_forward, _general_backward)


def _decays(x, masks):
  return _delta_decays.make(x.decay, masks, x.v.dtype)


def _product(x):
  """Returns products in the dtype of the inputs."""

  def dot(left, right, left_axis, right_axis):
    return _contractions.dot(
      left, right, left_axis, right_axis, operands=x.v.dtype
    )

  return dot


def _exact(x, y, x_axis, y_axis):
  """Product in the dtype of states, without rounding on a TPU."""
  return _contractions.dot(x, y, x_axis, y_axis, exact=True)


def _widened(x, dtype):
  """Casts the inputs to the dtype of states, so that cotangents stay exact."""
  return type(x)(*(None if y is None else y.astype(dtype) for y in x))


def _like(x, cotangents):
  """Casts cotangents to the dtypes of the inputs."""
  return jax.tree.map(lambda leaf, d: d.astype(leaf.dtype), x, cotangents)
