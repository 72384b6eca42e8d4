"""Parts of the mixers with matrix states: linear attention, GLA, HGRN2, ...

Each has queries and keys (..., heads, d_key), values (..., heads, d_value) and
log-decays, and a norm between the scan and the output projection.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import _serialization
from jaxseq import recurrence
from jaxseq.mixers import contract

Params = contract.Params


@_serialization.exported("jaxseq.mixers._outer.ConvState")
class ConvState(NamedTuple):
  """State of a mixer with matrix states behind a short convolution.

  Attributes:
    conv: (*batch, d_conv - 1, channels), the last inputs of the convolution,
      oldest first; of queries, keys and values (q, f and i in HGRN2) side by
      side. None without one.
    S: (*batch, heads, d_key, d_value).
  """

  conv: jax.Array | None
  S: jax.Array


def fresh(config, heads, batch_shape, dtype) -> ConvState:
  """Returns zeros for a Config with d_conv, channels and heads' widths."""
  window = *batch_shape, config.d_conv - 1, sum(config.channels)
  matrix = *batch_shape, heads, config.key_width, config.value_width
  return ConvState(
    jnp.zeros(window, dtype) if config.d_conv > 1 else None,
    jnp.zeros(matrix, dtype),
  )


class HeadWidths:
  """Base of a Config with d_model, heads, and d_key and d_value or None."""

  d_model: int
  heads: int
  d_key: int | None
  d_value: int | None

  @property
  def key_width(self) -> int:
    """Width of a head's queries and keys."""
    return self._default_width if self.d_key is None else self.d_key

  @property
  def value_width(self) -> int:
    """Width of a head's values."""
    return self._default_width if self.d_value is None else self.d_value

  @property
  def _default_width(self):
    return math.ceil(self.d_model / self.heads)


def log_decay(logits: jax.Array, temperature: float) -> jax.Array:
  """Returns log sigmoid(logits)^(1 / temperature)."""
  return jax.nn.log_sigmoid(logits) / temperature


def low_rank_logits(params: Params, x: jax.Array) -> jax.Array:
  """Returns W_a2 (W_a x) + b_a, at least float32."""
  low = recurrence.dense(x, params["W_a"])
  return recurrence.dense(low, params["W_a2"], params["b_a"], wide=True)


def scan(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  decay: jax.Array | None,
  state: jax.Array,
  reset: jax.Array | None,
  axis: str | None,
) -> tuple[jax.Array, jax.Array]:
  """Outputs d_key^-0.5 q_t S_t, and the last S; arrays as in the head."""
  # The decay is (..., heads, d_key | 1) or None, the state (*batch, heads,
  # d_key, d_value); q, k and v have time before heads.
  q = q * q.shape[-1] ** -0.5
  return recurrence.outer_scan_heads(
    q, k, v, decay, state, reset=reset, axis=axis
  )
