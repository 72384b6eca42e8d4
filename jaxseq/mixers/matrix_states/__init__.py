"""Mixers that keep a matrix a head, a sum of outer products."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
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
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
