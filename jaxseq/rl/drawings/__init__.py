"""Drawings of the environments, for `jaxseq.rl.rendering`."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.rl.drawings import paint as paint
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
