"""Data sets that ship inside installed packages, and procedural tasks.

  splits = data.load("mnist1d", seed=0)
  for batch in data.batches(splits.train, batch_size=64, seed=0):
    ...

`data.names()` lists the sets. `jaxseq.data.tokens` samples tasks on the device,
`jaxseq.data.trajectories` holds recorded episodes, `jaxseq.data.factors` makes
series with known factors, `jaxseq.data.domains` splits between subjects or
devices, `jaxseq.data.files` reads the formats that the papers' sets come in.
Nothing is ever downloaded: a package that is not installed raises
`MissingData`.
"""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.data import activities as activities
  from jaxseq.data import anomalies as anomalies
  from jaxseq.data import arrays as arrays
  from jaxseq.data import batching as batching
  from jaxseq.data import cache as cache
  from jaxseq.data import documents as documents
  from jaxseq.data import domains as domains
  from jaxseq.data import ecg_dynamics as ecg_dynamics
  from jaxseq.data import factors as factors
  from jaxseq.data import files as files
  from jaxseq.data import forecasting as forecasting
  from jaxseq.data import hashing as hashing
  from jaxseq.data import images as images
  from jaxseq.data import listops as listops
  from jaxseq.data import mnist1d as mnist1d
  from jaxseq.data import packages as packages
  from jaxseq.data import pathfinder as pathfinder
  from jaxseq.data import pendulum as pendulum
  from jaxseq.data import point_processes as point_processes
  from jaxseq.data import prefetching as prefetching
  from jaxseq.data import registry as registry
  from jaxseq.data import series as series
  from jaxseq.data import statistics as statistics
  from jaxseq.data import text as text
  from jaxseq.data import tokens as tokens
  from jaxseq.data import trajectories as trajectories
  from jaxseq.data import types as types
  from jaxseq.data import watch as watch
  from jaxseq.data.batching import Batch as Batch
  from jaxseq.data.batching import StreamBatch as StreamBatch
  from jaxseq.data.batching import batches as batches
  from jaxseq.data.batching import pad_sequences as pad_sequences
  from jaxseq.data.batching import permutation as permutation
  from jaxseq.data.batching import steps_per_epoch as steps_per_epoch
  from jaxseq.data.batching import streams as streams
  from jaxseq.data.prefetching import Prefetcher as Prefetcher
  from jaxseq.data.prefetching import prefetch as prefetch
  from jaxseq.data.registry import load as load
  from jaxseq.data.registry import loader as loader
  from jaxseq.data.registry import names as names
  from jaxseq.data.registry import register as register
  from jaxseq.data.types import ArrayDataset as ArrayDataset
  from jaxseq.data.types import Info as Info
  from jaxseq.data.types import MissingData as MissingData
  from jaxseq.data.types import Splits as Splits
  from jaxseq.data.types import carve_valid as carve_valid
  from jaxseq.data.types import check as check
  from jaxseq.data.types import take as take
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
