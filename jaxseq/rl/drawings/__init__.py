"""Drawings of the environments, for `jaxseq.rl.rendering`."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.rl.drawings import boards as boards
  from jaxseq.rl.drawings import bodies as bodies
  from jaxseq.rl.drawings import paint as paint
  from jaxseq.rl.drawings import reel as reel
  from jaxseq.rl.drawings import scenes as scenes
  from jaxseq.rl.drawings import timeline as timeline
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
