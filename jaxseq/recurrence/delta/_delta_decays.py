"""Decays inside a chunk of the delta rules.

With s_t the sum of the log-decays up to element t, a query reads the update of
element j with weight exp(s_t - s_j), an `early` read with exp(s_{t-1} - s_j).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.recurrence.outer import _outer_decays
from jaxseq.recurrence.shared import _contractions
from jaxseq.recurrence.shared import _episodes


class Decays(NamedTuple):
  """Log-decays of a chunk [B, 1, C, A], and which elements see which."""

  sums: _outer_decays.Sums | None  # of the log-decays; None if there are none
  masks: _episodes.Masks  # of the chunk
  operands: jnp.dtype  # dtype of the products' operands

  def pairs(
    self, left: jax.Array, right: jax.Array, *, early: bool, strict: bool
  ) -> jax.Array:
    """Products over d of left_t exp(s_t - s_j) right_j, [B, 1, C, C]."""
    # For j <= t, or j < t if `strict`, which `early` needs; else 0.
    mask = self.masks.pairs
    C = mask.shape[-1]
    if strict:
      mask = mask & ~jnp.eye(C, dtype=bool)
    if self.sums is not None and self.sums.high.shape[-1] > 1:
      # Reads of the next element: `early` uses the sum before its own.
      left = _sooner(left) if early else left
      scores = _outer_decays.scores(left, right, self.sums, self.operands)
      return jnp.where(mask, _later(scores) if early else scores, 0)
    gram = _contractions.dot(left, right, -1, -1, operands=self.operands)
    if self.sums is None:
      return jnp.where(mask, gram, 0)
    rows = self._before() if early else self.sums
    columns = _outer_decays.Sums(*(part.swapaxes(-1, -2) for part in self.sums))
    return gram * _outer_decays.exp_where(mask, rows - columns)

  def enter(self, x: jax.Array, *, early: bool = False) -> jax.Array:
    """Product of x_t and its decay since the state before the chunk."""
    if self.sums is None:
      return _kept(self.masks.enter, x)
    sums = self._before() if early else self.sums
    return x * _outer_decays.exp_where(self.masks.enter, sums.total())

  def leave(self, x: jax.Array) -> jax.Array:
    """Product of x_t and its decay up to the state after the chunk."""
    if self.sums is None:
      return _kept(self.masks.leave, x)
    last = self.sums[..., -1:, :] - self.sums
    return x * _outer_decays.exp_where(self.masks.leave, last)

  def through(self, state: jax.Array) -> jax.Array:
    """Part of the state before the chunk that remains after it."""
    if self.sums is None:
      return _kept(self.masks.through, state)
    last = self.sums[..., -1:, :].total()
    factor = _outer_decays.exp_where(self.masks.through, last)
    return factor.swapaxes(-1, -2) * state

  def _before(self):
    return _outer_decays.Sums(*(_later(part) for part in self.sums))


def make(
  decay: jax.Array | None, masks: _episodes.Masks, operands: jnp.dtype
) -> Decays:
  """Returns `Decays` of log-decays [B, 1, C, A], A = 1 or K, or None."""
  sums = None if decay is None else _outer_decays.log_decay_sums(decay)
  return Decays(sums, masks, operands)


def cotangent(
  decay: jax.Array,
  begins: jax.Array | None,
  on_time: jax.Array,
  early: jax.Array,
  last: jax.Array,
) -> jax.Array:
  """Cotangent of log-decays [B, 1, C, A], from those of other arrays."""
  total = on_time.at[..., -1, :].add(last)
  if early is not None:
    total = total + early
  if decay.shape[-1] == 1:
    total = _contractions.sum_over(total, -1)
    early = None if early is None else _contractions.sum_over(early, -1)
  return _outer_decays.d_log_decay(total, decay, begins, early)


def _kept(mask, x):
  return x if mask is None else jnp.where(mask, x, 0)


def _sooner(x):
  """Replaces x_t by x_{t+1}, with zeros at the end."""
  return jnp.concatenate([x[..., 1:, :], jnp.zeros_like(x[..., :1, :])], -2)


def _later(x):
  """Replaces x_t by x_{t-1}, with zeros at the beginning."""
  return jnp.concatenate([jnp.zeros_like(x[..., :1, :]), x[..., :-1, :]], -2)
