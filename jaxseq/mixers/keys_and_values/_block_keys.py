"""Keys of attention in block floating point: a format of its cache."""

from collections.abc import Mapping
import dataclasses
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import _serialization
from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers.keys_and_values import block_float


@_serialization.exported("jaxseq.mixers._block_keys.BlockState")
class BlockState(NamedTuple):
  """The last elements, oldest first; those before the episode are zeros.

  Attributes:
    mantissas: (*batch, window, groups, D) int8, of keys before positions.
    exponents: (*batch, window, groups, D / block) int8.
    values: (*batch, window, groups, D).
    length: (*batch,) number of elements since the state was fresh.
  """

  mantissas: jax.Array
  exponents: jax.Array
  values: jax.Array
  length: jax.Array


def parse(config) -> block_float.BlockFloat | None:
  """Returns the format of a configuration, of a mapping too, checked."""
  form = config.key_format
  if isinstance(form, Mapping | tuple):
    fields = dict(form)
    names = [field.name for field in dataclasses.fields(block_float.BlockFloat)]
    for name in fields:
      contract.choice("option of key_format", name, names)
    form = block_float.BlockFloat(**fields)
  if form is None:
    return None
  if not isinstance(form, block_float.BlockFloat):
    expected = "a BlockFloat, as BlockFloat(bits=4, block=32), or None"
    raise contract.error("key_format", form, expected)
  if config.head_width % form.block:
    expected = f"a divisor of the {config.head_width} channels of a head"
    raise contract.error("key_format.block", form.block, expected)
  if form.order == "norm" and config.positions == "rotary" and form.block % 2:
    expected = "an even number, for pairs that rotary positions turn"
    raise contract.error("key_format.block", form.block, expected)
  return form


def initial(config, batch_shape, dtype) -> BlockState:
  """Returns the state of a fresh sequence: what zeros are kept as."""
  shape = (*batch_shape, config.window, config.groups, config.head_width)
  zeros = jnp.zeros(shape, dtype)
  numbers = block_float.quantize(
    zeros, config.key_format.bits, config.key_format.block
  )
  return BlockState(*numbers, zeros, jnp.zeros(batch_shape, dtype))


class Format:
  """The key format of a layer; its parameters set the order of channels.

  Stored keys are read in the channel order of the current call's parameters: if
  the order changes, as in training, they are read as different keys.
  """

  def __init__(self, config, params):
    self.format, self.order = config.key_format, None
    if self.format.order == "norm":
      W = params["W_k"]
      W = W.reshape(len(W), config.groups, config.head_width)
      norms = jnp.linalg.norm(W, axis=0)
      if "k_norm" in params:
        factors = jnp.abs(params["k_norm"])
        norms = norms * factors.reshape(-1, config.head_width)
      turned = config.turned if config.positions == "rotary" else 0
      order = block_float.channel_order(lax.stop_gradient(norms), turned)
      self.order = order, jnp.argsort(order, axis=-1)

  def rounded(self, k: jax.Array) -> jax.Array:
    """Returns keys as they are stored, with the gradient of the exact keys."""
    near = lax.stop_gradient(k)
    # k - k is an exact zero, or NaN for numbers that are not finite.
    return self._read(*self._kept(near), k.dtype) + (k - near)

  def decoded(
    self, state: BlockState | None, dtype: jax.typing.DTypeLike
  ) -> recurrence.WindowState | None:
    """State for `window_attention`."""
    if state is None:
      return None
    keys = self._read(state.mantissas, state.exponents, dtype)
    return recurrence.WindowState(keys, state.values, state.length)

  def encoded(self, state: recurrence.WindowState) -> BlockState:
    """Compressed state; keys that are rounded already stay the same."""
    return BlockState(*self._kept(state.keys), state.values, state.length)

  def _kept(self, k):
    if self.order is not None:
      k = _gather(k, self.order[0])
    return block_float.quantize(k, self.format.bits, self.format.block)

  def _read(self, mantissas, exponents, dtype):
    bits = self.format.bits
    k = block_float.dequantize(mantissas, exponents, bits, dtype)
    return k if self.order is None else _gather(k, self.order[1])


def _gather(x, order):
  """Selects channels (..., groups, D) in an order (groups, D)."""
  order = jnp.broadcast_to(order, x.shape)
  return jnp.take_along_axis(x, order, axis=-1)
