"""Registry of accelerator kernels by name, imported when they are used.

Nothing here imports them: without `jaxseq.kernels` all recurrences work by
their other methods.
"""

from collections.abc import Callable
import importlib
import importlib.util
from typing import Any

from jaxseq import validate

CHIPS = ("tpu", "gpu")


def _ours(operation: str, *chips: str, name: str = "scan") -> dict[str, str]:
  """Paths of an operation that `jaxseq.kernels` has for these chips."""
  return dict.fromkeys(chips, f"jaxseq.kernels.{operation}.{name}:{name}")


# Path of the function by operation and chip: "package.module:function".
KERNELS: dict[str, dict[str, str]] = {
  "delta": _ours("delta", *CHIPS),
  "delta_per_channel": _ours("delta", *CHIPS),
  "gated": _ours("gated", "gpu"),
  "linear": _ours("linear", *CHIPS),
  "lti": _ours("lti", *CHIPS),
  "mlstm": _ours("mlstm", "gpu"),
  "outer": _ours("outer", *CHIPS),
  "outer_per_channel": _ours("outer", *CHIPS),
  "selective": _ours("selective", *CHIPS),
  "softmax_outer": _ours("softmax_outer", "gpu"),
  "window": _ours("window", *CHIPS, name="attend"),
}


def register(operation: str, chip: str, path: str) -> None:
  """Registers a kernel for an operation on a kind of chip.

  It replaces a kernel that was registered before. Programs that are already
  traced keep theirs.

      kernels.register("outer", "gpu", "my_package.my_module:scan")

  Args:
    operation: a key of `KERNELS`.
    chip: "tpu" or "gpu".
    path: "package.module:function", imported when it is first called; the
      function has the arguments of the one in `jaxseq.kernels` for the
      operation.

  Raises:
    ValueError: if a value is not one of these.
  """
  validate.choice("operation", operation, tuple(KERNELS))
  validate.choice("chip", chip, CHIPS)
  module, _, function = path.partition(":")
  if not module or not function:
    raise validate.error("path", path, "'package.module:function'")
  KERNELS[operation][chip] = path


def module(operation: str, chip: str) -> str:
  """Name of the module that has a kernel, whether it is installed or not."""
  return KERNELS[operation][chip].partition(":")[0]


def is_there(operation: str, chip: str) -> bool:
  """True if the module of a kernel can be imported; it is not."""
  try:
    return importlib.util.find_spec(module(operation, chip)) is not None
  except ModuleNotFoundError:  # Not even its package.
    return False


def find(operation: str, chip: str) -> Callable[..., Any]:
  """Imports and returns the registered function.

  Raises:
    NotImplementedError: if its module is not installed.
  """
  name, _, function = KERNELS[operation][chip].partition(":")
  if not is_there(operation, chip):
    raise NotImplementedError(
      f"kernels of {operation}: got no module {name}, expected it installed."
    )
  return getattr(importlib.import_module(name), function)
