"""scikit-learn, imported where it is needed."""

import importlib
import types


def load(module: str) -> types.ModuleType:
  """Returns a module of scikit-learn.

  Args:
    module: its name below `sklearn`.

  Raises:
    ModuleNotFoundError: scikit-learn is not installed.
  """
  try:
    return importlib.import_module(f"sklearn.{module}")
  except ImportError as error:
    raise ModuleNotFoundError(
      "metrics and probes that are learned need scikit-learn: "
      "pip install 'scikit-learn'.",
      name="sklearn",
    ) from error
