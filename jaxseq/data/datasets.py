"""Data sets: arrays of examples, their splits, and information on them."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import os
import pathlib
from typing import Any
from typing import NamedTuple

import jax
import numpy as np

from jaxseq import _validate


class MissingData(ValueError):
  """A package, program or file that holds the data is not there.

  The message is one sentence that names what to install or where to look.
  """


def find_file(path: str | os.PathLike, advice: str) -> pathlib.Path:
  """Returns the path of a file.

  Args:
    path: the file.
    advice: what to do if it is absent, as the end of a sentence.

  Raises:
    MissingData: if it is not there.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise MissingData(f"{path} is not a file: {advice}.")
  return path


class Extras(NamedTuple):
  """Further arrays of examples, each with leading axis n; None if not there.

  This is the whole list: a task says which of them it reads.

  Attributes:
    second: (n, time) or (n, time, features) like the inputs: the second
      sequence of each example, of pairs with one class.
    second_lengths: (n,) int32, its elements that count.
    gaps: (n, time) float32, time since the element before, of irregular times.
    observed: (n, time, channels) bool, False where a value is missing; of
      forecasts the time of input and target.
    document_starts: (n, time) bool, True at the first token of a document.
    answers: (n, time) bool, True where the target is a token of an answer.
    document_offsets: (n, documents + 1) int64, where documents begin in time,
      and where the last ends: in the place of document_starts where examples
      lie on the disk.
    partners: (n, time) int32, place in the row of what an element is paired
      with, 0 for none; the first place of a row has no partner.
    heads: (n, time) int32, place in the row of a word's head, 0 for the head of
      the sentence and for what is no word.
    boundaries: (n, time) int32, height of the least constituent that holds a
      word and the next; 0 behind the last word and for what is none.
    clusters: (n, time, levels) int32, the cluster of each node of a graph, from
      single nodes to all that is connected.
    words: (n, time, words) int32, numbers of the words of paragraphs, 0 for
      none.
    calendar: (n, time of input and target, features) float32, time features.
    known: (n, time of input and target, features) float32, of forecasts the
      columns known ahead.
    series: (n,) int32, which series of a panel it is from, from 1 on; 0 for one
      that was not in the training.
    scale: (n, 2, channels) float64, mean and deviation of that series.
    times: (n, time) floats, when each event happens; of forecasts of dates the
      time of input and target, in seconds since 1970.
    features: (n, k) float32, numbers that an example has beside its inputs.
    log_density: (n, time) float32, the true log density of each event.
    tail: (n,) float32, the true log probability of no event after the last.
    until: (n,) float32, until when each stream of events was observed, where
      they differ.
    phase: (n,) float32, phase of the beat at the first element.
    recording: (n,) int32, number of the recording that a window is cut from.
    start: (n,) int32, the window's first element in its recording.
    domain: (n,) int32, number of the domain among `Domains.names`.
    subject: (n,) int32, who was recorded.
    user: (n,) int32, likewise, by the data set's own numbers.
    device: (n,) int32, which device recorded.
    side: (n,) int32, which arm wore the device.
    day: (n,) int32, day of the recording.
    repetition: (n,) int32, which repetition of the same class it is.
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
  device: np.ndarray | None = None
  side: np.ndarray | None = None
  day: np.ndarray | None = None
  repetition: np.ndarray | None = None


class ArrayDataset(NamedTuple):
  """Examples as arrays of the host.

  Attributes:
    inputs: (n, time, features) float32, or (n, time) tokens. Tokens are int32,
      or uint8 where a set is large.
    targets: (n,) int32 classes, (n, time) int32 tokens, (n, factors) int32
      levels of the factors that made a series, or float32 values (n, ...).
    lengths: (n,) int32, the number of elements in time that count, of sequences
      that were padded at their end; None if all are of full length.
    extras: further arrays.
  """

  inputs: np.ndarray
  targets: np.ndarray
  lengths: np.ndarray | None = None
  extras: Extras = Extras()


class Factors(NamedTuple):
  """Factors that made the series of a set, whose levels are the targets.

  Attributes:
    names: of the factors.
    sizes: number of levels of each factor.
    scale: number by which all series are divided.
    noise: standard deviation of the noise on every element, before that.
  """

  names: tuple[str, ...]
  sizes: tuple[int, ...]
  scale: float = 1.0
  noise: float = 0.0


class Domains(NamedTuple):
  """Domains of a problem of domain adaptation.

  Attributes:
    by: what a domain is, such as "subject": a field of `Extras`.
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
    description: one sentence: what an input and what a target is.
    source: where the data come from.
    license: terms of the data.
    num_classes: number of classes of the targets, if they are classes.
    vocab_size: number of tokens, if the inputs are tokens; padding included.
    classes: names of the classes.
    channels: names of the inputs' features.
    tokens: what the tokens stand for.
    rate: elements in time per second.
    image_size: height and width of the image in every input or element.
    mean: of each channel, or of all, before it was subtracted.
    deviation: standard deviation likewise, before it divided.
    factors: what made the series.
    domains: domains of a problem of domain adaptation.
    horizon: until when sequences of events were observed.
    nats_per_event: true negative log density per event, by part.
    baselines: what is known without training, by name: bits per byte of texts,
      the accuracy of the most frequent class of expressions.
    devices: names of the devices that `Extras.device` counts.
    left_out: number of damaged records that were left out.
    manifest: name and sha256 of each file of a corpus.
    digest: one sha256 for the manifest.
    preparation: the `data.Source` that makes other inputs likewise.
    summary: what was read of a file, as JSON, see `data.summaries`.
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
  """A data set divided for training, validation and testing.

  Attributes:
    train: examples to learn from.
    valid: examples to choose options with, or None.
    test: examples to report.
    info: what is known of the set.
  """

  train: ArrayDataset
  valid: ArrayDataset | None
  test: ArrayDataset
  info: Info


def take(dataset: ArrayDataset, rows: np.ndarray | slice) -> ArrayDataset:
  """Returns the rows of a data set, in the order given.

  Args:
    dataset: the data set.
    rows: indices or a boolean mask of the first axis, whose rows are copied; or
      a slice, of which there is a view.
  """
  return jax.tree.map(lambda array: array[rows], dataset)


def inside(dataset: ArrayDataset, time: int | None = None) -> np.ndarray:
  """Returns (n, time) bool: which elements of examples count.

  Args:
    dataset: the examples.
    time: elements in time; those of the inputs if None.
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
  """Divides rows in two parts with the same share of every class.

  Args:
    labels: (n,) integer classes.
    fraction: share of each class in the second part, in 0 .. 1; rounded to
      whole rows per class.
    seed: seed of the choice.

  Returns:
    The sorted row indices of the first and of the second part.

  Raises:
    ValueError: if fraction is not in 0 .. 1.
  """
  _validate.number("fraction", fraction, 0, 1)
  rng = np.random.default_rng(seed)
  second = np.zeros(len(labels), bool)
  for label in np.unique(labels):
    rows = np.flatnonzero(labels == label)
    second[rng.permutation(rows)[: round(fraction * len(rows))]] = True
  return np.flatnonzero(~second), np.flatnonzero(second)


def consecutive(
  dataset: ArrayDataset, counts: Sequence[int]
) -> list[ArrayDataset]:
  """Returns parts of a data set that follow each other, by their sizes."""
  ends = np.cumsum(counts)
  parts = [slice(end - count, end) for count, end in zip(counts, ends)]
  return [take(dataset, rows) for rows in parts]


def carve_valid(splits: Splits, fraction: float, seed: int = 0) -> Splits:
  """Takes validation examples out of the training examples.

  Args:
    splits: a set with classes (n,) as targets.
    fraction: share of every class that goes over; nothing happens at 0.
    seed: seed of the choice.

  Returns:
    The splits with `valid` in place of whatever it was.

  Raises:
    ValueError: if the targets are no classes or the fraction is out of range.
  """
  if not fraction:
    return splits
  labels = splits.train.targets
  if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
    received = f"shape {labels.shape} and dtype {labels.dtype}"
    expected = "integer targets of shape (n,) to take validation examples of"
    raise _validate.error("targets", received, expected)
  train, valid = stratified_split(labels, fraction, seed)
  return splits._replace(
    train=take(splits.train, train), valid=take(splits.train, valid)
  )
