"""Data inside Python packages: files and functions."""

import importlib
import importlib.util
import pathlib
from types import ModuleType

from jaxseq.data import datasets


def find(noun: str, file: str, *packages: str) -> pathlib.Path:
  """Returns the path of a file, or a folder, inside an installed package.

  Nothing is imported: some of these packages take seconds, or need others.

  Args:
    noun: contents of the file, for the message.
    file: path inside the package.
    *packages: packages to search, in this order.

  Raises:
    MissingData: if no package is installed with that file.
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
    f"{noun} is a file of the package {first}{also}: pip install --no-deps "
    f"{first} is enough, as nothing else of it is used."
  )


def imported(module: str, package: str, reason: str) -> ModuleType:
  """Imports a module.

  Args:
    module: full name of the module.
    package: name to install it by.
    reason: what needs it, for the message.

  Raises:
    MissingData: if the package is not installed.
  """
  try:
    return importlib.import_module(module)
  except ImportError as error:
    raise datasets.MissingData(f"{reason}: pip install '{package}'.") from error
