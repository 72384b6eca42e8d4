"""Sequence mixers: modules of pure functions with one contract.

`get("s5")` returns the module of a mixer, `names()` lists them; the contract is
documented in `jaxseq.mixers.registry`, and functions that mixers share are in
`jaxseq.mixers.contract`.
"""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.mixers import averages as averages
  from jaxseq.mixers import contract as contract
  from jaxseq.mixers import gated as gated
  from jaxseq.mixers import head_parts as head_parts
  from jaxseq.mixers import keys_and_values as keys_and_values
  from jaxseq.mixers import matrix_states as matrix_states
  from jaxseq.mixers import passes as passes
  from jaxseq.mixers import positions as positions
  from jaxseq.mixers import registry as registry
  from jaxseq.mixers import rtrl as rtrl
  from jaxseq.mixers import state_space as state_space
  from jaxseq.mixers.averages import aaren as aaren
  from jaxseq.mixers.averages import lightnet as lightnet
  from jaxseq.mixers.averages import rwkv4 as rwkv4
  from jaxseq.mixers.contract import Mixer as Mixer
  from jaxseq.mixers.gated import elman as elman
  from jaxseq.mixers.gated import gru as gru
  from jaxseq.mixers.gated import hgrn as hgrn
  from jaxseq.mixers.gated import lstm as lstm
  from jaxseq.mixers.gated import mingru as mingru
  from jaxseq.mixers.gated import minlstm as minlstm
  from jaxseq.mixers.gated import slstm as slstm
  from jaxseq.mixers.keys_and_values import attention as attention
  from jaxseq.mixers.keys_and_values import block_float as block_float
  from jaxseq.mixers.keys_and_values import fox as fox
  from jaxseq.mixers.keys_and_values import latent_attention as latent_attention
  from jaxseq.mixers.keys_and_values import nsa as nsa
  from jaxseq.mixers.keys_and_values import path_attention as path_attention
  from jaxseq.mixers.keys_and_values import routing as routing
  from jaxseq.mixers.matrix_states import based as based
  from jaxseq.mixers.matrix_states import comba as comba
  from jaxseq.mixers.matrix_states import gated_deltanet as gated_deltanet
  from jaxseq.mixers.matrix_states import gdn2 as gdn2
  from jaxseq.mixers.matrix_states import gla as gla
  from jaxseq.mixers.matrix_states import gsa as gsa
  from jaxseq.mixers.matrix_states import hgrn2 as hgrn2
  from jaxseq.mixers.matrix_states import jrt as jrt
  from jaxseq.mixers.matrix_states import linear_attention as linear_attention
  from jaxseq.mixers.matrix_states import log_linear as log_linear
  from jaxseq.mixers.matrix_states import mesa as mesa
  from jaxseq.mixers.matrix_states import mlstm as mlstm
  from jaxseq.mixers.matrix_states import mlstm_large as mlstm_large
  from jaxseq.mixers.matrix_states import mom as mom
  from jaxseq.mixers.matrix_states import retention as retention
  from jaxseq.mixers.matrix_states import rwkv6 as rwkv6
  from jaxseq.mixers.matrix_states import rwkv7 as rwkv7
  from jaxseq.mixers.matrix_states import shm as shm
  from jaxseq.mixers.matrix_states import ttt as ttt
  from jaxseq.mixers.registry import current_options as current_options
  from jaxseq.mixers.registry import fresh_state as fresh_state
  from jaxseq.mixers.registry import get as get
  from jaxseq.mixers.registry import make_config as make_config
  from jaxseq.mixers.registry import module_of as module_of
  from jaxseq.mixers.registry import names as names
  from jaxseq.mixers.registry import register as register
  from jaxseq.mixers.registry import traits as traits
  from jaxseq.mixers.state_space import discretize as discretize
  from jaxseq.mixers.state_space import ffm as ffm
  from jaxseq.mixers.state_space import hippo as hippo
  from jaxseq.mixers.state_space import lru as lru
  from jaxseq.mixers.state_space import mamba as mamba
  from jaxseq.mixers.state_space import mamba2 as mamba2
  from jaxseq.mixers.state_space import mamba3 as mamba3
  from jaxseq.mixers.state_space import rglru as rglru
  from jaxseq.mixers.state_space import rtu as rtu
  from jaxseq.mixers.state_space import s4 as s4
  from jaxseq.mixers.state_space import s4d as s4d
  from jaxseq.mixers.state_space import s5 as s5
  from jaxseq.mixers.state_space import short_conv as short_conv
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
