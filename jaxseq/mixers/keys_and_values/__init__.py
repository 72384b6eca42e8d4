"""Mixers that keep keys and values of elements: attention."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.mixers.keys_and_values import attention as attention
  from jaxseq.mixers.keys_and_values import block_float as block_float
  from jaxseq.mixers.keys_and_values import fox as fox
  from jaxseq.mixers.keys_and_values import latent_attention as latent_attention
  from jaxseq.mixers.keys_and_values import nsa as nsa
  from jaxseq.mixers.keys_and_values import path_attention as path_attention
  from jaxseq.mixers.keys_and_values import routing as routing
  from jaxseq.mixers.keys_and_values import thin_keys as thin_keys
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
