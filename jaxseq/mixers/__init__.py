"""Sequence mixers: files of pure functions that all keep one contract.

`get("s5")` returns the module of a mixer, `names()` lists them; the contract is
written down in `jaxseq.mixers.registry`, and what mixers share is in
`jaxseq.mixers.contract`.
"""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.mixers import aaren as aaren
  from jaxseq.mixers import attention as attention
  from jaxseq.mixers import attention_cache as attention_cache
  from jaxseq.mixers import block_float as block_float
  from jaxseq.mixers import contract as contract
  from jaxseq.mixers import discretize as discretize
  from jaxseq.mixers import elman as elman
  from jaxseq.mixers import gated_deltanet as gated_deltanet
  from jaxseq.mixers import gla as gla
  from jaxseq.mixers import gru as gru
  from jaxseq.mixers import hgrn2 as hgrn2
  from jaxseq.mixers import hippo as hippo
  from jaxseq.mixers import jrt as jrt
  from jaxseq.mixers import latent_attention as latent_attention
  from jaxseq.mixers import lightnet as lightnet
  from jaxseq.mixers import linear_attention as linear_attention
  from jaxseq.mixers import lru as lru
  from jaxseq.mixers import lstm as lstm
  from jaxseq.mixers import mamba as mamba
  from jaxseq.mixers import mamba2 as mamba2
  from jaxseq.mixers import mamba3 as mamba3
  from jaxseq.mixers import mingru as mingru
  from jaxseq.mixers import minlstm as minlstm
  from jaxseq.mixers import mlstm as mlstm
  from jaxseq.mixers import mlstm_large as mlstm_large
  from jaxseq.mixers import mom as mom
  from jaxseq.mixers import positions as positions
  from jaxseq.mixers import registry as registry
  from jaxseq.mixers import rglru as rglru
  from jaxseq.mixers import routing as routing
  from jaxseq.mixers import rwkv4 as rwkv4
  from jaxseq.mixers import rwkv7 as rwkv7
  from jaxseq.mixers import s4 as s4
  from jaxseq.mixers import s4d as s4d
  from jaxseq.mixers import s5 as s5
  from jaxseq.mixers import short_conv as short_conv
  from jaxseq.mixers import slstm as slstm
  from jaxseq.mixers.contract import Mixer as Mixer
  from jaxseq.mixers.registry import get as get
  from jaxseq.mixers.registry import make_config as make_config
  from jaxseq.mixers.registry import module_of as module_of
  from jaxseq.mixers.registry import names as names
  from jaxseq.mixers.registry import register as register
  from jaxseq.mixers.registry import traits as traits
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
