"""Event sequences: networks, likelihoods, futures, metrics and baselines."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.tasks.point_processes import event_answers as event_answers
  from jaxseq.tasks.point_processes import event_arms as event_arms
  from jaxseq.tasks.point_processes import event_baselines as event_baselines
  from jaxseq.tasks.point_processes import (
    event_calibration as event_calibration,
  )
  from jaxseq.tasks.point_processes import event_floors as event_floors
  from jaxseq.tasks.point_processes import event_futures as event_futures
  from jaxseq.tasks.point_processes import event_likelihood as event_likelihood
  from jaxseq.tasks.point_processes import event_metrics as event_metrics
  from jaxseq.tasks.point_processes import event_network as event_network
  from jaxseq.tasks.point_processes import event_next_k as event_next_k
  from jaxseq.tasks.point_processes import event_rates as event_rates
  from jaxseq.tasks.point_processes import event_sequences as event_sequences
  from jaxseq.tasks.point_processes import event_start as event_start
  from jaxseq.tasks.point_processes import event_windows as event_windows
  from jaxseq.tasks.point_processes import gap_mixture as gap_mixture
  from jaxseq.tasks.point_processes import hawkes_fit as hawkes_fit
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
