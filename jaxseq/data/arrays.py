"""Data sets as arrays in files, of which only the parts in use are read.

    arrays.save("sets/listops", data.load("lra_listops", path=...))
    splits = data.load("arrays", path="sets/listops")

The arrays are memory-mapped. Where the devices of several processes share a set
out (`split_data` in `training.devices.device_mesh`), each process then reads
the rows of its own devices and, if the set is not checked, no others.
"""

from collections.abc import Mapping
import dataclasses
import json
import os
import pathlib
import shutil
from typing import Any

import numpy as np

from jaxseq import _json
from jaxseq import _limits
from jaxseq import _validate
from jaxseq.data import _npy
from jaxseq.data import checks
from jaxseq.data import datasets
from jaxseq.data import missing as missing_values
from jaxseq.data.sources import registry as kinds

_INFO = "info.json"
_PARTS = ("train", "valid", "test")


def save(path: str | os.PathLike, splits: datasets.Splits) -> None:
  """Writes a data set as one `.npy` file for each array.

  Args:
    path: folder to make; it must not exist.
    splits: the data set. Of `info` numbers, strings, tuples of strings,
      factors, domains and the preparation are kept.

  Raises:
    ValueError: if the folder exists.
  """
  path = pathlib.Path(path)
  if path.exists():
    raise _validate.error("path", str(path), "a folder that is not there yet")
  # A name of this process: what a kill has left behind is in nobody's way.
  partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
  partial.mkdir(parents=True)
  try:
    for part in _PARTS:
      for name, array in _named(getattr(splits, part)).items():
        np.save(partial / f"{part}.{name}.npy", array, allow_pickle=False)
    (partial / _INFO).write_text(_encoded(splits.info), encoding="utf-8")
    # A reader sees all of it or nothing.
    partial.rename(path)
  except BaseException:
    shutil.rmtree(partial, ignore_errors=True)
    raise


def load(
  path: str | os.PathLike,
  missing: missing_values.Missing = "refuse",
  checked: bool = True,
) -> datasets.Splits:
  """Opens what `save` wrote, or files of the same names.

  Args:
    path: the folder: info.json with at least description, source and license;
      train.inputs.npy, train.targets.npy, perhaps train.lengths.npy and
      train.extras.NAME.npy; the same of test and perhaps of valid.
    missing: what becomes of NaN in the inputs, see `data.missing`. All but
      "refuse" copies the inputs into memory.
    checked: whether all values are read once and checked, see `data.checks`.
      A set that several processes share out, and that was checked before, need
      not be read whole by each of them.

  Returns:
    The splits, of read-only memory-mapped arrays.

  Raises:
    ValueError: if a file is damaged, leads out of the folder, or holds what
      nothing can be learnt from.
    MissingData: if there is no such folder, or it is not complete.
  """
  path = pathlib.Path(path)
  if not (path / _INFO).is_file():
    raise datasets.MissingData(
      f"{path} holds no {_INFO}: give the folder that jaxseq.data.arrays.save "
      "has written as path."
    )
  info = _decoded(_limits.check_within(path / _INFO, path))
  parts = []
  for part in _PARTS:
    datasets_of_parts = {
      file.name[len(part) + 1 : -4]: _open(file, path)
      for file in sorted(path.glob(f"{part}.*.npy"))
    }
    parts.append(_dataset(datasets_of_parts, path, part))
  splits = datasets.Splits(*parts, info)
  if not checked and missing == "refuse":
    return splits
  # Shapes and dtypes first: the treatment relies on them.
  for part, dataset in zip(_PARTS, parts):
    if dataset is not None:
      checks.check(dataset, f"{path}, {part}")
  names = [f"{path}, {part}" for part in _PARTS]
  splits = missing_values.treat(splits, missing, names)
  return checks.check_splits(splits, str(path)) if checked else splits


def _open(file, path):
  _limits.check_within(file, path)
  try:
    return _npy.open_map(file)
  except (OSError, ValueError) as error:
    raise ValueError(
      f"{file} is no array that can be read: {error}."
    ) from error


def _named(dataset):
  if dataset is None:
    return {}
  fields = dataset._asdict()
  extras = fields.pop("extras")._asdict()
  fields |= {f"extras.{name}": array for name, array in extras.items()}
  return {name: array for name, array in fields.items() if array is not None}


def _dataset(files_of_part, path, part):
  if not files_of_part and part == "valid":
    return None
  missing = {"inputs", "targets"} - set(files_of_part)
  if missing:
    raise datasets.MissingData(
      f"{path} lacks {', '.join(f'{part}.{m}.npy' for m in sorted(missing))}."
    )
  extras = datasets.Extras()._asdict()
  extras = {name: files_of_part.pop(f"extras.{name}", None) for name in extras}
  fields = [name for name in datasets.ArrayDataset._fields if name != "extras"]
  arrays = {name: files_of_part.pop(name, None) for name in fields}
  if files_of_part:
    other = path / f"{part}.{next(iter(files_of_part))}.npy"
    raise ValueError(f"{other} is nothing that jaxseq.data.arrays.save writes.")
  return datasets.ArrayDataset(**arrays, extras=datasets.Extras(**extras))


def _is(*kinds: type):
  """Returns a check for a value of one of some types."""
  return lambda value: type(value) in kinds


def _are(*kinds: type):
  """Returns a check for a list of such values."""
  return lambda value: isinstance(value, list) and all(map(_is(*kinds), value))


def _has(**checks: Any):
  """Returns a check for an object with exactly these entries."""
  return lambda value: (
    isinstance(value, dict)
    and value.keys() == checks.keys()
    and all(check(value[name]) for name, check in checks.items())
  )


# What is kept of each field, and its check.
_TEXTS = ("description", "source", "license")
_FIELDS = {
  **dict.fromkeys((*_TEXTS, "digest"), _is(str)),
  **dict.fromkeys(("num_classes", "vocab_size", "left_out"), _is(int)),
  **dict.fromkeys(("rate", "horizon", "mean", "deviation"), _is(int, float)),
  **dict.fromkeys(("classes", "channels", "tokens", "devices"), _are(str)),
  "image_size": _are(int),
  "factors": _has(
    names=_are(str),
    sizes=_are(int),
    scale=_is(int, float),
    noise=_is(int, float),
  ),
  "preparation": _is(dict),
  "domains": _has(
    by=_is(str), names=_are(int), num_sources=_is(int), scaling=_is(str)
  ),
}
_TUPLES = {"factors": datasets.Factors, "domains": datasets.Domains}


def _encoded(info: datasets.Info) -> str:
  """The text of the kept fields, as JSON."""
  columns = {}
  for name, check in _FIELDS.items():
    value = getattr(info, name)
    if name in _TUPLES and value is not None:
      value = value._asdict()
    if name == "preparation" and value is not None:
      value = value.to_json()
    # Through JSON, in which tuples are lists.
    if isinstance(value, str | int | float | tuple | dict):
      value = json.loads(json.dumps(value))
      if check(value):
        columns[name] = value
  return json.dumps(columns, indent=2, allow_nan=False) + "\n"


def _decoded(file: pathlib.Path) -> datasets.Info:
  """Undoes `_encoded`."""
  try:
    values = _json.loads(file.read_bytes())
  except ValueError as error:
    raise ValueError(f"{file} is not JSON: {error}.") from error
  if not isinstance(values, Mapping):
    raise _validate.error(str(file), type(values).__name__, "a JSON object")
  lacking = [name for name in _TEXTS if name not in values]
  if lacking:
    raise ValueError(f"{file} lacks {', '.join(lacking)}.")
  names = {field.name for field in dataclasses.fields(datasets.Info)}
  for name, value in values.items():
    _validate.choice(f"{file}: entries", name, sorted(names & set(_FIELDS)))
    if not _FIELDS[name](value):
      raise _validate.error(f"{file}: {name}", value, "a value of its kind")
  fields = {
    name: tuple(value) if isinstance(value, list) else value
    for name, value in values.items()
  }
  if "preparation" in fields:
    try:
      fields["preparation"] = kinds.from_json(fields["preparation"])
    except ValueError as error:
      raise ValueError(f"{file}: {error}") from error
  for name, kind in _TUPLES.items():
    if name in fields:
      fields[name] = kind(
        **{
          key: tuple(value) if isinstance(value, list) else value
          for key, value in fields[name].items()
        }
      )
  return datasets.Info(**fields)
