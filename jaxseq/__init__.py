"""jaxseq: resettable recurrent sequence models for JAX.

The sub-packages are imported when first used: `import jaxseq` alone imports
nothing else and touches no device.
"""

import importlib

__version__ = "0.1.0"

_SUBPACKAGES = (
  "data",
  "dts",
  "interop",
  "mixers",
  "nn",
  "planner",
  "recurrence",
  "rl",
  "spr",
  "tasks",
  "training",
)

__all__ = ["__version__", *_SUBPACKAGES]


def __getattr__(name: str):
  if name in _SUBPACKAGES:
    return importlib.import_module(f"{__name__}.{name}")
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
  return sorted(__all__)
