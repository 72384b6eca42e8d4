"""Comparisons: arms and seeds of a problem, trained and evaluated."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.training.comparison import arms as arms
  from jaxseq.training.comparison import curves as curves
  from jaxseq.training.comparison import experiment as experiment
  from jaxseq.training.comparison import report as report
  from jaxseq.training.comparison import run as run
  from jaxseq.training.comparison import seed_program as seed_program
  from jaxseq.training.comparison import stacked as stacked
  from jaxseq.training.comparison import suite as suite
  from jaxseq.training.comparison import supervised_arms as supervised_arms
  from jaxseq.training.comparison import work as work
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
