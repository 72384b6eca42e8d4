"""Positions by distance in the scores of attention, as in Transformer-XL.

  score_tj = (q_t + u) . k_j + (q_t + v) . W_r R_{t-j}        per head

R_n holds sines and cosines of the distance n, u and v are vectors for each
head. Dai et al., "Transformer-XL: Attentive language models beyond a
fixed-length context", arXiv:1901.02860, section 3.3.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq.mixers import contract

# Standard deviation of the vectors u and v at first, as in the authors' code.
_DEVIATION = 0.02


def init(key: jax.Array, config: Any) -> contract.Params:
  """Parameters W_r, content_bias (u) and distance_bias (v)."""
  # W_r (d_model, heads * d_head) is LeCun-normal, u and v (heads, d_head)
  # normal with deviation 0.02.
  draw = contract.Draws(key, "r content_bias distance_bias")
  shape = config.heads, config.head_width
  width = config.heads * config.head_width
  return {"W_r": draw("r", config.d_model, width)} | {
    name: _DEVIATION * jax.random.normal(draw.keys[name], shape, "f")
    for name in ("content_bias", "distance_bias")
  }


def queries(
  params: contract.Params, q: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Queries of contents, q + u, and of distances, q + v."""

  def add(q, bias):
    return q + bias.astype(q.dtype)

  content = contract.pointwise(add, q, params["content_bias"])
  return content, contract.pointwise(add, q, params["distance_bias"])


def table(
  config: Any, params: contract.Params, dtype: jax.typing.DTypeLike
) -> jax.Array:
  """Vectors W_r R_n of each distance n, (window + 1, heads, d_head)."""
  waves = encodings(config.window + 1, config.d_model, config.rotary_base)
  vectors = recurrence.dense(waves.astype(dtype), params["W_r"])
  return vectors.reshape(-1, config.heads, config.head_width)


def encodings(count: int, width: int, base: float) -> jax.Array:
  """Sines, then cosines R_n for n below `count`, (count, width)."""
  # Frequencies fall from 1 to almost 1 / base. In float32, or float64 if it is
  # enabled.
  frequencies = base ** -(jnp.arange(0, width, 2) / width)
  angles = jnp.arange(count)[:, None] * frequencies
  return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)
