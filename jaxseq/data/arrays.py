"""Data sets as memory-mapped array files, read only as far as they are used.

    arrays.save("sets/listops", data.load("lra_listops", path=...))
    splits = data.load("arrays", path="sets/listops")

If a set is sharded over the devices of several processes (`split_data` in
`training.devices.device_mesh`), each process reads the rows of its own devices
and, if the set is not checked, no others.
"""

import json
import os
import pathlib
import shutil

import numpy as np

from jaxseq import _codec
from jaxseq import _json
from jaxseq import limits
from jaxseq import validate
from jaxseq.data import _fields
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
    path: folder to create; it must not exist.
    splits: the data set. The numbers, strings, tuples of strings, factors,
      domains and the preparation of `info` are saved.

  Raises:
    ValueError: if the folder exists.
  """
  path = pathlib.Path(path)
  if path.exists():
    raise validate.error("path", str(path), "a folder that is not there yet")
  # Named by this process: leftovers of a killed one do not conflict.
  partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
  partial.mkdir(parents=True)
  try:
    for part in _PARTS:
      for name, array in _named(getattr(splits, part)).items():
        np.save(partial / f"{part}.{name}.npy", array, allow_pickle=False)
    (partial / _INFO).write_text(_encoded(splits.info), encoding="utf-8")
    # Atomic: a reader sees the whole set or nothing.
    partial.rename(path)
  except BaseException:
    shutil.rmtree(partial, ignore_errors=True)
    raise


def load(
  path: str | os.PathLike,
  missing: missing_values.Missing = "refuse",
  checked: bool = True,
) -> datasets.Splits:
  """Opens a folder written by `save`, or files of the same names.

  Args:
    path: the folder: info.json with at least description, source and license;
      train.inputs.npy, train.targets.npy, perhaps train.lengths.npy and
      train.extras.NAME.npy; the same for test and optionally for valid.
    missing: treatment of NaN in the inputs, see `data.missing`. Every one but
      "refuse" copies the inputs into memory.
    checked: whether all values are read once and checked, see `data.checks`.
      Pass False for a sharded set that was checked before, so that each process
      does not read all of it.

  Returns:
    The splits, of read-only memory-mapped arrays.

  Raises:
    ValueError: if a file is damaged, links out of the folder, or contains
      values that a model cannot learn from.
    MissingData: if the folder does not exist or is incomplete.
  """
  path = pathlib.Path(path)
  if not (path / _INFO).is_file():
    raise datasets.MissingData(
      f"{path} holds no {_INFO}: give the folder that jaxseq.data.arrays.save "
      "has written as path."
    )
  info = _decoded(limits.check_within(path / _INFO, path))
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
  limits.check_within(file, path)
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
  extras = fields.pop("extras").named()
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
  begin = "extras."
  names = [name for name in files_of_part if name.startswith(begin)]
  extras = {x.removeprefix(begin): files_of_part.pop(x) for x in names}
  fields = [name for name in datasets.ArrayDataset._fields if name != "extras"]
  arrays = {name: files_of_part.pop(name, None) for name in fields}
  if files_of_part:
    other = path / f"{part}.{next(iter(files_of_part))}.npy"
    raise ValueError(f"{other} is nothing that jaxseq.data.arrays.save writes.")
  return datasets.ArrayDataset(**arrays, extras=datasets.Extras.of(extras))


# The saved fields of `Info`, and the records among them.
_KEPT = (
  *("description", "source", "license", "digest", "num_classes", "vocab_size"),
  *("left_out", "rate", "horizon", "mean", "deviation", "classes", "channels"),
  *("tokens", "devices", "image_size", "factors", "preparation", "domains"),
)
_RECORDS = {"factors": datasets.Factors, "domains": datasets.Domains}


def _encoded(info: datasets.Info) -> str:
  """The saved fields as JSON."""
  values = {name: getattr(info, name) for name in _KEPT}
  for name, value in values.items():
    if name in _RECORDS and value is not None:
      values[name] = value._asdict()
  if info.preparation is not None:
    values["preparation"] = info.preparation.to_json()
  values = {
    name: _codec.encode(value, name)
    for name, value in values.items()
    if value is not None and not isinstance(value, np.ndarray)
  }
  return json.dumps(values, indent=2, allow_nan=False) + "\n"


def _decoded(file: pathlib.Path) -> datasets.Info:
  """Undoes `_encoded`."""
  try:
    values = _json.loads(limits.read_bytes(file, limits.JSON))
  except ValueError as error:
    raise ValueError(f"{file} is not JSON: {error}.") from error
  validate.instance(str(file), values, dict, "a JSON object")
  for name in values:
    validate.choice(f"{file}: entries", name, _KEPT)
  for name, kind in _RECORDS.items():
    if name in values:
      values[name] = _fields.make(kind, values[name], f"{file}: {name}")
  if "preparation" in values:
    try:
      values["preparation"] = kinds.from_json(values["preparation"])
    except ValueError as error:
      raise ValueError(f"{file}: {error}") from error
  return _fields.make(datasets.Info, values, str(file))
