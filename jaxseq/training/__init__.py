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

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.training import animation as animation
  from jaxseq.training import app as app
  from jaxseq.training import arms as arms
  from jaxseq.training import array_files as array_files
  from jaxseq.training import checkpoint as checkpoint
  from jaxseq.training import config as config
  from jaxseq.training import errors as errors
  from jaxseq.training import figures as figures
  from jaxseq.training import integrity as integrity
  from jaxseq.training import leaves as leaves
  from jaxseq.training import lock as lock
  from jaxseq.training import loop as loop
  from jaxseq.training import mesh as mesh
  from jaxseq.training import metrics as metrics
  from jaxseq.training import mixed_lengths as mixed_lengths
  from jaxseq.training import optimizers as optimizers
  from jaxseq.training import placement as placement
  from jaxseq.training import planned as planned
  from jaxseq.training import plots as plots
  from jaxseq.training import processes as processes
  from jaxseq.training import progress as progress
  from jaxseq.training import recipes as recipes
  from jaxseq.training import seeds as seeds
  from jaxseq.training import signals as signals
  from jaxseq.training import stacked as stacked
  from jaxseq.training import statistics as statistics
  from jaxseq.training import study as study
  from jaxseq.training import supervised as supervised
  from jaxseq.training import tables as tables
  from jaxseq.training import watchdog as watchdog
  from jaxseq.training import workdir as workdir
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
