"""Low-rank adapters: LoRA, with the scale of rslora, and DoRA.

A weight W (n, m) becomes W + s A B with A (n, r), B (r, m) and s = alpha / r,
or alpha / sqrt(r) (arXiv:2106.09685, arXiv:2312.03732); with DoRA its column j
is multiplied by magnitude[j] and divided by its norm, a constant for the
gradient (arXiv:2402.09353). Adapters, the trainable variables, are a dict of
`Factors` by path; the network's variables are frozen:

    def loss(adapters, variables, tokens):
      merged = lora.merge(jax.lax.stop_gradient(variables), adapters)
      logits, _ = network.apply(merged, tokens)
      ...
"""

from collections.abc import Mapping
import dataclasses
import difflib
import functools
import math
import re
from typing import Literal
from typing import NamedTuple
import zlib

from absl import logging
from flax import traverse_util
import jax
import jax.numpy as jnp

from jaxseq import mixers
from jaxseq import nn
from jaxseq import recurrence
from jaxseq import validate
from jaxseq.adapt import _dropped
from jaxseq.adapt import products
from jaxseq.interop import peft_modules
from jaxseq.types import PyTree

# Other names of a weight by its path, such as those in a file.
Names = Mapping[str, tuple[str, ...]]


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of adapters.

  Attributes:
    targets: names of weights: each matches the weights whose dotted path, or
      other name, equals it or ends in "." and it. A string is a regular
      expression that must match the whole name.
    rank: r.
    alpha: see above.
    rslora: whether s = alpha / sqrt(r).
    dora: whether there are magnitudes.
    first: initialization of A: uniform within 1 / sqrt(n), or normal with
      standard deviation 1 / r. B is initialized by zeros.
    rank_pattern: pairs of a regular expression that matches the end of a name,
      and the rank of those weights.
    alpha_pattern: such pairs with alpha.
  """

  targets: str | tuple[str, ...]
  _: dataclasses.KW_ONLY
  rank: int = 8
  alpha: float = 8.0
  rslora: bool = False
  dora: bool = False
  first: Literal["uniform", "gaussian"] = "uniform"
  rank_pattern: tuple[tuple[str, int], ...] = ()
  alpha_pattern: tuple[tuple[str, float], ...] = ()

  def __post_init__(self):
    validate.literals(self)
    for rank in (self.rank, *(rank for _, rank in self.rank_pattern)):
      validate.positive("rank", rank)
    for alpha in (self.alpha, *(alpha for _, alpha in self.alpha_pattern)):
      validate.number("alpha", alpha)
    if isinstance(self.targets, str):
      validate.expression("targets", self.targets)
    for name in ("rank_pattern", "alpha_pattern"):
      for key, _ in getattr(self, name):
        validate.expression(name, key)


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=("a", "b", "magnitude"),
  meta_fields=("scale",),
)
@dataclasses.dataclass(frozen=True)
class Factors:
  """The adapter of one weight (*axes, n, m).

  Attributes:
    a: (*axes, n, r).
    b: (*axes, r, m).
    magnitude: (*axes, m), or None.
    scale: s above.
  """

  a: jax.Array
  b: jax.Array
  magnitude: jax.Array | None = None
  scale: float = 1.0


class Row(NamedTuple):
  """One adapted weight.

  Attributes:
    path: path of the parameter, such as "stack/layers_0/mixer/in_proj".
    names: its other names.
    shape: shape of the weight.
    rank: rank of its adapter.
    scale: s above.
    parameters: number of parameters in A and B.
    layer: "0" and so on; "" outside of the layers or if they are scanned.
    mixer: its mixer, or the feed-forward; "" outside of the layers.
  """

  path: str
  names: tuple[str, ...]
  shape: tuple[int, ...]
  rank: int
  scale: float
  parameters: int
  layer: str
  mixer: str


@dataclasses.dataclass(frozen=True)
class Table:
  """The adapted weights; `str` returns a table.

  Attributes:
    rows: one row for each weight.
    layers: by mixer or feed-forward, the number of layers in which it is
      adapted, and the number of layers that have it.
  """

  rows: tuple[Row, ...]
  layers: Mapping[str, tuple[int, int]]

  def __str__(self) -> str:
    lines = [("weight", "shape", "rank", "parameters", "mixer", "name")]
    for row in self.rows:
      shape = "x".join(map(str, row.shape))
      numbers = str(row.rank), str(row.parameters)
      names = ", ".join(row.names)
      lines.append((row.path, shape, *numbers, row.mixer, names))
    widths = [max(map(len, column)) for column in zip(*lines)]
    text = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    hit = (
      f"{n} of {total} {mixer}" for mixer, (n, total) in self.layers.items()
    )
    return "\n".join([*text, f"layers: {', '.join(hit)}"])


def match(
  network: nn.SequenceNetwork,
  variables: Mapping[str, PyTree],
  config: Config,
  names: Names | None = None,
) -> Table:
  """Finds the weights to adapt.

  Logs a warning if the targets match a hybrid's attention but no recurrent
  mixer.

  Args:
    network: the network.
    variables: its variables.
    config: options.
    names: other names of weights by their paths, as from `peft_file.names`.

  Raises:
    ValueError: if a target matches no weight of a product (`recurrence.dense`).
  """
  table = _table(network, variables, config, names)
  _warn(table, len(network.config.stack.every_layer))
  return table


def _table(network, variables, config, names):
  """Returns the table of `match`, without its warning."""
  names = names or {}
  shapes = products.weights(network, variables)
  labels = {
    path: (path.replace("/", "."), *names.get(path, ())) for path in shapes
  }
  paths = _hit(config.targets, labels)
  rows = []
  for path in (path for path in shapes if path in paths):
    shape, module_names = shapes[path], labels[path]
    rank = peft_modules.pattern(
      dict(config.rank_pattern), module_names, config.rank
    )
    alpha = peft_modules.pattern(
      dict(config.alpha_pattern), module_names, config.alpha
    )
    count = math.prod(shape[:-2]) * rank * sum(shape[-2:])
    scale = peft_modules.scale(rank, alpha, config.rslora)
    layer = re.match(r"stack/layers(?:_(\d+))?/([^/]*)", path)
    number, mixer = "", ""
    if layer:
      number = layer[1] or ""
      parts = _parts(network.config.stack.every_layer[int(number or 0)])
      mixer = parts.get(layer[2], next(iter(parts.values())))
    row = path, module_names[1:], shape, rank, scale, count, number, mixer
    rows.append(Row(*row))
  return Table(tuple(rows), _layers(network, rows))


def _hit(targets, labels):
  """Returns the paths that match targets."""
  if isinstance(targets, str):
    tests = {targets: lambda name: re.fullmatch(targets, name)}
  else:
    tests = {
      target: lambda name, target=target: f".{name}".endswith(f".{target}")
      for target in targets
    }
  all_names = {name for those in labels.values() for name in those}
  ends = {name.rsplit(".", 1)[-1] for name in all_names} | all_names
  paths = set()
  for target, test in tests.items():
    those = {
      path
      for path, module_names in labels.items()
      if any(map(test, module_names))
    }
    if not those:
      close = difflib.get_close_matches(target, sorted(ends), 5)
      near = "the nearest are" if close else "among them"
      names = ", ".join(close or sorted(ends)[:8])
      expected = f"names of weights of products; {near} {names}"
      raise validate.error("targets", target, expected)
    paths |= those
  if not paths:
    raise validate.error("targets", targets, "at least one name")
  return paths


def _parts(layer):
  """Returns the names of a layer's mixers and feed-forward, by their paths."""
  parts = {"mixer": layer.mixer} if layer.mixes else {}
  for i, (name, _) in enumerate(layer.parallel, 1):
    parts[f"mixer_{i}"] = name
  if layer.feedforward != "none":
    parts["feedforward"] = layer.feedforward
  return parts


def _layers(network, rows):
  """Returns the numbers of adapted layers and of layers, by mixer."""
  scanned = {row.mixer for row in rows if row.path.startswith("stack/layers/")}
  hits = {(row.layer, row.mixer) for row in rows}
  counts: dict[str, tuple[int, int]] = {}
  for number, layer in enumerate(network.config.stack.every_layer):
    for name in dict.fromkeys(_parts(layer).values()):
      hit, total = counts.get(name, (0, 0))
      is_hit = name in scanned or (str(number), name) in hits
      counts[name] = hit + is_hit, total + 1
  return counts


def _warn(table, total):
  """Warns if attention is adapted but a hybrid's recurrent mixers are not."""
  kinds = {
    name: ".keys_and_values." in mixers.get(name).__name__
    for name in table.layers
    if name in mixers.names()
  }
  missed = [
    f"the {table.layers[name][1]} {name}"
    for name, attends in kinds.items()
    if not attends and not table.layers[name][0]
  ]
  attention = any(table.layers[name][0] for name in kinds if kinds[name])
  recurrent = any(table.layers[name][0] for name in kinds if not kinds[name])
  if attention and missed and not recurrent:
    hit = len({row.layer for row in table.rows if kinds.get(row.mixer)})
    logging.warning(
      "lora: %d of %d layers are adapted, none of %s.",
      hit,
      total,
      " and ".join(missed),
    )


def init(
  key: jax.Array,
  network: nn.SequenceNetwork,
  variables: Mapping[str, PyTree],
  config: Config,
  names: Names | None = None,
) -> dict[str, Factors]:
  """Initializes adapters; as B is zero, they change no output.

  Args:
    key: for A.
    network: the network; arguments and errors are those of `match`.
    variables: the network's variables.
    config: options.
    names: other names of weights.

  Returns:
    Factors, float32, by the paths of the weights.
  """
  flat = traverse_util.flatten_dict(variables["params"], sep="/")
  adapters = {}
  for row in _table(network, variables, config, names).rows:
    *axes, n, m = row.shape
    # By path, not row number: other targets do not change the key.
    row_key = jax.random.fold_in(key, zlib.crc32(row.path.encode()))
    shape = (*axes, n, row.rank)
    if config.first == "gaussian":
      a = jax.random.normal(row_key, shape) / row.rank
    else:
      a = jax.random.uniform(row_key, shape, minval=-1, maxval=1) / math.sqrt(n)
    magnitude = None
    if config.dora:
      weight = flat[row.path]
      if isinstance(weight, recurrence.Weight):
        weight = weight.array()
      weight = jnp.asarray(weight, jnp.float32)
      magnitude = jnp.linalg.norm(weight, axis=-2)
    b = jnp.zeros((*axes, row.rank, m))
    adapters[row.path] = Factors(a, b, magnitude, row.scale)
  return adapters


def attach(
  variables: Mapping[str, PyTree],
  adapters: Mapping[str, Factors],
  *,
  dropout: float = 0.0,
  key: jax.Array | None = None,
) -> dict[str, PyTree]:
  """Replaces adapted weights by `recurrence.LowRank`.

  Args:
    variables: variables of a network.
    adapters: factors by weight path.
    dropout: dropout rate of A's inputs, in training.
    key: random key of the dropout.

  Returns:
    Variables for the network's `apply`. Products take more time than with
    `merge`; only the factors take additional memory. DoRA's norms are computed
    here, once.

  Raises:
    ValueError: if there is no such weight, or its shape differs; when applied,
      if a weight is not used in a product.
  """
  if dropout and key is None:
    raise validate.error("key", None, "that of the dropout")

  def finish(weight: recurrence.LowRank) -> recurrence.LowRank:
    if dropout:
      weight = _dropped.dropped(weight, dropout, key)
    return weight.with_factors()

  return _replaced(variables, adapters, finish)


def _replaced(variables, adapters, finish):
  """Variables whose adapted weights are `finish` of `recurrence.LowRank`."""
  flat = traverse_util.flatten_dict(variables["params"], sep="/")
  for path, factors in adapters.items():
    _check(path, factors, flat)
    weight = recurrence.LowRank(
      flat[path],
      factors.a,
      factors.b,
      factors.magnitude,
      scale=factors.scale,
      path=f"params/{path}",
    )
    flat[path] = finish(weight)
  return {**variables, "params": traverse_util.unflatten_dict(flat, sep="/")}


def merge(
  variables: Mapping[str, PyTree], adapters: Mapping[str, Factors]
) -> dict[str, PyTree]:
  """Returns variables with the adapters added to the weights, in their dtypes.

  Args:
    variables: variables of a network.
    adapters: factors by weight path.

  Raises:
    ValueError: if there is no such weight, or its shape differs.
  """
  return _replaced(variables, adapters, recurrence.LowRank.merged)


def _check(path, factors, flat):
  """Raises a ValueError if factors do not fit the weight."""
  if path not in flat:
    raise validate.error("adapters", path, "paths of the variables' weights")
  shape = (*factors.a.shape[:-1], factors.b.shape[-1])
  weight, rank = jnp.shape(flat[path]), factors.a.shape[-1]
  if weight != shape or factors.b.shape[:-1] != (*shape[:-2], rank):
    got = f"shape {factors.a.shape} and {factors.b.shape}"
    expected = f"factors of a weight {weight}"
    raise validate.error(f"adapters[{path!r}]", got, expected)


def count(adapters: Mapping[str, Factors]) -> int:
  """Returns the number of adapter parameters."""
  return sum(leaf.size for leaf in jax.tree.leaves(adapters))
