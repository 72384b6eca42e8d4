"""Kinds of models, and what each module of one has.

NETWORK       class of the network, a Flax module whose fields are JSON
time_axis     network -> which axis of the arguments is time, of any
              length; None if there is none
arguments     (network, dataset) -> arrays by name, with an axis of examples
compute       (network, variables, arguments) -> arrays by name, likewise;
              a function that can be compiled and exported
predict       (model, examples) -> `Predictions`

A module of models with intervals that the network does not give also has

calibrate     (network, variables, splits) -> variables that have their widths
"""

from jaxseq import _registry

KINDS = _registry.Registry(
  "kind of model",
  {
    "classification": "jaxseq.models.class_model",
    "codes": "jaxseq.models.code_model",
    "events": "jaxseq.models.event_model",
    "forecasting": "jaxseq.models.horizon_model",
    "language": "jaxseq.models.token_model",
    "regression": "jaxseq.models.number_model",
  },
)
get = KINDS.get
names = KINDS.names
