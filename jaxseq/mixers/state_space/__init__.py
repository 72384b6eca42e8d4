"""Mixers that keep the states of linear systems, channel by channel."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
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
