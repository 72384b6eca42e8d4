"""Mamba's recurrence: diagonal systems that depend on the input."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.recurrence.selective import selective as selective
  from jaxseq.recurrence.selective.selective import METHODS as METHODS
  from jaxseq.recurrence.selective.selective import (
    selective_scan as selective_scan,
  )
  from jaxseq.recurrence.selective.selective import (
    selective_step as selective_step,
  )
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
