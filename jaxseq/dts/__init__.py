"""Disentangled time series: sequence VAEs whose latents keep information.

Li et al., "Towards Learning Disentangled Representations for Time Series", KDD
2022, arXiv:2105.08179, and the objectives it is compared with as settings of
one weighted form.

`estimators`, `divergences`, `regularization`, `schedules` and their like are
pure functions of arrays; `autoencoder` is a model with any mixer of the package
as backbone, and `problem` its training by `jaxseq.training`. `metrics` tells
how disentangled any representation is, `probes` and `downstream` what its codes
are good for, and `code_report` all of that for a trained model.

A latent is (batch, D), and q(z | x) is a Gaussian with mean `mu` and log
variance `logvar`, both (batch, D); the prior is standard normal. All
information is in nats.
"""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.dts import autoencoder as autoencoder
  from jaxseq.dts import backbones as backbones
  from jaxseq.dts import code_report as code_report
  from jaxseq.dts import code_scores as code_scores
  from jaxseq.dts import code_task as code_task
  from jaxseq.dts import decoders as decoders
  from jaxseq.dts import diagnostics as diagnostics
  from jaxseq.dts import divergences as divergences
  from jaxseq.dts import domain_adaptation as domain_adaptation
  from jaxseq.dts import downstream as downstream
  from jaxseq.dts import estimators as estimators
  from jaxseq.dts import evaluation as evaluation
  from jaxseq.dts import methods as methods
  from jaxseq.dts import metrics as metrics
  from jaxseq.dts import probes as probes
  from jaxseq.dts import problem as problem
  from jaxseq.dts import regularization as regularization
  from jaxseq.dts import schedules as schedules
  from jaxseq.dts import series_encoders as series_encoders
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
