"""Runs of experiments: configs, checkpoints, scalars, the host loop.

The modules are imported when first used, so that a program pays only for
those that it needs (Orbax, matplotlib and tensorboardX are not light):

  app            absl entry point; a user's mistake becomes one sentence
  configuration  config files -> validated frozen dataclasses
  run_directory  the directory of one run: config.json, versions.json
  files          JSON and text files that are always whole
  checkpoint     asynchronous Orbax checkpoints, verified when restored
  scalars        metrics.jsonl and TensorBoard event files
  loggers        those rows for wandb, trackio and mlflow
  loop           chunks of compiled updates, logging, checkpoints, exact resume
  signals        a stop that is asked for by SIGTERM or SIGINT
  progress       bar with metrics, speed and time left
  comparison     arms and seeds of a problem, start to end
  devices        meshes, placement, processes, seeds, watchdog
  shuffle        random orders, any part of which is computed alone
  finite         detects numbers that are not finite, and reacts
  supervised     a problem's state and its updates by gradient
  optimizers     parameter groups by path; recipes: those of the papers
  flat_parameters  parameters as a few long vectors
  figures        PNG and GIF files; plots: learning curves
  tables         results on the terminal
  aggregates     IQM, bootstrap intervals and other statistics over runs
"""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.training import aggregates as aggregates
  from jaxseq.training import app as app
  from jaxseq.training import batching as batching
  from jaxseq.training import checkpoint as checkpoint
  from jaxseq.training import comparison as comparison
  from jaxseq.training import compile_cache as compile_cache
  from jaxseq.training import configuration as configuration
  from jaxseq.training import devices as devices
  from jaxseq.training import errors as errors
  from jaxseq.training import feeding as feeding
  from jaxseq.training import figures as figures
  from jaxseq.training import files as files
  from jaxseq.training import finite as finite
  from jaxseq.training import flat_parameters as flat_parameters
  from jaxseq.training import integrity as integrity
  from jaxseq.training import loggers as loggers
  from jaxseq.training import loop as loop
  from jaxseq.training import optimizers as optimizers
  from jaxseq.training import per_seed as per_seed
  from jaxseq.training import plots as plots
  from jaxseq.training import prefetch as prefetch
  from jaxseq.training import progress as progress
  from jaxseq.training import recipes as recipes
  from jaxseq.training import run_directory as run_directory
  from jaxseq.training import scalars as scalars
  from jaxseq.training import shuffle as shuffle
  from jaxseq.training import signals as signals
  from jaxseq.training import supervised as supervised
  from jaxseq.training import tables as tables
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
