"""Mixers with vector states behind gates."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.mixers.gated import elman as elman
  from jaxseq.mixers.gated import gru as gru
  from jaxseq.mixers.gated import hgrn as hgrn
  from jaxseq.mixers.gated import lstm as lstm
  from jaxseq.mixers.gated import mingru as mingru
  from jaxseq.mixers.gated import minlstm as minlstm
  from jaxseq.mixers.gated import slstm as slstm
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
