"""Entries of `config.json`, with sizes bounded by the existing tensors.

A network is built from the sizes, at least its shapes: a small file that asks
for too much is rejected first.
"""

from collections.abc import Collection
from collections.abc import Mapping
import math
import re
from typing import Any

from absl import logging

from jaxseq import validate

MISSING = object()
# Twenty times the layers of the largest models; each takes time to build.
_MOST_LAYERS = 1000
# Default number of keys and values in the context of attention.
_MOST_CONTEXT = 4095
_CONTEXT = "max_position_embeddings"
_FEWER = (
  "context: got %d of the %d elements that %s has; the network forgets what "
  "lies further back, as the other library does not"
)
_CONV = ("conv1d.weight", "conv_1d.weight", ".conv.weight")


class _Noted(Mapping[str, Any]):
  """A mapping of entries that records which of them are read."""

  def __init__(self, contents: Mapping[str, Any], names: set[str]):
    self.plain = contents
    self.names = names

  def __getitem__(self, name):
    self.names.add(name)
    return self.plain[name]

  def __iter__(self):
    return iter(self.plain)

  def __len__(self):
    return len(self.plain)


class Entries:
  """Entries of a model's `config.json`, checked when they are read.

  Attributes:
    contents: the entries.
    where: path of the file, for messages.
  """

  def __init__(
    self,
    contents: Mapping[str, Any],
    where: str,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    context: int | None = None,
    quiet: bool = False,
  ):
    """Stores the entries; `quiet` logs no warning about the context."""
    self.contents: Mapping[str, Any] = _Noted(contents, set())
    # Entries of the file, shared with `replaced` copies.
    self._file = dict(contents)
    self.where = where
    self._shapes = shapes
    self._context = context
    self._layers: int | None = None
    # The warnings so far, shared with `replaced` copies.
    self._warned: list[int] = [0] if quiet else []

  def check(self, embedding: str, layers: str) -> None:
    """Checks the numbers of tokens and layers."""
    shapes = self._shapes or {}
    shape = shapes.get(embedding, ())
    if len(shape) != 2 or 0 in shape:
      raise ValueError(
        f"{self.where}: the weights beside it hold no {embedding} of two axes."
      )
    pattern = re.compile(re.escape(layers) + r"\.([0-9]{1,9})\..+")
    count = len(
      {match[1] for name in shapes if (match := pattern.fullmatch(name))}
    )
    for name, size, unit in (
      ("vocab_size", shape[0], "rows of the embedding"),
      ("num_hidden_layers", count, "layers with weights"),
    ):
      value = self.contents.get(name)
      if value is not None and value != size:
        raise self.error(name, value, f"{size}, the number of {unit}")
    self._layers = count
    if count > _MOST_LAYERS:
      expected = f"at most {_MOST_LAYERS} layers"
      raise self.error("num_hidden_layers", count, expected)

  def check_plain(self) -> None:
    """Rejects weights that another library has quantized."""
    said = self.contents.get("quantization_config")
    if said is not None:
      method = said.get("quant_method") if isinstance(said, dict) else said
      expected = (
        "none: weights of GPTQ, AWQ, bitsandbytes and their like are not read; "
        "load the model that they were made of, with quantize="
      )
      raise self.error("quantization_config", method, expected)

  @property
  def tensors(self) -> Collection[str]:
    """Names of the tensors of the model's weights."""
    return (self._shapes or {}).keys()

  def error(self, name: str, value: object, expected: str) -> ValueError:
    """Returns the error of an entry with an unexpected value."""
    return validate.error(f"{self.where}: {name}", value, expected)

  def get(self, name: str, kind: type, default: Any = MISSING) -> Any:
    """Returns an entry."""
    value = self.contents.get(name, default)
    if value is MISSING:
      raise ValueError(f"{self.where} has no {name}.")
    if value is None and default is None:
      return None
    if kind is float and type(value) is int:
      value = float(value)
    if kind is int and type(value) is float and value.is_integer():
      value = int(value)
    if type(value) is not kind:
      raise self.error(name, value, f"type {kind.__name__}")
    if kind is float:
      validate.number(f"{self.where}: {name}", value)
    return value

  def replaced(self, **contents: Any) -> "Entries":
    """Returns these entries with some replaced or added."""
    plain = {**self.contents.plain, **contents}
    entries = Entries(plain, self.where, self._shapes, self._context)
    entries.contents.names = self.contents.names
    entries._file = self._file
    entries._warned = self._warned
    return entries

  def with_defaults(self, **contents: Any) -> "Entries":
    """Returns these entries with defaults for missing ones."""
    return self.replaced(**{**contents, **self.contents.plain})

  def opened(self, name: str) -> "Entries":
    """Returns these entries with those of a nested object added."""
    inner = self.get(name, dict)
    self._file.update(inner)
    return self.replaced(**inner)

  @property
  def unread(self) -> dict[str, Any]:
    """The entries of the file that no code has read so far."""
    names = self.contents.names
    return {k: v for k, v in self._file.items() if k not in names}

  def named(self, names: Mapping[str, str]) -> "Entries":
    """Returns these entries with old names replaced by current ones."""
    return self.replaced(
      **{
        name: self.contents[old]
        for old, name in names.items()
        if old in self.contents
      }
    )

  def shape(self, tensor: str) -> tuple[int, ...] | None:
    """Returns the shape of a tensor; None if there is no such tensor."""
    return (self._shapes or {}).get(tensor)

  def size(self, name: str, default: Any = MISSING, *, times: int = 1) -> Any:
    """Returns an integer that is at most the longest axis of the tensors."""
    if self._shapes is not None:
      sizes = (size for shape in self._shapes.values() for size in (0, *shape))
      self._bound(name, times * max(sizes))
    return self.get(name, int, default)

  def taps(self, name: str, default: Any = MISSING, least: int = 0) -> Any:
    """Returns the convolutions' width, bounded by their tensors if any."""
    widths = [
      shape[-1]
      for tensor, shape in (self._shapes or {}).items()
      if tensor.endswith(_CONV) and shape
    ]
    if widths:
      self._bound(name, max(widths))
    width = self.get(name, int, default) if widths else self.size(name, default)
    if width < least:
      raise self.error(name, width, f"at least {least}")
    return width

  def count(self, name: str, default: Any = MISSING) -> Any:
    """Returns a `size` of at least 1."""
    value = self.size(name, default)
    if value is None:
      return None
    return validate.positive(f"{self.where}: {name}", value)

  def epsilon(self, name: str, default: Any = MISSING) -> float:
    """Returns a number above 0, such as a norm's epsilon."""
    value = self.get(name, float, default)
    return validate.above_zero(f"{self.where}: {name}", value)

  def flag(self, name: str, default: bool) -> bool:
    """Returns a boolean entry."""
    return self.get(name, bool, default)

  @property
  def layers(self) -> int:
    """Number of layers."""
    return self.get("num_hidden_layers", int)

  def numbers(self, name: str, count: int) -> tuple[float, ...]:
    """Returns a list of `count` numbers, by default ones."""
    values = self.contents.get(name)
    if values is None:
      return (1.0,) * count
    if not isinstance(values, list) or len(values) != count:
      raise self.error(name, values, f"a list of {count} numbers")
    for value in values:
      validate.number(f"{self.where}: {name}", value)
    return tuple(map(float, values))

  def bounds(self, name: str) -> tuple[float, float]:
    """Returns a pair of numbers, by default 0 and infinity."""
    pair = self.contents.get(name, (0.0, math.inf))
    try:
      low, high = (
        # Strict JSON has no infinity.
        float(bound["__float__"] if isinstance(bound, dict) else bound)
        for bound in pair
      )
    except (KeyError, TypeError, ValueError) as error:
      raise self.error(name, pair, "two numbers") from error
    return low, high

  def choice(self, name: str, choices: Collection[Any], default: Any) -> Any:
    """Returns an entry that must be one of the choices."""
    value = self.contents.get(name, default)
    return validate.choice(f"{self.where}: {name}", value, choices)

  def kinds(self, name: str, choices: Mapping[str, str]) -> tuple[str, ...]:
    """Returns an entry that names the kind of each layer."""
    value = self.contents.get(name, MISSING)
    if value is MISSING:
      raise ValueError(f"{self.where} has no {name}.")
    if not isinstance(value, list):
      raise self.error(name, value, "a list with the kind of each layer")
    count = self._layers
    if count is None:
      count = self.contents.get("num_hidden_layers", len(value))
    if len(value) != count or len(value) > _MOST_LAYERS:
      raise self.error(name, f"{len(value)} kinds", f"{count}, one a layer")
    for kind in value:
      validate.choice(f"{self.where}: {name}", kind, choices)
    return tuple(choices[kind] for kind in value)

  def rotary(
    self, fraction: float = 1.0, base: float = 10000.0
  ) -> tuple[float, float]:
    """Returns the rotary base, and the fraction of heads that is rotated."""
    # The other library prefers the older name if both exist.
    name = "rope_scaling"
    said = self.contents.get(name)
    if not said:
      name = "rope_parameters"
      said = self.contents.get(name)
    said = {} if said is None else said
    if not isinstance(said, dict):
      raise self.error(name, said, "an object")
    nested = [key for key, value in said.items() if isinstance(value, dict)]
    if nested:
      raise self.error(name, nested, "the same positions in all layers")
    said = {
      key: self.contents[key]
      for key in ("rope_theta", "partial_rotary_factor")
      if self.contents.get(key) is not None
    } | said
    inner = Entries(said, f"{self.where}: {name}")
    kind = "rope_type" if "rope_type" in said else "type"
    inner.choice(kind, ("default",), "default")
    base = inner.epsilon("rope_theta", base)
    return base, inner.epsilon("partial_rotary_factor", fraction)

  @property
  def has_context(self) -> bool:
    """True once full attention has read the context."""
    return _CONTEXT in self.contents.names

  @property
  def context(self) -> int:
    """Number of earlier elements that full attention can see."""
    said = self.get(_CONTEXT, int, _MOST_CONTEXT)
    validate.positive(f"{self.where}: {_CONTEXT}", said)
    if self._context is not None:
      validate.positive("context", self._context)
      if self._context + 1 < said and not self._warned:
        self._warned.append(said)
        logging.warning(_FEWER, self._context, said, self.where)
      return self._context
    if said > _MOST_CONTEXT + 1:
      expected = (
        f"a number, as {self.where} has {_CONTEXT} = {said}: how many earlier "
        f"elements are kept, {said - 1} for all of them"
      )
      wrong = validate.error("context", None, expected)
      raise ValueError(
        f"{wrong} Pass context=, --context of a server, or --config.context of "
        "a run."
      )
    return min(said, _MOST_CONTEXT)

  def _bound(self, name, most):
    value = self.contents.get(name)
    if type(value) in (int, float) and not value <= most:
      expected = f"at most {most}, the size of an axis of a tensor"
      raise self.error(name, value, expected)
