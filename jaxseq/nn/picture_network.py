"""Networks of pictures' pixels, codes or scales, in writing order.

    network = PictureNetwork(NetworkConfig(), size=(8, 8), levels=17)
    symbols = picture_network.quantized(pictures, 17)
    variables = network.init(key, symbols)
    logits = network.apply(variables, symbols)  # (n, 64, 17)

Symbols are quantized pixels, or the codes of a `PictureCodec`. With one scale
they are written one after the other, and the input at a place is the symbols to
its left and above, as in the first, masked convolution of a PixelRNN (van den
Oord et al., arXiv 1601.06759). With several scales all symbols of a scale are
written at once, and the input at each is the sum of the earlier scales (VAR,
arXiv 2404.02905). The stack carries its states from scale to scale, so that any
mixer works; within a scale a place depends only on earlier places, except with
`whole_scales`. `generation.picture_drawing` draws.
"""

from collections.abc import Callable
import functools
from typing import Any

from flax import linen
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.mixers.keys_and_values import attention
from jaxseq.nn import network as networks
from jaxseq.nn import picture_codec


def quantized(pictures: jax.Array, levels: int) -> jax.Array:
  """Returns the levels of pixels in 0 .. 1, int32; of two, 1 from 0.5 on."""
  top = levels - 1
  scaled = pictures * top
  # Halves round up: rounding to even would round some up and some down.
  lower = jnp.floor(scaled)
  nearest = jnp.where(scaled - lower < 0.5, lower, lower + 1)
  return jnp.clip(nearest, 0, top).astype(jnp.int32)


class PictureNetwork(linen.Module):
  """Scores the symbols of gray pictures.

  Attributes:
    config: options of the stack and its read-out.
    size: height and width of the pictures.
    levels: number of pixel levels, without a codec.
    context: how many rows above and columns to each side the input covers; 0
      for only the previous symbol.
    classes: number of picture classes to condition on; 0 for none.
    codec: options of the codec; None for pixels. Its variables are in the
      collection "codec", which training does not change.
    whole_scales: whether attention layers see all places of a scale at each of
      its places, as in VAR; other mixers read the places in turn.
  """

  config: networks.NetworkConfig
  size: tuple[int, int]
  levels: int = 2
  context: int = 1
  classes: int = 0
  codec: picture_codec.CodecConfig | None = None
  whole_scales: bool = False

  def setup(self) -> None:
    """Creates the layers and the codec's variables."""
    validate.at_least(self, levels=2, context=0, classes=0)
    self.core = networks.SequenceNetwork(self.config, self.num_symbols)
    if self.whole_scales and not (self.scales > 1 and any(self._attends)):
      expected = "False without several scales and a layer of attention"
      raise validate.error("whole_scales", True, expected)
    if self.codec is not None:
      size = self.codec.size
      if tuple(self.size) != (size, size):
        expected = f"{(size, size)}, as of the codec"
        raise validate.error("size", self.size, expected)
      module = picture_codec.PictureCodec(self.codec, parent=None)
      self.stored = self.variable(
        "codec",
        "variables",
        lambda: module.init(
          self.make_rng("params"), jnp.zeros((1, *self.size))
        ),
      )

  @property
  def num_symbols(self) -> int:
    """Number of symbols."""
    return self.levels if self.codec is None else self.codec.scales.codes

  @property
  def scales(self) -> int:
    """Number of scales; 1 if symbols are written one after the other."""
    return 1 if self.codec is None else len(self.codec.scales.sizes)

  @property
  def grid(self) -> tuple[int, int]:
    """Rows and columns of the symbols of the last scale."""
    if self.codec is None:
      return tuple(self.size)
    return (self.codec.scales.sizes[-1],) * 2

  @property
  def time(self) -> int:
    """Number of symbols of a picture."""
    if self.scales == 1:
      return int(np.prod(self.grid))
    return self.codec.scales.places

  def __call__(
    self,
    symbols: jax.Array,
    labels: jax.Array | None = None,
    train: bool = False,
  ) -> jax.Array:
    """Scores each symbol given the earlier symbols or scales.

    Args:
      symbols: (*batch, time) integers.
      labels: (*batch,) classes, -1 for an unknown class; all unknown if None.
      train: whether dropout is on.

    Returns:
      Logits (*batch, time, num_symbols).
    """
    validate.shape("symbols", symbols, ("*batch", self.time))
    inputs = self.inputs(symbols, labels)
    return self.core(inputs, train=train, options=self.mixer_options())[0]

  def mixer_options(
    self, scale: int | None = None
  ) -> tuple[dict[str, Any], ...] | None:
    """Returns the mixers' options for a scale, or for all scales in turn."""
    if not self.whole_scales:
      return None
    assert self.codec is not None
    sizes = tuple(part.stop - part.start for part in self.codec.scales.slices)
    blocks = sizes if scale is None else sizes[scale : scale + 1]
    return tuple({"blocks": blocks} if x else {} for x in self._attends)

  @property
  def _attends(self):
    """Flags of the mixers in turn, True for attention."""
    mixers = self.config.stack.mixers
    return [isinstance(each, attention.Config) for each in mixers]

  def inputs(
    self, symbols: jax.Array, labels: jax.Array | None = None
  ) -> jax.Array:
    """Returns the stack's inputs at every place, (*batch, time, features)."""
    if self.scales == 1:
      return self.inputs_at(symbols, labels, np.arange(self.time))
    sums = self.coded(lambda codec: codec.quantizer.sums(symbols))
    before = [jnp.zeros_like(sums[0]), *sums[:-1]]
    read = [self.inputs_of(x, labels, i) for i, x in enumerate(before)]
    return jnp.concatenate(read, axis=-2)

  def inputs_at(
    self, symbols: jax.Array, labels: jax.Array | None, at: jax.Array | int
  ) -> jax.Array:
    """Returns the stack's inputs at some places of one scale.

    Args:
      symbols: (*batch, time); only those before a place matter for it.
      labels: see `__call__`.
      at: (n,) places, or one place.

    Returns:
      (*batch, n, features), or (*batch, features).
    """
    table = jnp.asarray(neighbors(self.grid, self.context))[at]
    # Places outside of the picture have no symbol.
    outside = jnp.full_like(symbols[..., :1], -1)
    seen = jnp.concatenate([symbols, outside], axis=-1)[..., table]
    x = jax.nn.one_hot(seen, self.num_symbols)
    x = x.reshape(*x.shape[:-2], -1)
    row, column = jnp.divmod(jnp.asarray(at), self.grid[1])
    place = jnp.concatenate(
      [jax.nn.one_hot(i, n) for i, n in zip((row, column), self.grid)], axis=-1
    )
    return self._joined(x, place, labels)

  def inputs_of(
    self, total: jax.Array, labels: jax.Array | None, scale: int
  ) -> jax.Array:
    """Returns the stack's inputs at a scale, (*batch, size * size, features).

    Args:
      total: (*batch, height, width, features), the sum of the earlier scales;
        zeros at the first.
      labels: see `__call__`.
      scale: number of the scale.
    """
    assert self.codec is not None
    config = self.codec.scales
    x = self.coded(lambda codec: codec.quantizer.inputs(total, scale))
    place = jnp.eye(config.places)[config.slices[scale]]
    return self._joined(x, place, labels)

  def _joined(self, x, place, labels):
    """Concatenates symbols or features, places and classes."""
    *batch, _ = x.shape
    parts = [x, jnp.broadcast_to(place, (*batch, place.shape[-1]))]
    if self.classes:
      labels = jnp.asarray(-1 if labels is None else labels)
      classes = jax.nn.one_hot(labels, self.classes)
      classes = jnp.expand_dims(classes, range(labels.ndim, len(batch)))
      parts.append(jnp.broadcast_to(classes, (*batch, self.classes)))
    return jnp.concatenate(parts, axis=-1)

  def symbols(self, pictures: jax.Array) -> jax.Array:
    """Returns the symbols of pictures (*batch, height, width) in 0 .. 1."""
    validate.shape("pictures", pictures, ("*batch", *self.size))
    if self.codec is not None:
      return self.coded(lambda codec: codec(pictures)[1].codes)
    symbols = quantized(pictures, self.levels)
    return symbols.reshape(*symbols.shape[:-2], -1)

  def pictures(self, symbols: jax.Array) -> jax.Array:
    """Returns the pictures (*batch, height, width) in 0 .. 1 of symbols."""
    if self.codec is not None:
      drawn = self.coded(
        lambda codec: codec.draw(codec.quantizer.sums(symbols)[-1])
      )
      return jnp.clip(drawn, 0, 1)
    shape = *symbols.shape[:-1], *self.size
    return symbols.reshape(shape) / (self.levels - 1)

  def coded(self, function: Callable[[picture_codec.PictureCodec], Any]) -> Any:
    """Applies a function to the codec, with its variables."""
    assert self.codec is not None
    module = picture_codec.PictureCodec(self.codec, parent=None)
    return module.apply(self.stored.value, method=function)


@functools.cache
def neighbors(grid: tuple[int, int], context: int) -> np.ndarray:
  """Returns the input places of each place, (time, n) int32.

  They precede it, row by row, at most `context` rows above it and columns to
  its sides; the number of places stands for a place outside of the picture.
  With a context of 0 it is the previous place.
  """
  height, width = grid
  count = height * width
  if not context:
    return np.where(np.arange(count) > 0, np.arange(count) - 1, count)[:, None]
  steps = [(0, -i) for i in range(1, context + 1)]
  steps += [
    (-i, j) for i in range(1, context + 1) for j in range(-context, context + 1)
  ]
  row, column = np.divmod(np.arange(count), width)
  places = []
  for down, right in steps:
    i, j = row + down, column + right
    inside = (i >= 0) & (j >= 0) & (j < width)
    places.append(np.where(inside, i * width + j, count))
  return np.stack(places, axis=1).astype(np.int32)
