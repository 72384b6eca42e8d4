"""Trained models: one file each, predictions of new data, programs to export.

    model = jaxseq.load("runs/mine/s5/model.safetensors")
    predictions = model.predict("new.csv")
    predictions.write("predictions.csv")

Every supervised experiment and `experiments.dts` saves such a file for each
arm. It contains the network, its variables, the data preparation, and versions;
nothing in it is ever executed.
"""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.models import exported as exported
  from jaxseq.models import item_server as item_server
  from jaxseq.models import kinds as kinds
  from jaxseq.models import model as model
  from jaxseq.models import model_file as model_file
  from jaxseq.models import predict_mode as predict_mode
  from jaxseq.models import predictions as predictions
  from jaxseq.models import pretrained as pretrained
  from jaxseq.models import run_models as run_models
  from jaxseq.models import semantic_beam as semantic_beam
  from jaxseq.models import stream_mode as stream_mode
  from jaxseq.models import token_model as token_model
  from jaxseq.models.model import Model as Model
  from jaxseq.models.model import make as make
  from jaxseq.models.model_file import load as load
  from jaxseq.models.model_file import save as save
  from jaxseq.models.predictions import Predictions as Predictions
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
