"""Others' kernels of `window_attention`: splash, tokamax's and cuDNN's."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.kernels.window import attend as attend
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
