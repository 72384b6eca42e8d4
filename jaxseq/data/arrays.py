"""Data sets as arrays in files, of which only what is asked for is read.

    arrays.save("sets/listops", data.load("lra_listops", path=...))
    splits = data.load("arrays", path="sets/listops")

The arrays are memory-mapped. Where the devices of several processes share a set
out (`split_data` in `training.devices.device_mesh`), each process then reads
the rows of its own devices and no others.
"""

import json
import os
import pathlib

import numpy as np

from jaxseq import _validate
from jaxseq.data import datasets

_INFO = "info.json"
_PARTS = ("train", "valid", "test")


def save(path: str | os.PathLike, splits: datasets.Splits) -> None:
  """Writes a data set as one `.npy` file for each array.

  Args:
    path: folder to make; it must not exist.
    splits: the data set. Of `info` numbers and strings are kept.

  Raises:
    ValueError: if the folder exists.
  """
  path = pathlib.Path(path)
  if path.exists():
    raise _validate.error("path", str(path), "a folder that is not there yet")
  partial = path.with_name(path.name + ".partial")
  partial.mkdir(parents=True)
  for part in _PARTS:
    for name, array in _named(getattr(splits, part)).items():
      np.save(partial / f"{part}.{name}.npy", array, allow_pickle=False)
  info = {
    name: value
    for name, value in vars(splits.info).items()
    if isinstance(value, str | int | float)
  }
  (partial / _INFO).write_text(json.dumps(info, indent=2) + "\n")
  # A reader sees all of it or nothing.
  partial.rename(path)


def load(path: str | os.PathLike) -> datasets.Splits:
  """Opens what `save` wrote.

  Args:
    path: the folder.

  Returns:
    The splits, of read-only memory-mapped arrays.

  Raises:
    ValueError: if a file is damaged.
    MissingData: if there is no such folder, or it is not complete.
  """
  path = pathlib.Path(path)
  if not (path / _INFO).is_file():
    raise datasets.MissingData(
      f"{path} holds no {_INFO}: give the folder that jaxseq.data.arrays.save "
      "has written as path."
    )
  info = datasets.Info(**json.loads((path / _INFO).read_text()))
  parts = []
  for part in _PARTS:
    found = {
      file.name[len(part) + 1 : -4]: _open(file)
      for file in sorted(path.glob(f"{part}.*.npy"))
    }
    parts.append(_dataset(found, path, part))
  return datasets.Splits(*parts, info)


def _open(file):
  try:
    return np.load(file, mmap_mode="r", allow_pickle=False)
  except (OSError, ValueError, EOFError) as error:
    raise ValueError(f"{file} is no array that can be read: {error}") from error


def _named(dataset):
  if dataset is None:
    return {}
  fields = dataset._asdict()
  extras = fields.pop("extras")._asdict()
  fields |= {f"extras.{name}": array for name, array in extras.items()}
  return {name: array for name, array in fields.items() if array is not None}


def _dataset(found, path, part):
  if not found and part == "valid":
    return None
  missing = {"inputs", "targets"} - set(found)
  if missing:
    raise datasets.MissingData(
      f"{path} lacks {', '.join(f'{part}.{m}.npy' for m in sorted(missing))}."
    )
  extras = datasets.Extras()._asdict()
  extras = {name: found.pop(f"extras.{name}", None) for name in extras}
  fields = [name for name in datasets.ArrayDataset._fields if name != "extras"]
  arrays = {name: found.pop(name, None) for name in fields}
  if found:
    other = path / f"{part}.{next(iter(found))}.npy"
    raise ValueError(f"{other} is nothing that jaxseq.data.arrays.save writes.")
  return datasets.ArrayDataset(**arrays, extras=datasets.Extras(**extras))
