"""Forecasting of a multivariate series: a window in, the next values out.

The windows of a span are cut on the device, out of the span itself: the
thousand windows that share a value do not hold it a thousand times. Values that
were missing, and were filled, are read as inputs and are not scored.
"""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
from types import MappingProxyType
from typing import Any
from typing import Literal
from typing import NamedTuple

from flax import linen
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import _validate
from jaxseq import data
from jaxseq import nn
from jaxseq.tasks import base
from jaxseq.tasks import conformal
from jaxseq.tasks import losses
from jaxseq.tasks import outputs
from jaxseq.tasks import task

# Added to a window's variance, as in the code of arXiv:2205.14415.
EPSILON = 1e-5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """The options of arms that a comparison may have for all of them.

  Attributes:
    channels: "independent": each channel is a sequence of its own, and all of
      them share the network (arXiv:2211.14730); "mixed": an element of the
      sequence is all channels at one time.
    normalize: whether each channel of a window is shifted and scaled to mean 0
      and standard deviation 1, and the forecast is put back (Kim et al., ICLR
      2022, "RevIN"; Liu et al., arXiv:2205.14415).
    affine: whether the normalised channels get a learnt scale and shift.
  """

  channels: Literal["independent", "mixed"] = "independent"
  normalize: bool = True
  affine: bool = False


@dataclasses.dataclass(frozen=True)
class ArmConfig(Options, base.ArmConfig):
  """The network and the training of one arm, with `Options`.

  Attributes:
    objective: what is minimized: "mse", "mae", or the "quantile_loss" of
      `quantile`, which makes forecasts of that quantile.
    quantile: above 0 and below 1.
  """

  _: dataclasses.KW_ONLY
  objective: Literal["mse", "mae", "quantile_loss"] = "mse"
  quantile: float = 0.5

  def __post_init__(self):
    super().__post_init__()
    _validate.number("quantile", self.quantile)
    if not 0 < self.quantile < 1:
      expected = "a number above 0 and below 1"
      raise _validate.error("quantile", self.quantile, expected)

  @property
  def forecast_quantile(self) -> float | None:
    """The quantile that is forecast; None for a mean or a median."""
    return self.quantile if self.objective == "quantile_loss" else None


class Spans(NamedTuple):
  """The three spans of a series; the windows lie at every step.

  Attributes:
    train: (time, channels) float32.
    valid: (time, channels) float32, from the first validation input on; None
      without a validation part.
    test: (time, channels) float32, from the first test input on.
    input_length: times of an input.
    horizon: times of a target.
    observed: by part, (time, channels) bool, False where a value was filled;
      empty if none was.
  """

  train: np.ndarray
  valid: np.ndarray | None
  test: np.ndarray
  input_length: int
  horizon: int
  observed: Mapping[str, np.ndarray] = MappingProxyType({})

  def with_flags(self, part: str) -> np.ndarray | None:
    """Returns the span of a part, with flags as further channels if there are.

    Returns:
      (time, channels) float32, or (time, 2 channels) with 1.0 behind the values
      where they were measured, and 0.0 where they were filled.
    """
    span = getattr(self, part)
    if span is None or part not in self.observed:
      return span
    flags = self.observed[part].astype(np.float32)
    return np.concatenate([span, flags], axis=1)


def spans(splits: data.Splits) -> Spans:
  """Returns what the windows of `jaxseq.data` were cut from.

  Args:
    splits: windows at every step, as from `data.forecasting.make_splits`.

  Raises:
    ValueError: if the parts are no such windows.
  """

  def joined(windows, last):
    return np.concatenate([windows[:-1, 0], windows[-1], last])

  def join(name, part):
    inputs, targets = part.inputs, part.targets
    if (
      inputs.ndim != 3
      or targets.ndim != 3
      or targets.shape[::2] != inputs.shape[::2]
    ):
      raise ValueError(
        f"{name}: targets: got shape {targets.shape} beside inputs of shape "
        f"{inputs.shape}, expected values (windows, horizon, channels)."
      )
    span = joined(inputs, targets[-1])
    length = inputs.shape[1]
    if not np.array_equal(span[length : length + len(inputs)], targets[:, 0]):
      raise ValueError(
        f"{name}: got windows apart, expected one at every step of a span."
      )
    return np.asarray(span, np.float32)

  parts = dict(zip(("train", "valid", "test"), splits[:3]))
  observed = {
    name: joined(part.extras.observed, part.extras.observed[-1, :0])
    for name, part in parts.items()
    if part is not None and part.extras.observed is not None
  }
  return Spans(
    *(part and join(name, part) for name, part in parts.items()),
    splits.train.inputs.shape[1],
    splits.train.targets.shape[1],
    observed,
  )


class Forecaster(linen.Module):
  """A sequence network that forecasts all times of a horizon at once.

  The network reads the window; the values of the horizon are read out of its
  last state.

  Attributes:
    config: options of the network, which pools.
    horizon: times to forecast.
    channels: see `Options`.
    normalize: see `Options`.
    affine: see `Options`.
    quantile: of the values to come, that forecasts are; None for their middle.
  """

  config: nn.NetworkConfig
  horizon: int
  channels: str = "independent"
  normalize: bool = True
  affine: bool = False
  quantile: float | None = None

  @linen.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    """Forecasts.

    Args:
      x: (*batch, time, channels).
      train: whether dropout is on, and batch norm uses batch statistics.

    Returns:
      (*batch, horizon, channels).
    """
    count = x.shape[-1]
    if self.normalize:
      mean = lax.stop_gradient(x.mean(axis=-2, keepdims=True))
      variance = lax.stop_gradient(x.var(axis=-2, keepdims=True))
      deviation = jnp.sqrt(variance + EPSILON)
      x = (x - mean) / deviation
    if self.affine:
      scale = self.param("scale", linen.initializers.ones, (count,))
      shift = self.param("shift", linen.initializers.zeros, (count,))
      x = x * scale + shift
    if self.channels == "independent":
      network = nn.SequenceNetwork(self.config, self.horizon, name="network")
      y, _ = network(jnp.swapaxes(x, -1, -2)[..., None], train=train)
      y = jnp.swapaxes(y, -1, -2)
    else:
      network = nn.SequenceNetwork(
        self.config, self.horizon * count, name="network"
      )
      y, _ = network(x, train=train)
      y = y.reshape(*y.shape[:-1], self.horizon, count)
    if self.affine:
      # As in the code of the paper: the scale may come close to 0.
      y = (y - shift) / (scale + EPSILON**2)
    return y * deviation + mean if self.normalize else y


def make_forecaster(arm: ArmConfig, horizon: int) -> Forecaster:
  """Returns the model of an arm."""
  return Forecaster(
    arm.network,
    horizon,
    arm.channels,
    arm.normalize,
    arm.affine,
    arm.forecast_quantile,
  )


def windows(span: jax.Array, starts: jax.Array, length: int) -> jax.Array:
  """Cuts windows (n, length, channels) that begin at `starts` (n,)."""
  return jax.vmap(
    lambda start: lax.dynamic_slice_in_dim(span, start, length, axis=0)
  )(starts)


class Problem(base.ArrayProblem):
  """Forecasting a series.

  Args:
    arm: network and batch size, in windows; the network pools.
    series: the spans.

  Raises:
    ValueError: if the network does not pool, or batches are larger than the
      number of training windows.
  """

  train_metrics = ("mse", "mae", "quantile_loss")
  at_least = 128

  def __init__(self, arm: ArmConfig, series: Spans):
    base.check_pooling(arm.network, True, "a window has one forecast")
    self.objective = self.validated = self.metric = arm.objective
    self.input_length = series.input_length
    self.total = series.input_length + series.horizon
    self.channels = series.train.shape[1]
    spans = {x: series.with_flags(x) for x in ("train", "valid", "test")}
    super().__init__(
      arm,
      make_forecaster(arm, series.horizon),
      spans,
      len(series.train) - self.total + 1,
    )

  def init(self, key: jax.Array) -> base.PyTree:
    """Returns the variables of the network."""
    window = self.data["train"][: self.input_length, : self.channels]
    return self.network.init(key, jnp.asarray(window))

  def sample(
    self, key: jax.Array, update: jax.Array, data: base.PyTree
  ) -> jax.Array:
    """Draws windows: each once before any comes again."""
    return windows(data["train"], self.draw(key, update), self.total)

  def inputs(self, batch: jax.Array) -> tuple[jax.Array]:
    """Returns the first part of windows (n, time, channels)."""
    return (batch[:, : self.input_length, : self.channels],)

  def score(
    self, outputs: jax.Array, batch: jax.Array
  ) -> tuple[dict[str, jax.Array], jax.Array | int]:
    """Returns "mse" and "mae" over windows, times and channels.

    With them comes "quantile_loss" where a quantile is forecast. Values that
    were filled do not count.
    """
    future = batch[:, self.input_length :]
    targets, known = jnp.split(future, [self.channels], axis=-1)
    weight, mean = len(batch), jnp.mean
    if known.shape[-1]:
      weight = known.sum()

      def mean(x):
        return (x * known).sum() / jnp.maximum(weight, 1)

    error = outputs - targets
    metrics = {"mse": mean(error**2), "mae": mean(jnp.abs(error))}
    quantile = self.arm.forecast_quantile
    if quantile is not None:
      loss = losses.quantile_loss(outputs, targets, quantile)
      metrics["quantile_loss"] = mean(loss)
    return metrics, weight

  def average(
    self, examples: jax.Array, function: Callable
  ) -> dict[str, jax.Array]:
    """Averages metrics over all windows of a span."""
    starts = jnp.arange(examples.shape[0] - self.total + 1)
    return super().average(
      starts,
      lambda starts, key: function(windows(examples, starts, self.total), key),
    )


def baselines(
  series: Spans, period: int, part: Literal["test", "valid"] = "test"
) -> dict[str, dict[str, float]]:
  """Scores what needs no training, over all windows of a span.

  Args:
    series: the spans.
    period: length of the season in steps, at most the input length.
    part: which span; without a validation part there is nothing to score.

  Returns:
    "mse" and "mae" of "repeat last" (the last value of the window) and of
    "seasonal naive" (the value a whole number of periods before), where values
    were measured.

  Raises:
    ValueError: if the input does not hold a period.
  """
  length, horizon = series.input_length, series.horizon
  _validate.integer("period", period, 1, length)
  span, channels = series.with_flags(part), series.train.shape[1]
  if span is None:
    return {}
  view = np.lib.stride_tricks.sliding_window_view(
    span, length + horizon, axis=0
  )
  places = {
    "repeat last": np.full(horizon, length - 1),
    "seasonal naive": length - period + np.arange(horizon) % period,
  }
  totals, count = {name: np.zeros(2) for name in places}, 0
  # In parts: all windows at once may not fit into memory.
  for start in range(0, len(view), 256):
    windows = np.asarray(view[start : start + 256], np.float64)
    values, known = np.split(windows, [channels], axis=1)
    known = (
      known[..., length:] if known.size else np.ones_like(values[..., length:])
    )
    count += known.sum()
    for name, place in places.items():
      error = (values[..., length:] - values[..., place]) * known
      totals[name] += np.square(error).sum(), np.abs(error).sum()
  return {
    name: {"mse": float(mse / count), "mae": float(mae / count)}
    for name, (mse, mae) in totals.items()
  }


def compute(
  network: Forecaster, variables: Any, arguments: dict[str, jax.Array]
) -> dict[str, jax.Array]:
  """Returns "forecast" (n, horizon, channels), standardized as the inputs.

  With it come "lower_80" and "upper_80", the ends of its intervals, and those
  of the other levels that the variables have widths of; NaN where too few
  values were measured to know a width.
  """
  forecast = network.apply(variables, arguments["inputs"])
  arrays = {"forecast": forecast}
  for level, width in variables.get(conformal.COLLECTION, {}).items():
    width = jnp.where(width < 0, jnp.nan, width)
    arrays[f"lower_{level}"] = forecast - width
    arrays[f"upper_{level}"] = forecast + width
  return arrays


def _predict(model, examples):
  """Returns a row for each time of each forecast."""
  arrays, prepared = model.outputs(examples.dataset), model.preparation
  count, horizon, channels = arrays["forecast"].shape
  names = prepared.channels or tuple(f"channel_{i}" for i in range(channels))
  shown = np.ones((count, horizon), bool)
  columns = outputs.rows(examples.ids, shown, "step")
  columns["step"] += 1
  if examples.times is not None:
    columns["time"] = np.asarray(examples.times).reshape(-1)
  tables = {"": arrays["forecast"]}
  for level in sorted(model.variables.get(conformal.COLLECTION, ())):
    for end in ("lower", "upper"):
      tables[f"_{end}_{level}%"] = arrays[f"{end}_{level}"]
  if examples.labeled:
    tables["_target"] = examples.dataset.targets
  for ending, values in tables.items():
    # In the channels' own units.
    values = prepared.restore(np.asarray(values)).reshape(-1, channels)
    columns |= {f"{x}{ending}": y for x, y in zip(names, values.T)}
  return columns, arrays


def _calibrate(network, variables, splits):
  """Returns variables with intervals that the validation part says."""
  # Around another quantile than the middle an interval is not as wide below as
  # above.
  if splits.valid is None or network.quantile not in (None, 0.5):
    return variables
  errors = conformal.errors(network, variables, splits.valid)
  return conformal.with_intervals(variables, errors)


TASK = task.Task(
  name="forecasting",
  arm=ArmConfig,
  problem=lambda arm, series, config: Problem(arm, series),
  metric="mse",
  better="lower",
  unit="windows",
  columns={
    "mse": "MSE",
    "mae": "MAE",
    "quantile_loss": "quantile loss",
    "valid_mse": "validation MSE",
  },
  kind="forecasting",
  outputs=outputs.Outputs(
    network=Forecaster,
    arguments=lambda network, dataset: outputs.present(inputs=dataset.inputs),
    compute=compute,
    predict=_predict,
    calibrate=_calibrate,
  ),
  title="{subject}: errors on the test span",
  source=spans,
  baselines=lambda series, config, part: baselines(series, config.period, part),
)
