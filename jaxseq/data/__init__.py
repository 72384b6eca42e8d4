"""Data sets that ship inside installed packages, and procedural tasks.

  splits = data.load("mnist1d", seed=0)
  splits.train.inputs.shape  # (4000, 40, 1)

`data.names()` lists the sets. `table`, `forecast_table`, `event_table`, `npz`,
`ts`, `text_files` and `image_folders` read your own files, and
`info.preparation` of any set prepares other data in the same way: it is one of
`jaxseq.data.sources`, which has one module per kind of data.
`jaxseq.data.tokens` samples tasks on the device, `jaxseq.data.trajectories`
holds recorded episodes, `jaxseq.data.factors` generates series with known
factors, `jaxseq.data.domains` splits between subjects or devices,
`jaxseq.data.files` reads the formats of the papers' sets, and
`jaxseq.data.token_file` reads and writes token files of any size as Megatron
does. Nothing is ever downloaded: a package that is not installed raises
`MissingData`. Data that a model cannot learn from are rejected, see `checks`
and `missing`.
"""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.data import arrays as arrays
  from jaxseq.data import cache as cache
  from jaxseq.data import chat_sets as chat_sets
  from jaxseq.data import chats as chats
  from jaxseq.data import checks as checks
  from jaxseq.data import datasets as datasets
  from jaxseq.data import domains as domains
  from jaxseq.data import event_graphs as event_graphs
  from jaxseq.data import factors as factors
  from jaxseq.data import files as files
  from jaxseq.data import fm_index as fm_index
  from jaxseq.data import forecast_tables as forecast_tables
  from jaxseq.data import forecast_windows as forecast_windows
  from jaxseq.data import graph_generators as graph_generators
  from jaxseq.data import images as images
  from jaxseq.data import known_columns as known_columns
  from jaxseq.data import missing as missing
  from jaxseq.data import mnist1d as mnist1d
  from jaxseq.data import npz_series as npz_series
  from jaxseq.data import packages as packages
  from jaxseq.data import padding as padding
  from jaxseq.data import panel_windows as panel_windows
  from jaxseq.data import panels as panels
  from jaxseq.data import pickles as pickles
  from jaxseq.data import point_processes as point_processes
  from jaxseq.data import recordings as recordings
  from jaxseq.data import registry as registry
  from jaxseq.data import scale as scale
  from jaxseq.data import series_frames as series_frames
  from jaxseq.data import series_table as series_table
  from jaxseq.data import sources as sources
  from jaxseq.data import summaries as summaries
  from jaxseq.data import table_layouts as table_layouts
  from jaxseq.data import text as text
  from jaxseq.data import text_prompts as text_prompts
  from jaxseq.data import text_tokens as text_tokens
  from jaxseq.data import token_file as token_file
  from jaxseq.data import token_text as token_text
  from jaxseq.data import tokens as tokens
  from jaxseq.data import trajectories as trajectories
  from jaxseq.data import ts_series as ts_series
  from jaxseq.data import value_checks as value_checks
  from jaxseq.data.checks import check as check
  from jaxseq.data.checks import check_splits as check_splits
  from jaxseq.data.datasets import ArrayDataset as ArrayDataset
  from jaxseq.data.datasets import Domains as Domains
  from jaxseq.data.datasets import Extras as Extras
  from jaxseq.data.datasets import Factors as Factors
  from jaxseq.data.datasets import Info as Info
  from jaxseq.data.datasets import MissingData as MissingData
  from jaxseq.data.datasets import Splits as Splits
  from jaxseq.data.datasets import carve_valid as carve_valid
  from jaxseq.data.datasets import take as take
  from jaxseq.data.padding import pad_sequences as pad_sequences
  from jaxseq.data.registry import load as load
  from jaxseq.data.registry import loader as loader
  from jaxseq.data.registry import names as names
  from jaxseq.data.registry import register as register
  from jaxseq.data.sources.base import Examples as Examples
  from jaxseq.data.sources.base import Source as Source
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
