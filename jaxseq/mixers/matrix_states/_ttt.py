"""Chunks of test-time training: networks that learn while they read.

A network of one or two layers for each head, trained by a step of gradient
descent for every mini-batch of `size` elements; elements in between use the sum
of gradients so far. A gradient of a layer is an outer product of its input and
of the cotangent of its output, so that sums over elements are matrix products.

A chunk is at most as long as a mini-batch. Its elements thus belong to the
entering mini-batch, to the next one of that episode, or to the first one of an
episode that starts here, and gradients are needed at three sets of weights.
"""

from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.mixers import positions

EPS = 1e-6
# Constants of the derivative of gelu in the original code.
_SLOPE, _CUBE = 0.79788456, 0.1070322243


class Layer(NamedTuple):
  """Weights of a layer, or sums of their gradients.

  Attributes:
    W: (*lead, heads, inputs, outputs).
    b: (*lead, heads, outputs).
  """

  W: jax.Array
  b: jax.Array


class Carried(NamedTuple):
  """State between chunks.

  Attributes:
    layers: weights at the start of the mini-batch minus those of a fresh state,
      one or two `Layer`s.
    sums: sums of their gradients in this mini-batch, times rates.
    place: (*batch, 1), number of elements of the mini-batch so far.
  """

  layers: tuple[Layer, ...]
  sums: tuple[Layer, ...]
  place: jax.Array


class Shared(NamedTuple):
  """Weights that all rows share.

  Attributes:
    layers: weights of a fresh state, without batch axes.
    scale: (heads, width), factors of the norm after the network.
    bias: (heads, width), biases of that norm.
    rates: (size,), factors on sums of gradients, by place.
  """

  layers: tuple[Layer, ...]
  scale: jax.Array
  bias: jax.Array
  rates: jax.Array


def chunk(state: Carried, x, reset, shared: Shared):
  """Runs one chunk of `recurrence.chunked`.

  Args:
    state: state before the chunk.
    x: q, k, v (rows, time, heads, width) and rates of elements (rows, time,
      heads), at most as many as in a mini-batch.
    reset: (rows, time) bool, or None.
    shared: weights that all rows share.

  Returns:
    The state after the chunk, and outputs like q.
  """
  q, k, v, rate = x
  rows, time = q.shape[:2]
  size = shared.rates.shape[0]
  index = jnp.arange(time)
  entered = jnp.round(lax.stop_gradient(state.place)).astype(jnp.int32)
  start = jnp.full((rows, time), -1)
  if reset is not None:
    start = lax.cummax(jnp.where(reset, index, -1), axis=1)
  place = jnp.where(start >= 0, index - start, index + entered)
  following = (start < 0) & (place >= size)
  kind = jnp.where(start >= 0, 2, following.astype(jnp.int32))
  batch = start - following  # Distinct for different mini-batches.
  place = place % size
  same = jnp.tril(batch[:, :, None] == batch[:, None, :])

  q, k = (_turned(part, place) for part in (q, k))
  # Moves heads before time.
  q, k, v = (jnp.moveaxis(part, 2, 1) for part in (q, k, v))
  rate = jnp.moveaxis(rate, 2, 1)[..., None]
  target = v - k
  factor = shared.rates[place][:, None, :, None]
  ended = shared.rates[-1]

  def whole(moved):
    return jax.tree.map(jnp.add, shared.layers, moved)

  first = _gradients(whole(state.layers), k, target, shared)
  first_sums = _sums(first, rate, kind == 0)
  total = jax.tree.map(jnp.add, state.sums, first_sums)
  second = jax.tree.map(
    lambda weight, sums: weight - ended * sums, state.layers, total
  )
  fresh = jax.tree.map(jnp.zeros_like, state.layers)
  moved_sets = state.layers, second, fresh
  sets = tuple(map(whole, moved_sets))
  found = first, *(_gradients(s, k, target, shared) for s in sets[1:])
  pairs = jax.tree.map(lambda *three: _of_kind(kind, three), *found)

  y = q
  for place_of, (a, g) in enumerate(pairs):
    if place_of:
      y = jax.nn.gelu(y)
    outputs = [_affine(layers[place_of], y) for layers in sets]
    scores = (jnp.einsum("rhtd,rhsd->rhts", y, a) + 1) * same[:, None]
    moved = scores @ (rate * g)
    carried = _affine(state.sums[place_of], y)
    moved += jnp.where((kind == 0)[:, None, :, None], carried, 0)
    y = _of_kind(kind, outputs) - factor * moved
  o = q + _normed(y, shared)

  last = kind[:, -1]
  layers = jax.tree.map(lambda *three: _of_kind(last, three), *moved_sets)
  sums = _sums(pairs, rate, batch == batch[:, -1:])
  entering = _wide(last == 0)
  sums = jax.tree.map(lambda old, new: new + entering(old), state.sums, sums)
  after = _next_place(state.place, start[:, -1:], time, size)
  full = place[:, -1] == size - 1
  kept, dropped = _wide(~full), _wide(full)
  layers = jax.tree.map(
    lambda weight, sums: weight - ended * dropped(sums), layers, sums
  )
  carried = Carried(layers, jax.tree.map(kept, sums), after)
  return carried, jnp.moveaxis(o, 1, 2)


def _next_place(place, start, time, size):
  """Number of elements of the mini-batch after the chunk, with a slope of 1."""
  after = jnp.where(start >= 0, time - start, place + time)
  whole = jnp.floor((lax.stop_gradient(after) + 0.5) / size)
  return (after - size * whole).astype(place.dtype)


def _wide(flags):
  """Returns a function that zeroes arrays (rows, ...) where flags are false."""

  def run(x):
    return jnp.where(flags.reshape(-1, *[1] * (x.ndim - 1)), x, 0)

  return run


def _of_kind(kind, three):
  """Selects one of three arrays for each element, or row."""
  if kind.ndim == 2:
    kind = kind[:, None, :, None]
  else:
    kind = kind.reshape(-1, *[1] * (three[0].ndim - 1))
  return jnp.where(kind == 0, three[0], jnp.where(kind == 1, *three[1:]))


def _turned(x, place):
  """Rotates neighboring channels by position, (rows, time, heads, width)."""
  width = x.shape[-1]
  theta = positions.frequencies(width // 2, width)
  phase = positions.angles(place, theta, x.dtype)[:, :, None]
  x1, x2 = x[..., ::2], x[..., 1::2]
  cos, sin = jnp.cos(phase), jnp.sin(phase)
  turned = x1 * cos - x2 * sin, x1 * sin + x2 * cos
  return jnp.stack(turned, axis=-1).reshape(x.shape)


def _affine(layer, x):
  """Returns x W + b for x (rows, heads, time, inputs)."""
  return x @ layer.W + layer.b[:, :, None]


def _gradients(layers, k, target, shared):
  """Returns inputs and cotangents of outputs of each layer."""
  inputs, hidden = [k], []
  for layer in layers[:-1]:
    hidden.append(_affine(layer, inputs[-1]))
    inputs.append(jax.nn.gelu(hidden[-1]))
  z = _affine(layers[-1], inputs[-1])
  centered = z - jnp.mean(z, axis=-1, keepdims=True)
  r = lax.rsqrt(jnp.mean(centered * centered, axis=-1, keepdims=True) + EPS)
  h = r * centered
  scale = shared.scale[:, None]
  g = scale * (scale * h + shared.bias[:, None] - target)
  along = h * jnp.mean(g * h, axis=-1, keepdims=True)
  cotangents = [r * (g - jnp.mean(g, axis=-1, keepdims=True) - along)]
  for layer, z in zip(layers[:0:-1], hidden[::-1]):
    through = cotangents[0] @ jnp.swapaxes(layer.W, -1, -2)
    cotangents.insert(0, through * _gelu_slope(z))
  return tuple(zip(inputs, cotangents))


def _gelu_slope(z):
  turned = jnp.tanh(_SLOPE * z * (1 + 0.044715 * z * z))
  steep = (1 - turned * turned) * (_SLOPE + _CUBE * z * z)
  return 0.5 * z * steep + 0.5 * (1 + turned)


def _sums(pairs, rate, chosen):
  """Gradients of layers, summed over chosen elements (rows, time)."""
  weight = jnp.where(chosen[:, None, :, None], rate, 0)
  return tuple(
    Layer(jnp.swapaxes(a, -1, -2) @ (weight * g), jnp.sum(weight * g, axis=2))
    for a, g in pairs
  )


def _normed(z, shared):
  """Layer norm of each head, (rows, heads, time, width)."""
  centered = z - jnp.mean(z, axis=-1, keepdims=True)
  square = jnp.mean(centered * centered, axis=-1, keepdims=True)
  normed = centered * lax.rsqrt(square + EPS)
  return shared.scale[:, None] * normed + shared.bias[:, None]
