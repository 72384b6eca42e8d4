"""Matrix states with exponential gates, as of an mLSTM."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.recurrence.mlstm import matrix_lstm as matrix_lstm
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
