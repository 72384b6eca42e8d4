"""Parts of the mixers with matrix states: linear attention, GLA, HGRN2, ..."""

import dataclasses
import math
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import _serialization
from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers import head_parts
from jaxseq.mixers.state_space import discretize


@_serialization.exported("jaxseq.mixers._outer.ConvState")
class ConvState(NamedTuple):
  """State of a mixer with matrix states after a short convolution.

  Attributes:
    conv: (*batch, d_conv - 1, channels), the last inputs of the convolution,
      oldest first, concatenated over queries, keys and values (q, f and i in
      HGRN2); None without a convolution.
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


@dataclasses.dataclass(frozen=True)
class HeadWidths(contract.Options):
  """Base of a Config of mixers with heads.

  Attributes:
    heads: number of heads.
    d_key: width of a head's queries and keys; d_model / heads, rounded up, if
      None.
    d_value: width of a head's values; its default is that of d_key.
  """

  heads: int = 4
  d_key: int | None = None
  d_value: int | None = None

  @property
  def key_width(self) -> int:
    """Width of a head's queries and keys."""
    return self.d_key or self._default_width

  @property
  def value_width(self) -> int:
    """Width of a head's values."""
    return self.d_value or self._default_width

  @property
  def _default_width(self):
    return math.ceil(self.d_model / self.heads)


def rates(
  draw: contract.Draws, heads: int, decays: int, config: Any
) -> contract.Params:
  """Draws A_log (heads,) and dt_bias (decays,) of decays with step sizes."""
  A = jax.random.uniform(draw.keys["A"], (heads,), jnp.float32, 0.01, 16)
  bias = discretize.step_size_bias(draw.keys["dt"], decays, config)
  return {"A_log": jnp.log(A), "dt_bias": bias}


def log_decay(logits: jax.Array, temperature: float) -> jax.Array:
  """Returns log sigmoid(logits)^(1 / temperature)."""
  return jax.nn.log_sigmoid(logits) / temperature


def low_rank_logits(params: contract.Params, x: jax.Array) -> jax.Array:
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
  """Outputs d_key^-0.5 q_t S_t, and the last S."""
  # The decay is (..., heads, d_key | 1) or None, the state (*batch, heads,
  # d_key, d_value); q, k and v have time before heads.
  q = q * q.shape[-1] ** -0.5
  return recurrence.outer_scan_heads(
    q, k, v, decay, state, reset=reset, axis=axis
  )


def dplr_scan(
  *arguments: jax.Array, reset: jax.Array | None, axis: str | None
) -> tuple[jax.Array, jax.Array]:
  """Result of `recurrence.dplr_scan` of arrays with time before heads."""
  *elements, state = arguments
  elements = [jnp.moveaxis(x, -2, -3) for x in elements]
  reset = head_parts.resets(reset, elements[0].shape[:-1])
  o, state = recurrence.dplr_scan(*elements, state, reset=reset, axis=axis)
  return jnp.moveaxis(o, -3, -2), state
