"""Data sets that ship inside installed packages, and procedural tasks.

  splits = data.load("mnist1d", seed=0)
  splits.train.inputs.shape  # (4000, 40, 1)

`data.names()` lists the sets. `jaxseq.data.tokens` samples tasks on the device,
`jaxseq.data.trajectories` holds recorded episodes, `jaxseq.data.factors` makes
series with known factors, `jaxseq.data.domains` splits between subjects or
devices, `jaxseq.data.files` reads the formats that the papers' sets come in.
Nothing is ever downloaded: a package that is not installed raises
`MissingData`.
"""

from jaxseq.data.datasets import ArrayDataset
from jaxseq.data.datasets import Info
from jaxseq.data.datasets import MissingData
from jaxseq.data.datasets import Splits
from jaxseq.data.datasets import carve_valid
from jaxseq.data.datasets import check
from jaxseq.data.datasets import take
from jaxseq.data.padding import pad_sequences
from jaxseq.data.registry import load
from jaxseq.data.registry import loader
from jaxseq.data.registry import names
from jaxseq.data.registry import register

__all__ = [
  "ArrayDataset",
  "Info",
  "MissingData",
  "Splits",
  "carve_valid",
  "check",
  "load",
  "loader",
  "names",
  "pad_sequences",
  "register",
  "take",
]
