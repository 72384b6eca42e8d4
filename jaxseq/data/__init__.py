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

from jaxseq.data.batching import Batch
from jaxseq.data.batching import StreamBatch
from jaxseq.data.batching import batches
from jaxseq.data.batching import pad_sequences
from jaxseq.data.batching import permutation
from jaxseq.data.batching import steps_per_epoch
from jaxseq.data.batching import streams
from jaxseq.data.prefetching import Prefetcher
from jaxseq.data.prefetching import prefetch
from jaxseq.data.registry import load
from jaxseq.data.registry import loader
from jaxseq.data.registry import names
from jaxseq.data.registry import register
from jaxseq.data.types import ArrayDataset
from jaxseq.data.types import Info
from jaxseq.data.types import MissingData
from jaxseq.data.types import Splits
from jaxseq.data.types import carve_valid
from jaxseq.data.types import check
from jaxseq.data.types import take

__all__ = [
  "ArrayDataset",
  "Batch",
  "Info",
  "MissingData",
  "Prefetcher",
  "Splits",
  "StreamBatch",
  "batches",
  "carve_valid",
  "check",
  "load",
  "loader",
  "names",
  "pad_sequences",
  "permutation",
  "prefetch",
  "register",
  "steps_per_epoch",
  "streams",
  "take",
]
