"""Matrix states with exponential gates, as of an mLSTM."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.recurrence.mlstm import matrix_lstm as matrix_lstm
  from jaxseq.recurrence.mlstm.matrix_lstm import MLSTMState as MLSTMState
  from jaxseq.recurrence.mlstm.matrix_lstm import mlstm_initial as mlstm_initial
  from jaxseq.recurrence.mlstm.matrix_lstm import mlstm_scan as mlstm_scan
  from jaxseq.recurrence.mlstm.matrix_lstm import (
    mlstm_scan_heads as mlstm_scan_heads,
  )
  from jaxseq.recurrence.mlstm.matrix_lstm import mlstm_step as mlstm_step
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
