"""Projections of attention to heads, positions, and the output gate."""

import math

import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers import head_parts
from jaxseq.mixers import positions


def window(config, groups, count, batch_shape, dtype):
  """Keys and values of no elements, of `count` at most, for these heads."""
  shape = *batch_shape, count, groups, config.head_width
  shapes = shape, shape, shape[:-3]
  return recurrence.WindowState(*(jnp.zeros(one, dtype) for one in shapes))


def width(config):
  """The width of a head, an even number by default."""
  return config.d_head or 2 * math.ceil(config.d_model / config.heads / 2)


def turning(config, channels=None):
  """Returns the rotation of queries and keys; None without positions."""
  if config.positions != "rotary":
    return None

  def turn(x, index):
    base = config.rotary_base
    return positions.rotary(x, index[..., None], base, channels=channels)

  return turn


def project(params, x):
  """Queries, keys and values (..., heads or groups times d_head), by name."""
  return {name: contract.project(params, f"W_{name}", x) for name in "qkv"}


def normed(config, params, projected):
  """The same as heads (..., heads or groups, d_head), with their norms."""

  def one(name):
    y = projected[name]
    if config.qk_norm == "width":
      y = norm(name, y)
    y = y.reshape(*y.shape[:-1], -1, config.head_width)
    if config.qk_norm in ("head", "each_head"):
      y = norm(name, y)
    return y

  def norm(name, y):
    if f"{name}_norm" not in params:
      return y  # Values have no norm.
    return _rms_norm(y, params[f"{name}_norm"], config.eps)

  return map(one, "qkv")


def _rms_norm(y, scale, eps):
  """RMS norm of (..., n), or of heads (..., heads, n) with separate factors."""
  if scale.shape[0] == y.shape[-1]:
    return head_parts.normed(y, scale, eps)

  def run(y, scale):
    return positions.rms_norm(y, scale.reshape(y.shape[-2:]), eps)

  return contract.pointwise(run, y, scale)


def scaled(config, q):
  """Queries for products that are divided by sqrt(d_head)."""
  if config.scale is None:
    return q
  # Relative to the factor 1 / sqrt(d_head) of the products.
  factor = config.scale * math.sqrt(config.head_width)
  return contract.pointwise(lambda q: factor * q, q)


def gated(config, params, x, o):
  """Outputs of the heads (..., heads, d_head), side by side and gated."""
  if "o_norm" in params:
    o = _rms_norm(o, params["o_norm"], config.output_eps)
  o = o.reshape(*x.shape[:-1], -1)
  if config.gate == "none":
    return o
  function = getattr(jax.nn, config.gate)
  logits = contract.project(params, "W_g", x)
  return contract.pointwise(lambda o, x: o * function(x), o, logits)
