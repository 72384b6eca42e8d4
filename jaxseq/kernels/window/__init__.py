"""Other libraries' kernels of `window_attention`: splash, tokamax and cuDNN."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.kernels.window import attend as attend
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
