"""Disentangled codes of series, as a transformer of scikit-learn."""

from collections.abc import Mapping
import functools
from typing import Any

import numpy as np

from jaxseq import _validate
from jaxseq.dts import autoencoder
from jaxseq.dts import decoders
from jaxseq.dts import methods
from jaxseq.dts import problem as dts_problem
from jaxseq.dts import series_encoders
from jaxseq.estimators import _scikit_learn
from jaxseq.estimators import base
from jaxseq.estimators import series_input
from jaxseq.training import recipes
from jaxseq.training.comparison import supervised_arms

# Widths of encoder and decoder, as in configs/dts.
_CONVOLUTIONS = (32, 64, 64)
_DENSE = (256, 256)


@base.documented
class DisentangledEncoder(
  _scikit_learn.base.ClassNamePrefixFeaturesOutMixin,
  _scikit_learn.base.TransformerMixin,
  base.SequenceEstimator,
):
  """Codes of series of one length, by a disentangling auto-encoder.

    codes = DisentangledEncoder(latent=6, method="dts").fit_transform(X)

  Args:
    OPTIONS
    latent: coordinates of a code. Where `mixer` is None convolutions encode;
      d_model, num_layers and dropout are those of a mixer.
    method: the objective, one of `dts.methods.NAMES`.
    method_options: further fields of `dts.methods.Config`.
    missing: what becomes of NaN: "refuse", "forward_fill" or "mean".
    channels_first: whether arrays are (n, channels, time), as of aeon.

  Attributes:
    model_: a `models.Model`.
    history_: lists by name: "update", metrics of training, and with early
      stopping "valid_neg_elbo".
    n_updates_: updates after which the variables were found.
    n_features_in_: channels; of a table of one channel, times.
  """

  def __init__(
    self,
    mixer: str | None = None,
    *,
    mixer_options: Mapping[str, Any] | None = None,
    latent: int = 8,
    method: str = "dts",
    method_options: Mapping[str, Any] | None = None,
    d_model: int = 32,
    num_layers: int = 1,
    dropout: float = 0.0,
    num_updates: int = 1000,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.0,
    early_stopping: int = 0,
    validation_fraction: float = 0.1,
    evaluations: int = 20,
    missing: str = "refuse",
    channels_first: bool = False,
    random_state: int | None = None,
    verbose: int = 0,
  ):
    self.mixer = mixer
    self.mixer_options = mixer_options
    self.latent = latent
    self.method = method
    self.method_options = method_options
    self.d_model = d_model
    self.num_layers = num_layers
    self.dropout = dropout
    self.num_updates = num_updates
    self.batch_size = batch_size
    self.learning_rate = learning_rate
    self.weight_decay = weight_decay
    self.early_stopping = early_stopping
    self.validation_fraction = validation_fraction
    self.evaluations = evaluations
    self.missing = missing
    self.channels_first = channels_first
    self.random_state = random_state
    self.verbose = verbose

  def fit(self, X: Any, y: Any = None) -> "DisentangledEncoder":
    """Trains encoder and decoder from the beginning.

    Args:
      X: series, see `jaxseq.estimators`; at least two.
      y: not used.

    Raises:
      ValueError: naming what is not as expected.
    """
    del y
    if self.missing == "mask":
      expected = "another one: a mask would be encoded, too"
      raise _validate.error("missing", self.missing, expected)
    series = series_input.read(self, X, reset=True)
    count = len(series.values)
    if count < 2:
      raise ValueError("X: got 1 sample, expected at least two.")
    seed = self._seed()
    train, valid = self._divide(count, seed)
    prepared = self._prepared(series, train)
    splits = base.splits_of(
      prepared.prepare(series.values),
      train,
      valid,
      channels=prepared.channels,
      preparation=prepared,
    )
    fitted = self._train(functools.partial(self._arm, splits), seed)
    network = self._problem(splits).network
    variables = {"params": fitted.variables["params"]["model"]}
    self._keep("codes", network, variables, splits)
    self._n_features_out = self.latent
    return self

  def transform(self, X: Any) -> np.ndarray:
    """Returns the means of q(z|x), (n, latent)."""
    return self._outputs(X)["code"].astype(np.float64)

  def inverse_transform(self, codes: Any) -> np.ndarray:
    """Decodes codes.

    Args:
      codes: (n, latent).

    Returns:
      (n, time, channels), in the units of X.
    """
    _scikit_learn.validation.check_is_fitted(self, "model_")
    codes = _scikit_learn.validation.check_array(codes, dtype=np.float32)
    _validate.shape("codes", codes, ("n", self.latent))
    found = autoencoder.generate(
      self.model_.network, self.model_.variables, codes
    )
    return self.model_.preparation.restore(np.asarray(found))

  def score(self, X: Any, y: Any = None) -> float:
    """Returns the mean evidence lower bound in nats; higher is better."""
    del y
    return -float(np.mean(self._outputs(X)["anomaly"]))

  def score_samples(self, X: Any) -> np.ndarray:
    """Returns the bound of each series, (n,); the lower the stranger."""
    return -self._outputs(X)["anomaly"]

  def _problem(self, splits):
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
    arm = dts_problem.ArmConfig(
      model,
      methods.Config(method=self.method, **options),
      recipes.Recipe(
        learning_rate=self.learning_rate,
        weight_decay=self.weight_decay,
        schedule="constant",
        max_grad_norm=5.0,
      ),
      batch_size=min(self.batch_size, len(splits.train.inputs)),
    )
    return dts_problem.Problem(arm, splits, self.num_updates)

  def _arm(self, splits, config):
    problem = self._problem(splits)
    return supervised_arms.Arm(
      problem,
      dts_problem.make_optimizer(problem.arm, config.num_updates),
      problem.watched("neg_elbo"),
      examples=problem.arm.batch_size,
      unit="series",
      part=problem.part,
      better="lower",
    )
