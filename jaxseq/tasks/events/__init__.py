"""Event sequences: networks, likelihoods, futures, metrics and baselines."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.tasks.events import answers as answers
  from jaxseq.tasks.events import arms as arms
  from jaxseq.tasks.events import baselines as baselines
  from jaxseq.tasks.events import event_calibration as event_calibration
  from jaxseq.tasks.events import event_futures as event_futures
  from jaxseq.tasks.events import event_likelihood as event_likelihood
  from jaxseq.tasks.events import event_next_k as event_next_k
  from jaxseq.tasks.events import event_rates as event_rates
  from jaxseq.tasks.events import event_sequences as event_sequences
  from jaxseq.tasks.events import event_start as event_start
  from jaxseq.tasks.events import event_windows as event_windows
  from jaxseq.tasks.events import future_baselines as future_baselines
  from jaxseq.tasks.events import gap_mixture as gap_mixture
  from jaxseq.tasks.events import hawkes_fit as hawkes_fit
  from jaxseq.tasks.events import metrics as metrics
  from jaxseq.tasks.events import network as network
  from jaxseq.tasks.events import rate_models as rate_models
  from jaxseq.tasks.events import task as task
  from jaxseq.tasks.events.task import TASK as TASK
  from jaxseq.tasks.events.task import Config as Config
  from jaxseq.tasks.events.task import Problem as Problem
  from jaxseq.tasks.events.task import intensities as intensities
  from jaxseq.tasks.events.task import make_network as make_network
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
