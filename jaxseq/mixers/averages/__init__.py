"""Mixers that keep running averages, weighted by exponentials."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.mixers.averages import aaren as aaren
  from jaxseq.mixers.averages import lightnet as lightnet
  from jaxseq.mixers.averages import rwkv4 as rwkv4
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
