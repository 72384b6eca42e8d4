"""Disentangled codes of series, as a scikit-learn transformer."""

from collections.abc import Mapping
import dataclasses
from typing import Any
from typing import final

import numpy as np

from jaxseq import validate
from jaxseq.data import sources
from jaxseq.dts import autoencoder
from jaxseq.dts import code_task
from jaxseq.dts import decoders
from jaxseq.dts import methods
from jaxseq.dts import problem as dts_problem
from jaxseq.dts import series_encoders
from jaxseq.estimators import _scikit_learn
from jaxseq.estimators import base
from jaxseq.types import PyTree

# Widths of encoder and decoder, as in configs/dts.
_CONVOLUTIONS = (32, 64, 64)
_DENSE = (256, 256)


@base.documented
@dataclasses.dataclass(eq=False, repr=False)
class DisentangledEncoder(
  _scikit_learn.base.ClassNamePrefixFeaturesOutMixin,
  _scikit_learn.base.TransformerMixin,
  base.SeriesEstimator,
):
  """Codes of series of one length, by a disentangling auto-encoder.

    codes = DisentangledEncoder(latent=6, method="dts").fit_transform(X)

  Args:
    OPTIONS
    latent: number of coordinates of a code. If `mixer` is None convolutions
      encode; d_model, num_layers and dropout are those of a mixer.
    method: the objective, one of `dts.methods.METHODS`.
    method_options: further fields of `dts.methods.Config`.
    missing: handling of NaN: "refuse", "forward_fill" or "mean".
    channels_first: whether arrays are (n, channels, time), as in aeon.

  Attributes:
    model_: a `models.Model`.
    history_: lists by name: "update", metrics of training, and with early
      stopping "valid_neg_elbo".
    n_updates_: number of updates at which the variables were found.
    n_features_in_: number of channels; for a table of one channel, of times.
  """

  _task = code_task.TASK

  mixer: str | None = None
  _: dataclasses.KW_ONLY
  latent: int = 8
  method: str = "dts"
  method_options: Mapping[str, object] | None = None
  d_model: int = 32
  num_layers: int = 1
  batch_size: int = 64
  learning_rate: float = 1e-3
  weight_decay: float = 0.0

  @final
  def transform(self, X: object) -> np.ndarray:
    """Returns the means of q(z|x), (n, latent)."""
    return self._outputs(X)["code"].astype(np.float64)

  def inverse_transform(self, codes: Any) -> np.ndarray:
    """Decodes codes to series.

    Args:
      codes: (n, latent).

    Returns:
      Series (n, time, channels), in the units of X.
    """
    _scikit_learn.validation.check_is_fitted(self, "model_")
    codes = _scikit_learn.validation.check_array(codes, dtype=np.float32)
    validate.shape("codes", codes, ("n", self.latent))
    series = autoencoder.generate(
      self.model_.network, self.model_.variables, codes
    )
    return self.model_.preparation.restore(np.asarray(series))

  def score(self, X: Any, y: Any = None) -> float:
    """Returns the mean evidence lower bound in nats; higher is better."""
    del y
    return -float(np.mean(self._outputs(X)["anomaly"]))

  def score_samples(self, X: object) -> np.ndarray:
    """Returns the bound of each series, (n,); low for anomalous series."""
    return -self._outputs(X)["anomaly"]

  @property
  def _n_features_out(self):
    return self.latent

  def _targets(self, y: object, rows: base.Rows, *, reset: bool) -> base.Rows:
    del y, reset
    if self.missing == "mask":
      expected = "another one: a mask would be encoded, too"
      raise validate.error("missing", self.missing, expected)
    if len(rows.values) < 2:
      raise ValueError("X: got 1 sample, expected at least two. Add series.")
    return rows

  def _preparation(self, rows: base.Rows, train: np.ndarray) -> sources.Source:
    fields = self._standardization(rows, train)
    if fields.get("gaps"):
      expected = (
        "equal ones, as they would be encoded, too. Resample the series"
      )
      raise validate.error("X: index", "unequal steps", expected)
    return sources.SeriesSource(**fields)

  def _configure(self, batch_size: int) -> dts_problem.ArmConfig:
    encoder = series_encoders.EncoderConfig(kind="conv", widths=_CONVOLUTIONS)
    if self.mixer is not None:
      stack = self._network("none").stack
      encoder = series_encoders.EncoderConfig(kind="mixer", stack=stack)
    model = autoencoder.ModelConfig(
      encoder,
      decoders.DecoderConfig(kind="mlp", widths=_DENSE),
      self.latent,
    )
    options = {"anneal": "none", **dict(self.method_options or {})}
    return dts_problem.ArmConfig(
      model,
      methods.Config(method=self.method, **options),
      self._recipe(schedule="constant", max_grad_norm=5.0),
      batch_size=batch_size,
    )

  def _variables(
    self, network: Any, variables: PyTree, material: base.Material
  ) -> Any:
    return {"params": variables["params"]["model"]}
