"""Forecasting of multivariate series."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.tasks.forecasting import baselines as baselines
  from jaxseq.tasks.forecasting import conformal as conformal
  from jaxseq.tasks.forecasting import figures as figures
  from jaxseq.tasks.forecasting import forecast_season as forecast_season
  from jaxseq.tasks.forecasting import forecast_spans as forecast_spans
  from jaxseq.tasks.forecasting import task as task
  from jaxseq.tasks.forecasting.forecast_spans import Spans as Spans
  from jaxseq.tasks.forecasting.forecast_spans import spans as spans
  from jaxseq.tasks.forecasting.forecast_spans import windows as windows
  from jaxseq.tasks.forecasting.task import EPSILON as EPSILON
  from jaxseq.tasks.forecasting.task import TASK as TASK
  from jaxseq.tasks.forecasting.task import UNSEEN as UNSEEN
  from jaxseq.tasks.forecasting.task import ArmConfig as ArmConfig
  from jaxseq.tasks.forecasting.task import Forecaster as Forecaster
  from jaxseq.tasks.forecasting.task import Options as Options
  from jaxseq.tasks.forecasting.task import Problem as Problem
  from jaxseq.tasks.forecasting.task import compute as compute
  from jaxseq.tasks.forecasting.task import make_forecaster as make_forecaster
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
