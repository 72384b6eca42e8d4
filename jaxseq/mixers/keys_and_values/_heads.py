"""Projections of attention to heads, positions, and the gate behind them."""

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
  """The function that turns queries and keys; None without positions."""
  if config.positions != "rotary":
    return None

  def turn(x, index):
    base = config.rotary_base
    return positions.rotary(x, index[..., None], base, channels=channels)

  return turn


def project(config, params, x):
  """Queries, keys and values (..., heads or groups, d_head), normed."""

  def one(name):
    y = contract.project(params, f"W_{name}", x)
    if config.qk_norm == "width":
      y = norm(name, y)
    y = y.reshape(*x.shape[:-1], -1, config.head_width)
    if config.qk_norm == "head":
      y = norm(name, y)
    return y

  def norm(name, y):
    if f"{name}_norm" not in params:
      return y  # Values have none.
    return head_parts.normed(y, params[f"{name}_norm"], config.eps)

  return map(one, "qkv")


def scaled(config, q):
  """Queries for products that are divided by sqrt(d_head)."""
  if config.scale is None:
    return q
  # Beside the factor that is there already.
  factor = config.scale * math.sqrt(config.head_width)
  return contract.pointwise(lambda q: factor * q, q)


def gated(config, params, x, o):
  """Outputs of the heads (..., heads, d_head), side by side and gated."""
  o = o.reshape(*x.shape[:-1], -1)
  if config.gate == "none":
    return o
  logits = contract.project(params, "W_g", x)
  return contract.pointwise(lambda o, x: o * jax.nn.sigmoid(x), o, logits)
