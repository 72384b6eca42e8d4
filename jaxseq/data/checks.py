"""Checks that the arrays of a data set are fit for training.

Errors name the array, the first wrong place and the expected values. Rejected
are non-finite values, classes and tokens out of range, names in place of
numbers, lengths beyond the array, arrays of unequal lengths, and sets with no
example or with examples of one class only.
"""

import numpy as np

from jaxseq import validate
from jaxseq.data import datasets
from jaxseq.data import value_checks

# Float and bool fields of `Extras`; the others are integers. Those of `more`
# may be any numbers.
_FLOATS = (
  *("gaps", "calendar", "times", "features", "log_density", "tail", "until"),
  *("phase", "known", "scale"),
)
_FLAGS = ("observed", "document_starts", "answers")
_AXES = ("example", "element", "channel")


def check(
  dataset: datasets.ArrayDataset,
  name: str = "dataset",
  info: datasets.Info | None = None,
) -> datasets.ArrayDataset:
  """Checks that the arrays of a data set fit together.

  Args:
    dataset: the data set.
    name: name of the data set in messages.
    info: information on the set. If given, values are checked as well:
      all floats are finite, classes are below info.num_classes and tokens below
      info.vocab_size. Without it only shapes, dtypes and lengths are checked.

  Returns:
    The data set.

  Raises:
    ValueError: naming the array, the value found and the one expected.
  """
  _check_arrays(dataset, name)
  if info is not None:
    _check_values(dataset, name, info, maps=True)
  return dataset


def check_splits(
  splits: datasets.Splits, name: str = "dataset", *, maps: bool = True
) -> datasets.Splits:
  """Checks the parts of a data set, and that they fit together.

  Args:
    splits: the set.
    name: name of the data set in messages.
    maps: whether to read and check the values of memory-mapped arrays.

  Returns:
    The set.

  Raises:
    ValueError: naming the part and array, the value found and the one expected.
  """
  info = splits.info
  for field in ("num_classes", "vocab_size"):
    if getattr(info, field) is not None:
      validate.integer(f"{name}: info.{field}", getattr(info, field), 1)
  if info.classes is not None and info.num_classes is not None:
    if len(info.classes) != info.num_classes:
      expected = f"{info.num_classes}, as info.num_classes is"
      count = len(info.classes)
      raise validate.error(f"{name}: names of classes", count, expected)
  parts = {
    f"{name}, {part}": getattr(splits, part)
    for part in ("train", "valid", "test")
    if getattr(splits, part) is not None
  }
  for part, dataset in parts.items():
    _check_arrays(dataset, part)
    inputs, like = dataset.inputs, splits.train.inputs
    if inputs.shape[2:] != like.shape[2:] or inputs.ndim != like.ndim:
      expected = f"{like.shape[2:]} behind the time, like the training inputs"
      raise validate.error(f"{part}: inputs", f"shape {inputs.shape}", expected)
    _check_values(dataset, part, info, maps=maps)
  _check_classes(name, parts.values(), info)
  return splits


def _check_arrays(dataset, name):
  """Checks shapes, dtypes and lengths."""
  inputs, targets, lengths, extras = dataset
  for key, array in {"inputs": inputs, "targets": targets}.items():
    if not hasattr(array, "dtype"):
      got = type(array).__name__
      raise validate.error(f"{name}: {key}", got, "an array")
  got = f"shape {inputs.shape} and dtype {inputs.dtype}"
  kinds = {2: "iu", 3: "f"}.get(inputs.ndim, "")
  # Float types that NumPy does not define, such as bfloat16, are of kind V.
  kind = inputs.dtype.kind
  if kind not in kinds or not kinds:
    expected = "(n, time) of integers or (n, time, features) of floats"
    raise validate.error(f"{name}: inputs", got, expected)
  if 0 in inputs.shape:
    expected = "at least one example, one element in time and one feature"
    raise validate.error(f"{name}: inputs", got, expected)
  count, time = inputs.shape[:2]
  others = _check_others(name, extras)
  named = {"targets": targets, "lengths": lengths, **extras.named()}
  for key, array in named.items():
    if array is not None and (array.ndim == 0 or len(array) != count):
      expected = f"one entry for each of the {count} inputs"
      raise validate.error(f"{name}: {key}", f"shape {array.shape}", expected)
  if targets.dtype.kind not in "iuf":
    expected = "numbers: of classes, whose names belong into info.classes, or"
    got = f"dtype {targets.dtype}"
    raise validate.error(f"{name}: targets", got, f"{expected} of values")
  for key, array in extras.named().items():
    if key != "second" and key not in others:
      kinds = "f" if key in _FLOATS else "b" if key in _FLAGS else "iu"
      if array.dtype.kind not in kinds:
        words = {"f": "floats", "b": "booleans", "iu": "integers"}[kinds]
        got = f"dtype {array.dtype}"
        raise validate.error(f"{name}: {key}", got, words)
  if lengths is not None:
    if lengths.shape != (count,) or lengths.dtype != np.int32:
      got = f"shape {lengths.shape} and dtype {lengths.dtype}"
      raise validate.error(f"{name}: lengths", got, f"({count},) of int32")
    _check_lengths(f"{name}: lengths", lengths, time)


def _check_others(name, extras):
  """Returns the arrays of `extras.more` by name after a check."""
  if extras.more is None:
    return {}
  validate.instance(f"{name}: more", extras.more, dict, "a dict of arrays")
  for key, array in extras.more.items():
    if key in extras._fields:
      expected = "a name that is not a field of Extras: set the field"
      raise validate.error(f"{name}: more", key, expected)
    got = getattr(array, "dtype", None)
    if got is None or got.kind not in "iufb":
      got = type(array).__name__ if got is None else f"dtype {got}"
      raise validate.error(f"{name}: more[{key!r}]", got, "an array of numbers")
  return extras.more


def _check_lengths(name, lengths, time):
  """Checks that lengths are within the time axis."""
  if not (lengths.min() >= 0 and lengths.max() <= time):
    place = int(np.argmax((lengths < 0) | (lengths > time)))
    raise ValueError(
      f"{name}: got {lengths.min()} to {lengths.max()}, expected 0 to {time}, "
      f"the time axis of inputs; the first is example {place}."
    )


def _check_values(dataset, name, info, maps):
  """Checks values, which reads the arrays whole."""
  inputs, targets, _, extras = dataset

  def wanted(array):
    return array is not None and (maps or not isinstance(array, np.memmap))

  def integers(key, array, low, above, expected):
    if wanted(array):
      axes = _AXES[: array.ndim]
      value_checks.check_range(
        f"{name}: {key}", array, low, above, axes, expected
      )

  arrays = {"inputs": inputs, "targets": targets, **extras.named()}
  for key, array in arrays.items():
    if wanted(array):
      names = info.channels if key == "inputs" else None
      fits = names is not None and len(names) == array.shape[-1]
      value_checks.check_finite(
        f"{name}: {key}", array, _AXES, names if fits else None
      )
  tokens = info.vocab_size
  if tokens is not None and inputs.ndim == 2:
    expected = f"tokens 0 to {tokens - 1}, as info.vocab_size is {tokens}"
    integers("inputs", inputs, 0, tokens, expected)
    if extras.second is not None and extras.second.ndim == 2:
      integers("second", extras.second, 0, tokens, expected)
  if extras.second_lengths is not None and wanted(extras.second_lengths):
    time = extras.second.shape[1]
    _check_lengths(f"{name}: second_lengths", extras.second_lengths, time)
  classes = info.num_classes
  if targets.dtype.kind == "f":
    if classes is not None:
      expected = f"integers, as info.num_classes is {classes}"
      raise validate.error(
        f"{name}: targets", f"dtype {targets.dtype}", expected
      )
  elif info.factors is not None:
    sizes = info.factors.sizes
    if targets.ndim != 2 or targets.shape[1] != len(sizes):
      expected = f"({len(targets)}, {len(sizes)}), a level of each factor"
      got = f"shape {targets.shape}"
      raise validate.error(f"{name}: targets", got, expected)
    for column, (factor, size) in enumerate(zip(info.factors.names, sizes)):
      expected = f"levels 0 to {size - 1} of {factor!r}"
      integers(f"targets[{column}]", targets[:, column], 0, size, expected)
  else:
    # Domain adaptation marks examples without a label by -1.
    low = 0 if info.domains is None else -1
    above = 2**31 if classes is None else classes
    reason = "" if classes is None else f", as info.num_classes is {classes}"
    expected = f"classes {low} to {above - 1}{reason}"
    integers("targets", targets, low, above, expected)


def _check_classes(name, parts, info):
  """Rejects sets whose examples are all of one class."""
  targets = [part.targets for part in parts]
  if info.num_classes is None or targets[0].ndim != 1:
    return
  labels = np.concatenate([array[array >= 0] for array in targets])
  if np.all(labels == labels[:1]):
    first = labels[0] if len(labels) else None
    raise ValueError(
      f"{name}: targets: got class {first} for every example, expected at "
      "least two classes."
    )
