"""The linear scan with time split over devices; `shared` has the idea."""

import jax
import jax.numpy as jnp

from jaxseq.recurrence.shared import _prefix
from jaxseq.recurrence.shared import _summaries


def part(run, x, init, reset, *, reverse: bool) -> _summaries.Part:
  """A device's part; a summary is the product of decays, and a state."""
  dtype = jnp.result_type(*jax.tree.leaves((x, init)), jnp.float32)
  a, b = (leaf.astype(dtype) for leaf in x)
  return _summaries.Part(
    _summary(a, b, reset, reverse=bool(reverse)),
    lambda state: run(x, state, reset),
    _combine,
  )


def _summary(
  a: jax.Array, b: jax.Array, reset: jax.Array | None, *, reverse: bool
) -> _summaries.Decayed:
  """Summarizes a chunk: a product of decays, and a tree over time."""
  a = a.reshape((1,) * (b.ndim - a.ndim) + a.shape)
  a = jnp.broadcast_to(a, (*a.shape[:-2], *b.shape[-2:]))
  if reset is not None:
    a = jnp.where(reset[..., None], 0, a)
  a, b = (jnp.moveaxis(leaf, -2, 0) for leaf in (a, b))
  if reverse:
    a, b = a[::-1], b[::-1]
  neutral = _summaries.Decayed(None, jnp.ones_like(a[0]), jnp.zeros_like(b[0]))
  return _prefix.fold(_combine, _summaries.Decayed(None, a, b), neutral)


def _combine(
  left: _summaries.Decayed, right: _summaries.Decayed, hops: int
) -> _summaries.Decayed:
  """Composes summaries; a decay of zero is a select, for states of NaN."""
  del hops
  forgets = right.decay == 0
  # Before they are multiplied: 0 times NaN is not 0 in gradients either.
  decay, state = (jnp.where(forgets, 0, x) for x in (left.decay, left.state))
  # A forgotten state stays so, whatever the later decays.
  after = jnp.where(left.decay == 0, 0, right.decay)
  return _summaries.Decayed(
    None, after * decay, right.decay * state + right.state
  )
