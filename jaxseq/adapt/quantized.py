"""Weights in 8 bits with one scale per column: a quarter of the bytes.

    scale_j = max_i |w_ij| / 127
    q_ij = round(w_ij / scale_j)
    y = (x q) scale

`quantize` rounds the weights of products and, by rows, the embedding. Other
parameters and the states keep their dtypes:

    variables = quantized.quantize(network, variables)
    config, variables = huggingface.load(model, quantize=quantized.Config())

With activations "int8" the rows of x are rounded in the same way, and products
are of integers. They are faster than float32 on CPUs with integer product
instructions, and slower on others. A sequence in chunks then equals the whole
up to the int8 rounding; with activations "float", up to float32 rounding.
`lora.attach` adds trainable adapters to such weights.
"""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import functools
import os
import re
import time
from typing import Literal

from flax import traverse_util
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import nn
from jaxseq import recurrence
from jaxseq import validate
from jaxseq.adapt import products
from jaxseq.interop import described_file
from jaxseq.interop import network_file
from jaxseq.types import PyTree

_MOST = 127
_EMBEDDING = "embed/embedding"
# Any rounding error can change the choice of experts.
_KEPT = r".*/(router|shared_gate)/kernel"
# Integer products have a multiple of this number of rows.
_ROWS = 8
# Width and repetitions of the timed products.
_WIDTH, _TIMES = 1024, 10


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=("q", "scale"),
  meta_fields=("activations", "path"),
)
@dataclasses.dataclass(frozen=True)
class Int8(recurrence.Weight):
  """The weight q * scale of a product.

  Attributes:
    q: (*axes, n, m), int8.
    scale: (*axes, m), float32.
    activations: "float", or "int8" if the inputs of the product are rounded,
      too.
    path: its path in the variables, for messages.
  """

  q: jax.Array
  scale: jax.Array
  activations: Literal["float", "int8"] = "float"
  path: str = "the weight"

  @property
  def shape(self) -> tuple[int, ...]:
    """Shape of the weight."""
    return self.q.shape

  @property
  def dtype(self) -> jnp.dtype:
    """Dtype of the scales."""
    return self.scale.dtype

  def apply(self, x: jax.Array, wide: bool = False) -> jax.Array:
    """Returns the product of x (..., n) and the weight, (..., m)."""
    return self._product(x, self.q, wide)

  def pick(self, indices: jax.Array) -> "Int8":
    """Selects weights from a stack by index."""
    return jax.tree.map(lambda x: jnp.take(x, indices, axis=0), self)

  def array(self) -> jax.Array:
    """Returns the weight as an array, (*axes, n, m)."""
    return self.q.astype(self.dtype) * self.scale[..., None, :]

  def _product(self, x, q, wide):
    """Returns x (..., n) times q (n, m) and the scales."""
    if self.activations == "int8":
      y = _int8_product(x, q, self.scale)
    else:
      y = recurrence.dense(x, q.astype(x.dtype), wide=True)
      y = y * self.scale.astype(y.dtype)
    return y if wide else y.astype(x.dtype)


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=("q", "scale"),
  meta_fields=("activations", "path"),
)
@dataclasses.dataclass(frozen=True)
class Int8Rows(Int8):
  """An embedding: q (n, m) with one scale per row, (n,)."""

  def apply(self, x: jax.Array, wide: bool = False) -> jax.Array:
    """Raises an error: there are no column scales."""
    return self.elsewhere()

  def array(self) -> jax.Array:
    """Returns the embedding as an array, (n, m)."""
    return self.q.astype(self.dtype) * self.scale[:, None]

  def take(self, indices: jax.Array) -> jax.Array:
    """Returns rows by index, (..., m)."""
    rows = jnp.take(self.q, indices, axis=0).astype(self.dtype)
    return rows * jnp.take(self.scale, indices)[..., None]

  def attend(self, x: jax.Array, wide: bool = False) -> jax.Array:
    """Returns the products of x (..., m) and the rows, (..., n)."""
    return self._product(x, self.q.T, wide)


@jax.custom_vjp
def _int8_product(x, q, scale):
  """Returns rounded rows of x (..., n) times q (n, m), times scales."""
  *lead, n = x.shape
  wide = jnp.promote_types(x.dtype, jnp.float32)
  rows = x.reshape(-1, n).astype(wide)
  size = jnp.max(jnp.abs(rows), axis=-1, keepdims=True, initial=0) / _MOST
  size = jnp.where(size == 0, 1, size)
  whole = jnp.clip(jnp.round(rows / size), -_MOST, _MOST).astype(jnp.int8)
  count = rows.shape[0]
  if isinstance(count, int):  # Symbolic in exported programs.
    whole = jnp.pad(whole, ((0, -count % _ROWS), (0, 0)))
  axes = ((1,), (0,)), ((), ())
  y = lax.dot_general(whole, q, axes, preferred_element_type=jnp.int32)
  y = y[:count].astype(wide) * size * scale.astype(wide)
  return y.reshape(*lead, q.shape[1])


def _int8_product_forward(x, q, scale):
  return _int8_product(x, q, scale), (x, q, scale)


def _int8_product_backward(arrays, cotangent):
  # Straight-through: the gradient of x ignores its rounding.
  x, q, scale = arrays
  scaled = (cotangent * scale.astype(cotangent.dtype)).astype(x.dtype)
  whole = _int8_product(x, q, jnp.ones_like(scale))
  for_scale = jnp.sum(cotangent * whole, axis=tuple(range(x.ndim - 1)))
  return (
    recurrence.dense(scaled, q.T.astype(x.dtype)),
    np.zeros(q.shape, jax.dtypes.float0),
    for_scale.astype(scale.dtype),
  )


_int8_product.defvjp(_int8_product_forward, _int8_product_backward)


def to_int8(
  w: np.typing.ArrayLike, axis: int = -2
) -> tuple[np.ndarray, np.ndarray]:
  """Rounds an array to integer multiples of a scale, halves to even.

  Args:
    w: the array.
    axis: the axis along which numbers share a scale.

  Returns:
    q, int8 of the shape of w, and scales, float32 without that axis.

  Raises:
    ValueError: if numbers are not finite.
  """
  w = np.array(w, np.float32)
  scale = np.maximum(w.max(axis), -w.min(axis)) / np.float32(_MOST)
  if not np.all(np.isfinite(scale)):
    raise validate.error("w", "numbers that are not finite", "finite ones")
  divisor = np.where(scale == 0, np.float32(1), scale)
  # In place, to keep one copy of a large tensor.
  np.divide(w, np.expand_dims(divisor, axis), out=w)
  np.clip(np.rint(w, out=w), -_MOST, _MOST, out=w)
  return w.astype(np.int8), scale


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of `quantize` and `huggingface.load`.

  Attributes:
    activations: "float" or "int8", see `Int8`; or "auto": "int8" on CPUs if a
      measurement, made once, finds integer products faster.
    keep: a regular expression of the paths of weights that are not rounded;
      routers of experts by default.
    experts: whether to round the experts of mixtures, too. On accelerators
      their products, of rows sorted by expert, do not support 8 bits: each
      layer's experts are converted to float32 while it runs.
  """

  activations: Literal["auto", "float", "int8"] = "auto"
  keep: str = _KEPT
  experts: bool = False

  def __post_init__(self):
    validate.literals(self)
    validate.expression("keep", self.keep)

  def quantizer(
    self, network: nn.SequenceNetwork, variables: Mapping[str, PyTree]
  ) -> Callable[[str, np.ndarray], Int8 | None]:
    """Returns a function from a path and its array to a node or None.

    Args:
      network: the network.
      variables: its variables, or their shapes and dtypes.
    """
    kind = self.activations
    if kind == "auto":
      kind = "int8" if _int8_is_faster() else "float"
    paths = products.weights(network, variables, experts=self.experts)
    paths = {path for path in paths if not re.fullmatch(self.keep, path)}

    def make(path, array):
      rows = path == _EMBEDDING and not re.fullmatch(self.keep, path)
      if not rows and path not in paths:
        return None
      pair = map(jnp.asarray, to_int8(array, -1 if rows else -2))
      return (Int8Rows if rows else Int8)(*pair, kind, f"params/{path}")

    return make


@functools.cache
def _int8_is_faster():
  """Returns whether an integer product of one row is faster, on CPUs."""
  if jax.default_backend() != "cpu":
    return False
  w = np.random.default_rng(0).standard_normal((_WIDTH, _WIDTH), np.float32)
  weights = jnp.asarray(w), Int8(*map(jnp.asarray, to_int8(w)), "int8")
  times = []
  for weight in weights:
    run = jax.jit(recurrence.dense)
    times.append(np.inf)
    for _ in range(_TIMES):
      start = time.perf_counter()
      jax.block_until_ready(run(weights[0][:1], weight))
      times[-1] = min(times[-1], time.perf_counter() - start)
  return times[1] < times[0]


def quantize(
  network: nn.SequenceNetwork,
  variables: Mapping[str, PyTree],
  config: Config | None = None,
) -> dict[str, PyTree]:
  """Replaces weights by `Int8` nodes.

  These are the weights of products (`recurrence.dense`) and the embedding;
  experts only with `Config.experts`.

  Args:
    network: a network of tokens or features.
    variables: its variables.
    config: options, or None for the defaults.

  Returns:
    Variables for the network's `apply` and `step`.

  Raises:
    ValueError: if a weight is not finite.
  """
  make = (config or Config()).quantizer(network, variables)
  leaves = traverse_util.flatten_dict(variables["params"], sep="/")
  for path, leaf in leaves.items():
    node = None if isinstance(leaf, recurrence.Weight) else make(path, leaf)
    leaves[path] = leaf if node is None else node
  return {**variables, "params": traverse_util.unflatten_dict(leaves, sep="/")}


def save(
  path: str | os.PathLike,
  network: network_file.Network,
  variables: Mapping[str, PyTree],
) -> None:
  """Writes a network with weights in 8 bits to a file.

  The tensors of a weight are "PATH", int8, and "PATH.scale". `load` and
  `jaxseq.load` read it.

  Args:
    path: the file; an existing file is replaced.
    network: the Linen module.
    variables: from `quantize` or `huggingface.load`.

  Raises:
    ValueError: if a weight is a node of another kind.
    OSError: if the file cannot be written.
  """
  leaves, kinds = {}, {}
  flat = traverse_util.flatten_dict(variables, sep="/")
  for name, leaf in flat.items():
    if isinstance(leaf, Int8):
      kinds[name] = [_AXES[type(leaf)], leaf.activations]
      leaves[name], leaves[f"{name}.scale"] = leaf.q, leaf.scale
    elif isinstance(leaf, recurrence.Weight):
      expected = "arrays and weights in 8 bits"
      raise validate.error(name, type(leaf).__name__, expected)
    else:
      leaves[name] = leaf
  described = {
    "quantized": {"bits": 8, "group": None, "weights": kinds},
    "of": network_file.describe(network),
  }
  tree = traverse_util.unflatten_dict(leaves, sep="/")
  described_file.save(path, KIND, described, tree)


def load(path: str | os.PathLike) -> tuple[network_file.Network, PyTree]:
  """Reads a file that `save` wrote.

  Args:
    path: the file.

  Returns:
    The Linen module and its variables.

  Raises:
    ValueError: if it is not such a file, or is damaged.
    FileNotFoundError: if there is no such file.
  """
  return described_file.load(path, KIND)


_AXES = {Int8: "columns", Int8Rows: "rows"}


def _decode(contents):
  """Returns the module and its variables."""
  said = contents.described["quantized"]
  validate.instance("quantized", said, dict, "an object")
  described_file.check_names(said, ("bits", "group", "weights"))
  validate.choice("quantized: bits", said["bits"], (8,))
  validate.choice("quantized: group", said["group"], (None,))
  validate.instance("quantized: weights", said["weights"], dict, "an object")
  leaves = dict(contents.tensors)
  for name, words in said["weights"].items():
    leaves[name] = _node(name, words, leaves)
  network = network_file.build(contents.described["of"], contents)
  return network, traverse_util.unflatten_dict(leaves, sep="/")


def _node(name, words, leaves):
  """Builds a weight from its tensors, which it removes from `leaves`."""
  classes = {axes: cls for cls, axes in _AXES.items()}
  q, scale = leaves.get(name), leaves.pop(f"{name}.scale", None)
  if q is None or scale is None or q.dtype != np.int8 or q.ndim < 2:
    raise validate.error(f"weights: {name}", "no such tensors", "q and scale")
  if not isinstance(words, list) or len(words) != 2:
    raise validate.error(f"weights: {name}", words, "axes and activations")
  axes = validate.choice(f"weights: {name}", words[0], tuple(classes))
  kind = validate.choice(f"weights: {name}", words[1], ("float", "int8"))
  shape = (*q.shape[:-2], q.shape[-2 if axes == "rows" else -1])
  if scale.shape != shape or scale.dtype != np.float32:
    got = f"{scale.dtype} of shape {scale.shape}"
    raise validate.error(f"{name}.scale", got, f"float32 of shape {shape}")
  return classes[axes](jnp.asarray(q), jnp.asarray(scale), kind, name)


KIND = described_file.Kind(
  "quantized network", "quantized.save", ("quantized", "of"), _decode
)
