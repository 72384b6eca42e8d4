"""Data sets: arrays of examples, their splits, and a description of them."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import os
import pathlib
from typing import Any
from typing import NamedTuple

import jax
import numpy as np

from jaxseq import validate


class MissingData(ValueError):
  """A package, program or file with the data is missing.

  The message is one sentence that names what to install or where to look.
  """


def find_file(path: str | os.PathLike, advice: str) -> pathlib.Path:
  """Returns the path of a file after a check that it exists.

  Args:
    path: the file.
    advice: what to do if it is absent, as the end of a sentence.

  Raises:
    MissingData: if there is no such file.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise MissingData(f"{path} is not a file: {advice}.")
  return path


class Extras(NamedTuple):
  """Optional arrays of examples, each with leading axis n, or None.

  Each task documents which of them it reads. A task that needs an array of
  another name takes it from `more`, so that no field is added here.

  Attributes:
    second: (n, time) or (n, time, features) like the inputs: the second
      sequence of each example, for pairs with one class.
    second_lengths: (n,) int32, lengths of the second sequences.
    gaps: (n, time) float32, time since the element before, of irregular times.
    observed: (n, time, channels) bool, False where a value is missing; for
      forecasts over the time of input and target.
    document_starts: (n, time) bool, True at the first token of a document.
    answers: (n, time) bool, True where the target is a token of an answer.
    document_offsets: (n, documents + 1) int64, where documents begin in time,
      and where the last ends; replaces document_starts for memory-mapped
      examples.
    partners: (n, time) int32, place in the row of an element's partner, 0 for
      no partner; the first place of a row never has one.
    heads: (n, time) int32, place in the row of a word's head, 0 for the head of
      the sentence and for tokens that are not words.
    boundaries: (n, time) int32, height of the least constituent that holds a
      word and the next; 0 in padding and for tokens that are not words.
    clusters: (n, time, levels) int32, the cluster of each node of a graph, from
      single nodes to connected components.
    words: (n, time, words) int32, numbers of the words of paragraphs, 0 for
      padding.
    calendar: (n, time of input and target, features) float32, time features.
    known: (n, time of input and target, features) float32, columns of a
      forecast that are known ahead.
    series: (n,) int32, number of the example's series in its panel, from 1 on;
      0 for a series that was not trained on.
    scale: (n, 2, channels) float64, mean and deviation of that series.
    times: (n, time) floats, time of each event; for forecasts with dates the
      time of input and target, in seconds since 1970.
    features: (n, k) float32, numbers of an example in addition to its inputs.
    log_density: (n, time) float32, the true log density of each event.
    tail: (n,) float32, the true log probability of no event after the last.
    until: (n,) float32, end of observation of each event stream, if they
      differ.
    phase: (n,) float32, phase of the beat at the first element.
    recording: (n,) int32, number of the recording that a window is cut from.
    start: (n,) int32, the window's first element in its recording.
    domain: (n,) int32, number of the domain among `Domains.names`.
    subject: (n,) int32, number of the recorded subject.
    user: (n,) int32, the same by the data set's own numbers.
    more: arrays (n, ...) of further names; None without any.
  """

  second: np.ndarray | None = None
  second_lengths: np.ndarray | None = None
  gaps: np.ndarray | None = None
  observed: np.ndarray | None = None
  document_starts: np.ndarray | None = None
  answers: np.ndarray | None = None
  document_offsets: np.ndarray | None = None
  partners: np.ndarray | None = None
  heads: np.ndarray | None = None
  boundaries: np.ndarray | None = None
  clusters: np.ndarray | None = None
  words: np.ndarray | None = None
  calendar: np.ndarray | None = None
  known: np.ndarray | None = None
  series: np.ndarray | None = None
  scale: np.ndarray | None = None
  times: np.ndarray | None = None
  features: np.ndarray | None = None
  log_density: np.ndarray | None = None
  tail: np.ndarray | None = None
  until: np.ndarray | None = None
  phase: np.ndarray | None = None
  recording: np.ndarray | None = None
  start: np.ndarray | None = None
  domain: np.ndarray | None = None
  subject: np.ndarray | None = None
  user: np.ndarray | None = None
  more: Mapping[str, np.ndarray] | None = None

  @classmethod
  def of(cls, arrays: Mapping[str, np.ndarray | None]) -> "Extras":
    """Returns extras of arrays by name, of which `more` has the others."""
    known = {name: x for name, x in arrays.items() if name in cls._fields}
    others = {name: x for name, x in arrays.items() if name not in known}
    return cls(**known, more=others) if others else cls(**known)

  def named(self) -> dict[str, np.ndarray]:
    """Returns the present arrays by name, with those of `more`."""
    fields = self._asdict()
    fields |= fields.pop("more") or {}
    return {name: x for name, x in fields.items() if x is not None}


class ArrayDataset(NamedTuple):
  """Examples as host arrays.

  Attributes:
    inputs: (n, time, features) float32, or (n, time) tokens. Tokens are int32,
      or uint8 if a set is large.
    targets: (n,) int32 classes, (n, time) int32 tokens, (n, factors) int32
      levels of the factors that made a series, or float32 values (n, ...).
    lengths: (n,) int32, number of elements in time before the padding at the
      end; None if all sequences are of full length.
    extras: optional further arrays.
  """

  inputs: np.ndarray
  targets: np.ndarray
  lengths: np.ndarray | None = None
  extras: Extras = Extras()


class Factors(NamedTuple):
  """Factors that generate the series of a set; their levels are the targets.

  Attributes:
    names: names of the factors.
    sizes: number of levels of each factor.
    scale: number by which all series are divided.
    noise: standard deviation of the noise on every element, before scaling.
  """

  names: tuple[str, ...]
  sizes: tuple[int, ...]
  scale: float = 1.0
  noise: float = 0.0


class Domains(NamedTuple):
  """Domains of a domain adaptation problem.

  Attributes:
    by: name of the extra that defines a domain, such as "subject".
    names: values of that field, the source domains before the target domains.
    num_sources: number of source domains.
    scaling: how the inputs were scaled, see `domains.make_splits`.
  """

  by: str
  names: tuple[int, ...]
  num_sources: int
  scaling: str


@dataclasses.dataclass(frozen=True)
class Info:
  """The description of a data set; None where a field does not apply.

  Attributes:
    description: one sentence that says what the inputs and the targets are.
    source: origin of the data.
    license: license of the data.
    num_classes: number of classes of the targets, if they are classes.
    vocab_size: number of tokens, if the inputs are tokens; padding included.
    classes: names of the classes.
    channels: names of the inputs' features.
    tokens: meaning of each token.
    rate: elements in time per second.
    image_size: height and width of the image in every input or element.
    mean: subtracted mean of each channel, or of all.
    deviation: standard deviation of each channel, or of all, that divided them.
    factors: factors that generated the series.
    domains: domains of a domain adaptation problem.
    horizon: end of observation of event sequences.
    nats_per_event: true negative log density per event, by part.
    baselines: results without training, by name: bits per byte of texts,
      the accuracy of the most frequent class of expressions.
    devices: names of the devices, indexed by the extra "device".
    left_out: number of damaged records that were left out.
    manifest: name and sha256 of each file of a corpus.
    digest: one sha256 for the manifest.
    preparation: the `data.Source` that prepares further inputs the same way.
    summary: statistics of the file that was read, as JSON, see
      `data.summaries`.
  """

  description: str
  source: str
  license: str
  num_classes: int | None = None
  vocab_size: int | None = None
  _: dataclasses.KW_ONLY
  classes: tuple[str, ...] | None = None
  channels: tuple[str, ...] | None = None
  tokens: tuple[str, ...] | None = None
  rate: float | None = None
  image_size: tuple[int, int] | None = None
  mean: np.ndarray | float | None = None
  deviation: np.ndarray | float | None = None
  factors: Factors | None = None
  domains: Domains | None = None
  horizon: float | None = None
  nats_per_event: Mapping[str, float] | None = None
  baselines: Mapping[str, float] | None = None
  devices: tuple[str, ...] | None = None
  left_out: int | None = None
  manifest: tuple[tuple[str, str], ...] | None = None
  digest: str | None = None
  preparation: Any = None
  summary: Mapping[str, Any] | None = None


class Splits(NamedTuple):
  """A data set split for training, validation and testing.

  Attributes:
    train: training examples.
    valid: validation examples, to choose options with, or None.
    test: test examples.
    info: description of the set.
  """

  train: ArrayDataset
  valid: ArrayDataset | None
  test: ArrayDataset
  info: Info


def take(dataset: ArrayDataset, rows: np.ndarray | slice) -> ArrayDataset:
  """Returns rows of a data set, in the given order.

  Args:
    dataset: the data set.
    rows: indices or a boolean mask of the first axis, which copy the rows; or
      a slice, which returns a view.
  """
  return jax.tree.map(lambda array: array[rows], dataset)


def inside(dataset: ArrayDataset, time: int | None = None) -> np.ndarray:
  """Returns (n, time) bool: True for elements before the padding.

  Args:
    dataset: the examples.
    time: number of elements in time; that of the inputs if None.
  """
  count, length = dataset.inputs.shape[:2]
  time = length if time is None else time
  if dataset.lengths is None:
    return np.ones((count, time), bool)
  return np.arange(time) < np.asarray(dataset.lengths)[:, None]


def sliding_windows(array: np.ndarray, length: int) -> np.ndarray:
  """Returns all windows of an array (time, ...) as a view (n, length, ...)."""
  view = np.lib.stride_tricks.sliding_window_view(array, length, axis=0)
  return np.moveaxis(view, -1, 1)


def stratified_split(
  labels: np.ndarray, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
  """Splits rows into two parts with the same share of every class.

  Args:
    labels: (n,) integer classes.
    fraction: share of each class in the second part, in 0 .. 1; rounded to
      whole rows per class.
    seed: seed of the random choice.

  Returns:
    The sorted row indices of the first and of the second part.

  Raises:
    ValueError: if fraction is not in 0 .. 1.
  """
  validate.number("fraction", fraction, 0, 1)
  rng = np.random.default_rng(seed)
  second = np.zeros(len(labels), bool)
  for label in np.unique(labels):
    rows = np.flatnonzero(labels == label)
    second[rng.permutation(rows)[: round(fraction * len(rows))]] = True
  return np.flatnonzero(~second), np.flatnonzero(second)


def consecutive(
  dataset: ArrayDataset, counts: Sequence[int]
) -> list[ArrayDataset]:
  """Returns consecutive parts of a data set, by their sizes."""
  ends = np.cumsum(counts)
  parts = [slice(end - count, end) for count, end in zip(counts, ends)]
  return [take(dataset, rows) for rows in parts]


def carve_valid(splits: Splits, fraction: float, seed: int = 0) -> Splits:
  """Moves part of the training examples to the validation part.

  Args:
    splits: a set with classes (n,) as targets.
    fraction: share of every class that moves; 0 changes nothing.
    seed: seed of the random choice.

  Returns:
    The splits with `valid` replaced.

  Raises:
    ValueError: if the targets are not classes or fraction is out of range.
  """
  if not fraction:
    return splits
  labels = splits.train.targets
  if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
    received = f"shape {labels.shape} and dtype {labels.dtype}"
    expected = "integer targets of shape (n,) to take validation examples of"
    raise validate.error("targets", received, expected)
  train, valid = stratified_split(labels, fraction, seed)
  return splits._replace(
    train=take(splits.train, train), valid=take(splits.train, valid)
  )
