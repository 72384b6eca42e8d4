"""Data inside Python packages: files, and functions."""

import importlib
import importlib.util
import pathlib
from types import ModuleType

from jaxseq.data import datasets


def find(what: str, file: str, *packages: str) -> pathlib.Path:
  """Returns the path of a file, or a folder, inside an installed package.

  Nothing is imported: some of these packages take seconds, or need others.

  Args:
    what: what the file holds, for the message.
    file: path inside the package.
    *packages: where to look, in this order.

  Raises:
    MissingData: none of the packages is installed with that file.
  """
  for package in packages:
    spec = importlib.util.find_spec(package)
    for root in (spec and spec.submodule_search_locations) or ():
      path = pathlib.Path(root) / file
      if path.exists():
        return path
  first, *others = packages
  also = "".join(f" (and {package})" for package in others)
  raise datasets.MissingData(
    f"{what} is a file of the package {first}{also}: pip install --no-deps "
    f"{first} is enough, as nothing else of it is used."
  )


def imported(module: str, package: str, what: str) -> ModuleType:
  """Imports a module.

  Args:
    module: its full name.
    package: what to install for it.
    what: what it is needed for, for the message.

  Raises:
    MissingData: the package is not installed.
  """
  try:
    return importlib.import_module(module)
  except ImportError as error:
    raise datasets.MissingData(f"{what}: pip install '{package}'.") from error
