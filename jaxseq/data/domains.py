"""Domain adaptation: train on some subjects, test on others.

`windows` cuts recordings, `adapt` combines windows of the source and the target
domains. A training set holds windows of both. Those of the target have the
class `UNLABELED`, so that no training can see their labels; the labels are in
the test set.
"""

from collections.abc import Sequence
import dataclasses
from typing import Literal
from typing import TypedDict
from typing import get_args

import jax
import numpy as np

from jaxseq import validate
from jaxseq.data import datasets
from jaxseq.data import recordings
from jaxseq.data import scale

UNLABELED = -1

# The statistics of a channel, in this order; "band_i" is the logarithm of the
# mean power in the i-th of five bands, each twice as wide as the one below.
STATISTICS = (
  "mean",
  "deviation",
  "minimum",
  "maximum",
  "median",
  "quartiles",
  "change",
  *(f"band_{i}" for i in range(5)),
)
_BANDS = 5
_FLOOR = 1e-6

Features = Literal["raw", "statistics"]
Scaling = Literal["source", "own", "none"]
Holding = Literal["tail", "stratified"]


class Options(TypedDict, total=False):
  """Options that loaders pass on to `adapt`, with its defaults."""

  valid_fraction: float
  held_out: float
  scaling: Scaling
  unlabeled: bool


def windows(
  whole: recordings.Recordings, length: int, step: int
) -> datasets.ArrayDataset:
  """Cuts recordings into windows that lie within one recording each.

  Args:
    whole: the recordings, with the entry "label". Recordings shorter than a
      window are dropped.
    length: elements of a window in time.
    step: elements from the start of a window to the start of the next.

  Returns:
    Inputs (n, length, channels) float32; targets (n,), the label of the
    recording. extras: the other entries, the number of the recording, and
    start, the window's first element in it; all (n,) int32.

  Raises:
    ValueError: if a number is out of range or no recording is long enough.
  """
  validate.all_positive(length=length, step=step)
  longest = max(map(len, whole.values), default=0)
  if longest < length:
    expected = f"at most that of the longest recording, {longest}"
    raise validate.error("length", length, expected)
  inputs, places, starts = [], [], []
  for place, series in enumerate(whole.values):
    if len(series) < length:
      continue
    cut = datasets.sliding_windows(series, length)[::step].astype(np.float32)
    inputs.append(cut)
    places.append(np.full(len(cut), place, np.int32))
    starts.append(np.arange(len(cut), dtype=np.int32) * step)
  place = np.concatenate(places)
  extras = {
    name: np.asarray(values, np.int32)[place]
    for name, values in whole.entries.items()
  }
  targets = extras.pop("label")
  extras |= {"recording": place, "start": np.concatenate(starts)}
  return datasets.ArrayDataset(
    np.concatenate(inputs), targets, None, datasets.Extras.of(extras)
  )


def runs(
  keys: Sequence[np.ndarray],
  times: np.ndarray | None = None,
  gap: float = np.inf,
) -> np.ndarray:
  """Finds the starts of recordings in consecutive rows.

  Args:
    keys: arrays (rows,); a recording ends where any of them changes.
    times: (rows,) time of each row, or None.
    gap: a recording also ends where the time jumps by more than this, forward
      or backward.

  Returns:
    The first row of each recording, increasing.
  """
  change = np.ones(len(keys[0]), bool)
  change[1:] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
  if times is not None:
    change[1:] |= np.abs(np.diff(times)) > gap
  return np.flatnonzero(change)


def _split_tails(
  dataset: datasets.ArrayDataset, fraction: float
) -> tuple[np.ndarray, np.ndarray]:
  """Splits the windows of every recording at a time."""
  validate.number("fraction", fraction, 0, 1)
  recording, start = dataset.extras.recording, dataset.extras.start
  length = dataset.inputs.shape[1]
  first, second = [], []
  for number in np.unique(recording):
    rows = np.flatnonzero(recording == number)
    rows = rows[np.argsort(start[rows], kind="stable")]
    border = len(rows) - round(fraction * len(rows))
    second.append(rows[border:])
    rows, tail = rows[:border], rows[border:]
    if len(tail):
      rows = rows[start[rows] + length <= start[tail[0]]]
    first.append(rows)
  return np.sort(np.concatenate(first)), np.sort(np.concatenate(second))


def _hold_out(dataset, fraction, holding, seed):
  """Returns the remaining and the held-out windows; None if there are none."""
  if not fraction:
    return dataset, None
  if holding == "tail":
    first, second = _split_tails(dataset, fraction)
  else:
    first, second = datasets.stratified_split(dataset.targets, fraction, seed)
  if not (len(first) and len(second)):
    raise ValueError(
      f"a fraction of {fraction} leaves one of two parts of "
      f"{len(dataset.inputs)} windows empty."
    )
  return datasets.take(dataset, first), datasets.take(dataset, second)


def _moments(dataset):
  """Mean and deviation of each channel, without padding."""
  values = dataset.inputs[datasets.inside(dataset)].astype(np.float64)
  return scale.Scale.of(values)


def _scaled(dataset, moments):
  """Standardizes each window by the moments of its domain."""
  if dataset is None:
    return None
  mean, deviation = np.stack(moments, 1)[:, dataset.extras.domain, None]
  inputs = ((dataset.inputs - mean) / deviation).astype(np.float32)
  return dataset._replace(inputs=inputs * datasets.inside(dataset)[..., None])


def _described(windows: np.ndarray) -> np.ndarray:
  """Returns (..., channels * 12) float32, `STATISTICS` channel by channel."""
  length = windows.shape[-2]
  least = 2 ** (_BANDS + 1) - 2
  if length < least:
    expected = f"at least {least} elements in time"
    raise validate.error("windows", length, expected)
  x = np.moveaxis(np.asarray(windows, np.float64), -1, -2)
  lower, median, upper = np.quantile(x, (0.25, 0.5, 0.75), axis=-1)
  power = np.abs(np.fft.rfft(x, axis=-1)) ** 2 / length
  # Without the mean, which is a statistic of its own.
  power = power[..., 1:]
  edges = power.shape[-1] * (2.0 ** np.arange(_BANDS + 1) - 1)
  edges = np.round(edges / (2.0**_BANDS - 1)).astype(int)
  bands = [
    np.log(power[..., a:b].mean(axis=-1) + _FLOOR)
    for a, b in zip(edges[:-1], edges[1:])
  ]
  numbers = [f(x, axis=-1) for f in (np.mean, np.std, np.min, np.max)]
  change = np.abs(np.diff(x, axis=-1)).mean(axis=-1)
  numbers += [median, upper - lower, change, *bands]
  out = np.stack(numbers, axis=-1).astype(np.float32)
  return out.reshape(*out.shape[:-2], -1)


def joined(parts: Sequence[datasets.ArrayDataset]) -> datasets.ArrayDataset:
  """Concatenates the examples of several sets."""
  return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


def labeled(dataset: datasets.ArrayDataset) -> datasets.ArrayDataset:
  """Returns the examples with a label: those of the source domains."""
  return datasets.take(dataset, dataset.targets != UNLABELED)


def unlabeled(dataset: datasets.ArrayDataset) -> datasets.ArrayDataset:
  """Returns the examples without a label: those of the target domains."""
  return datasets.take(dataset, dataset.targets == UNLABELED)


def make_splits(
  source: datasets.ArrayDataset,
  valid: datasets.ArrayDataset | None,
  target: datasets.ArrayDataset,
  test: datasets.ArrayDataset,
  info: datasets.Info,
  *,
  scaling: Scaling = "source",
  unlabeled: bool = True,
) -> datasets.Splits:
  """Combines windows of source and target domains into a data set.

  Args:
    source: labeled training windows; all parts have extras.domain, (n,) int32
      from 0.
    valid: windows of the source domains to choose options with, or None.
    target: windows of the target domains to adapt to; their labels are hidden.
    test: test windows of the target domains.
    info: description of the set.
    scaling: "source" standardizes each channel by mean and standard deviation
      of `source`; "own" by those of the windows of `source` and `target` from
      the same domain; "none" scales nothing.
    unlabeled: whether the training set holds the windows of `target`.

  Returns:
    The splits, see `adapt`.

  Raises:
    ValueError: if scaling is not one of these.
  """
  validate.choice("scaling", scaling, get_args(Scaling))
  count = 1 + max(part.extras.domain.max() for part in (source, target))
  if scaling == "source":
    moments = [_moments(source)] * count
  elif scaling == "own":
    joint = joined([source, target])
    moments = [
      _moments(datasets.take(joint, joint.extras.domain == domain))
      for domain in range(count)
    ]
  else:
    moments = [(np.zeros(1), np.ones(1))] * count
  train = source
  if unlabeled:
    hidden = np.full_like(target.targets, UNLABELED)
    train = joined([source, target._replace(targets=hidden)])
  parts = [_scaled(part, moments) for part in (train, valid, test)]
  return datasets.Splits(*parts, info)


def numbers(names: int | Sequence[int]) -> tuple[int, ...]:
  """Returns the number or numbers of domains as a tuple."""
  return (names,) if np.isscalar(names) else tuple(names)


def _selected(values, by, names):
  """Returns the numbers of the requested domains, checked against `values`."""
  there = np.unique(values).tolist()
  names = tuple(validate.choice(by, name, there) for name in numbers(names))
  if not names:
    raise ValueError(f"at least one {by} is needed; got none.")
  return names


def adapt(
  dataset: datasets.ArrayDataset,
  by: str,
  source: int | Sequence[int],
  target: int | Sequence[int],
  info: datasets.Info,
  *,
  valid_fraction: float = 0.2,
  held_out: float = 0.0,
  holding: Holding = "tail",
  features: Features = "raw",
  scaling: Scaling = "source",
  unlabeled: bool = True,
  seed: int = 0,
) -> datasets.Splits:
  """Builds a domain adaptation problem from windows.

  Args:
    dataset: labeled windows with extras, as `windows` returns them.
    by: name of the extra that defines a domain, such as "subject".
    source: the value, or values, of the source domains.
    target: the value, or values, of the target domains.
    info: description of the set.
    valid_fraction: share of the source windows for validation. Target labels
      are never used to choose options.
    held_out: share of the target windows for testing only. At 0 all target
      windows are in the training set, without labels, and in the test set.
    holding: how windows are held out: "tail", the last ones of each recording,
      without those that overlap with them; or "stratified", the same share of
      each class at random, for recordings of one window.
    features: "raw", the windows; or "statistics", 12 numbers for each channel
      as a single element in time: mean, deviation, minimum, maximum, median,
      distance of the quartiles, mean absolute change from one element to the
      next, and the logarithm of the mean power in five bands, each twice as
      wide as the one below.
    scaling: see `make_splits`.
    unlabeled: whether the training set holds the target windows. Without them
      it is the training set of a model without adaptation.
    seed: seed of the stratified choice.

  Returns:
    The splits: train has source windows, then target windows with target
    `UNLABELED`; `labeled` and `unlabeled` separate them. valid has source
    windows, test target windows. extras.domain, (n,) int32, indexes
    info.domains.names.

  Raises:
    ValueError: if an option is out of range or a domain is missing.
  """
  values = dataset.extras.named()[by]
  sources = _selected(values, by, source)
  targets = _selected(values, by, target)
  names = sources + targets
  if len(set(names)) < len(names):
    raise ValueError(
      f"source and target: got {sources} and {targets}, expected different."
    )
  validate.choice("features", features, get_args(Features))
  validate.choice("holding", holding, get_args(Holding))
  domain = np.full(len(values), -1, np.int32)
  for number, name in enumerate(names):
    domain[values == name] = number
  dataset = dataset._replace(extras=dataset.extras._replace(domain=domain))
  count = len(sources)
  of_source = datasets.take(dataset, (domain >= 0) & (domain < count))
  of_target = datasets.take(dataset, domain >= count)
  learn, valid = _hold_out(of_source, valid_fraction, holding, seed)
  see, test = _hold_out(of_target, held_out, holding, seed)
  parts = [learn, valid, see, of_target if test is None else test]
  if features == "statistics":
    parts = [
      part and part._replace(inputs=_described(part.inputs)[:, None])
      for part in parts
    ]
  chosen = datasets.Domains(by, names, count, scaling)
  info = dataclasses.replace(info, domains=chosen)
  return make_splits(*parts, info, scaling=scaling, unlabeled=unlabeled)
