"""What every experiment shares: configs, checkpoints, metrics, host loop.

The modules are imported when first used, so that a program pays only for
those that it needs (Orbax, matplotlib and tensorboardX are not light):

  app            absl entry point; a user's mistake becomes one sentence
  configuration  ml_collections config -> validated frozen dataclass
  run_directory  the directory of one run: config.json, versions.json
  files          JSON and text files that are always whole
  lock           one program at a time writes to that directory
  checkpoint     asynchronous Orbax checkpoints, verified when restored
  scalars        metrics.jsonl and TensorBoard event files
  loop           chunks of compiled updates, logging, checkpoints, exact resume
  signals        a stop that is asked for by SIGTERM or SIGINT
  progress       bar with metrics, speed and time left
  comparison     arms and seeds of a problem, start to end
  devices        meshes, placement, processes, seeds, watchdog
  supervised     a problem's state and its updates by gradient
  mixed_lengths  loss and gradient of a planned batch on many devices
  planned        training on planned batches
  optimizers     parameter groups by path; recipes: those of the papers
  figures        empty figures; plots: learning curves as PNG
  tables         results on the terminal
  aggregates     IQM, bootstrap intervals and other statistics over runs
"""

import importlib

_MODULES = (
  "aggregates",
  "animation",
  "app",
  "array_files",
  "checkpoint",
  "comparison",
  "configuration",
  "devices",
  "errors",
  "figures",
  "files",
  "integrity",
  "leaves",
  "lock",
  "loop",
  "mixed_lengths",
  "optimizers",
  "planned",
  "plots",
  "progress",
  "recipes",
  "run_directory",
  "scalars",
  "signals",
  "supervised",
  "tables",
)

__all__ = list(_MODULES)


def __getattr__(name: str):
  if name in _MODULES:
    return importlib.import_module(f"{__name__}.{name}")
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
  return sorted(__all__)
