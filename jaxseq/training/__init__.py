"""What every experiment shares: configs, checkpoints, metrics, host loop.

The modules are imported when first used, so that a program pays only for
those that it needs (Orbax, matplotlib and tensorboardX are not light):

  app          absl entry point; a user's mistake becomes one sentence
  config       ml_collections config -> validated frozen dataclass
  workdir      the directory of one run: config.json, versions.json
  lock         one program at a time writes to that directory
  checkpoint   asynchronous Orbax checkpoints, verified when restored
  metrics      metrics.jsonl and TensorBoard event files
  loop         chunks of compiled updates, logging, checkpoints, exact resume
  signals      a stop that is asked for by SIGTERM or SIGINT
  progress     bar with metrics, speed and time left
  arms         what comparisons have in common; training one arm
  mesh         devices that share examples, parameters and time
  placement    on which devices a comparison's programs run
  processes    several processes that run one program
  watchdog     ends a program that has come to a standstill
  seeds        one program for many seeds, over all devices
  supervised   a problem's state and its updates by gradient
  study        arms and seeds of a supervised problem, start to end
  mixed_lengths  loss and gradient of a planned batch on many devices
  planned      training on planned batches
  optimizers   parameter groups by path; recipes: those of the papers
  figures      empty figures; plots: learning curves as PNG
  tables       results on the terminal
"""

import importlib

_MODULES = (
  "app",
  "arms",
  "array_files",
  "checkpoint",
  "config",
  "errors",
  "figures",
  "integrity",
  "leaves",
  "lock",
  "loop",
  "mesh",
  "metrics",
  "mixed_lengths",
  "optimizers",
  "placement",
  "planned",
  "plots",
  "processes",
  "progress",
  "recipes",
  "seeds",
  "signals",
  "study",
  "supervised",
  "tables",
  "watchdog",
  "workdir",
)

__all__ = list(_MODULES)


def __getattr__(name: str):
  if name in _MODULES:
    return importlib.import_module(f"{__name__}.{name}")
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
  return sorted(__all__)
