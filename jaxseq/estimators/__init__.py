"""Estimators with scikit-learn's interface: fit, predict, transform, score.

    classifier = estimators.SequenceClassifier(mixer="s5").fit(X, y)
    classifier.predict(X_new)
    jaxseq.save("model.safetensors", classifier.model_)

X are series in any of the common forms: arrays (n, time) or (n, time,
channels), or (n, channels, time) as in aeon; lists of arrays of any lengths;
nested frames and frames with an index of instance and time, as in sktime. They
need scikit-learn: pip install ".[estimators]".
"""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.estimators import base as base
  from jaxseq.estimators import classifier as classifier
  from jaxseq.estimators import encoder as encoder
  from jaxseq.estimators import event_estimator as event_estimator
  from jaxseq.estimators import fitting as fitting
  from jaxseq.estimators import forecaster as forecaster
  from jaxseq.estimators import graph_estimator as graph_estimator
  from jaxseq.estimators import hawkes_model as hawkes_model
  from jaxseq.estimators import item_histories as item_histories
  from jaxseq.estimators import item_rows as item_rows
  from jaxseq.estimators import letter_encoder as letter_encoder
  from jaxseq.estimators import next_activity as next_activity
  from jaxseq.estimators import next_item as next_item
  from jaxseq.estimators import panel_rows as panel_rows
  from jaxseq.estimators import programs as programs
  from jaxseq.estimators import regressor as regressor
  from jaxseq.estimators import segmenter as segmenter
  from jaxseq.estimators import series_input as series_input
  from jaxseq.estimators import text_generator as text_generator
  from jaxseq.estimators import updating as updating
  from jaxseq.estimators.classifier import (
    SequenceClassifier as SequenceClassifier,
  )
  from jaxseq.estimators.encoder import (
    DisentangledEncoder as DisentangledEncoder,
  )
  from jaxseq.estimators.event_estimator import EventModel as EventModel
  from jaxseq.estimators.forecaster import Forecaster as Forecaster
  from jaxseq.estimators.graph_estimator import TemporalGraph as TemporalGraph
  from jaxseq.estimators.hawkes_model import HawkesModel as HawkesModel
  from jaxseq.estimators.letter_encoder import Encoder as Encoder
  from jaxseq.estimators.next_activity import NextActivity as NextActivity
  from jaxseq.estimators.next_item import NextItem as NextItem
  from jaxseq.estimators.regressor import SequenceRegressor as SequenceRegressor
  from jaxseq.estimators.segmenter import Segmenter as Segmenter
  from jaxseq.estimators.text_generator import TextGenerator as TextGenerator
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
