"""Comparisons: arms and seeds of a problem, trained and evaluated."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.training.comparison import arms as arms
  from jaxseq.training.comparison import stacked as stacked
  from jaxseq.training.comparison import study as study
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
