"""Forecasting of a multivariate series: a window in, the next values out.

Windows are cut from their span on the device, so that overlapping windows do
not store a value more than once. Missing values that were filled are inputs
but are not scored.
"""

from collections.abc import Callable
import dataclasses
from typing import Literal

from flax import linen
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import nn
from jaxseq import validate
from jaxseq.tasks import base
from jaxseq.tasks import losses
from jaxseq.tasks import outputs
from jaxseq.tasks import sizes
from jaxseq.tasks import task
from jaxseq.tasks.forecasting import baselines as forecast_baselines
from jaxseq.tasks.forecasting import conformal
from jaxseq.tasks.forecasting.forecast_spans import Spans as Spans
from jaxseq.tasks.forecasting.forecast_spans import places
from jaxseq.tasks.forecasting.forecast_spans import spans as spans
from jaxseq.tasks.forecasting.forecast_spans import windows as windows
from jaxseq.types import PyTree

# Added to a window's variance, as in the code of arXiv:2205.14415.
EPSILON = 1e-5
# Share of a panel's training windows whose series counts as unseen.
UNSEEN = 0.1
# Maximum number of seasons that the linear map of a window reads.
LINEAR = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """Options of arms that a comparison can also set for all of them.

  Attributes:
    channels: "independent": each channel is a sequence of its own, and all of
      them share the network (arXiv:2211.14730); "mixed": an element of the
      sequence is all channels at one time.
    normalize: whether each channel of a window is shifted and scaled to mean 0
      and standard deviation 1, and the forecast is scaled back (Kim et al.,
      ICLR 2022, "RevIN"; Liu et al., arXiv:2205.14415).
    affine: whether the normalized channels get a learned scale and shift.
    series_width: width of the vector that is learned for each series of a
      panel, and for series that are not in the training part.
    from_season: whether the network forecasts the difference to the seasonal
      naive forecast plus a linear map of the window; training begins with a
      difference of 0.
    valid_windows: maximum number of validation windows, evenly spread, that
      monitor training; None for all of them.
  """

  channels: Literal["independent", "mixed"] = "independent"
  normalize: bool = True
  affine: bool = False
  series_width: int = 8
  from_season: bool = False
  valid_windows: int | None = None


@dataclasses.dataclass(frozen=True)
class ArmConfig(Options, base.ArmConfig):
  """Options of an arm's network and training, with `Options`.

  Attributes:
    objective: minimized loss: "mse", "mae", or the "quantile_loss" of
      `quantile`, which makes forecasts of that quantile.
    quantile: above 0 and below 1.
    period: steps of the season that scales errors; None for no season.
  """

  _: dataclasses.KW_ONLY
  objective: Literal["mse", "mae", "quantile_loss"] = "mse"
  quantile: float = 0.5
  period: int | None = None

  def __post_init__(self):
    super().__post_init__()
    validate.integer("series_width", self.series_width, 1)
    if self.valid_windows is not None:
      validate.integer("valid_windows", self.valid_windows, 1)
    validate.number("quantile", self.quantile)
    if not 0 < self.quantile < 1:
      expected = "a number above 0 and below 1"
      raise validate.error("quantile", self.quantile, expected)

  @property
  def forecast_quantile(self) -> float | None:
    """The forecast quantile; None for a mean or a median."""
    return self.quantile if self.objective == "quantile_loss" else None


class Forecaster(linen.Module):
  """A sequence network that forecasts all times of a horizon at once.

  The network reads the window; the values of the horizon are predicted from its
  pooled output.

  Attributes:
    config: options of the network, which pools.
    horizon: times to forecast.
    channels: see `Options`.
    normalize: see `Options`.
    affine: see `Options`.
    quantile: the forecast quantile; None for a mean or a median.
    known: number of features that are known ahead, per time.
    series: number of series of a panel, each with a learned vector; 0 for a
      single series.
    series_width: see `Options`.
    season: steps of the season of the naive forecast that is added, see
      `Options`; 0 for no season.
  """

  config: nn.NetworkConfig
  horizon: int
  channels: str = "independent"
  normalize: bool = True
  affine: bool = False
  quantile: float | None = None
  known: int = 0
  series: int = 0
  series_width: int = 8
  season: int = 0

  @linen.compact
  def __call__(
    self,
    x: jax.Array,
    known: jax.Array | None = None,
    series: jax.Array | None = None,
    train: bool = False,
  ) -> jax.Array:
    """Forecasts the next values of windows.

    Args:
      x: (*batch, time, channels).
      known: (*batch, time + horizon, features), values known ahead, if any.
      series: (*batch,) int32, the number of the series, 0 for one that was not
        in the training part; None for a single series.
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
    window = x
    if self.affine:
      scale = self.param("scale", linen.initializers.ones, (count,))
      shift = self.param("shift", linen.initializers.zeros, (count,))
      x = x * scale + shift
    along, time = self._along(known, series, x), x.shape[-2]
    # Width of the window's summary, which the known columns are combined with.
    width = self.config.stack.d_model if self.known else 0
    if self.channels == "independent":
      network = nn.SequenceNetwork(
        self.config, self.horizon + width, name="network"
      )
      x = jnp.swapaxes(x, -1, -2)[..., None]
      if along is not None:
        along = along[..., None, :, :]
        shape = (*x.shape[:-1], along.shape[-1])
        read = jnp.broadcast_to(along[..., :time, :], shape)
        x = jnp.concatenate([x, read], axis=-1)
      y, _ = network(x, train=train)
      y, summary = jnp.split(y, [self.horizon], axis=-1)
      if self.known:
        y += self._ahead(summary, along[..., time:, :], 1)[..., 0]
      y = jnp.swapaxes(y, -1, -2)
    else:
      network = nn.SequenceNetwork(
        self.config, self.horizon * count + width, name="network"
      )
      if along is not None:
        x = jnp.concatenate([x, along[..., :time, :]], axis=-1)
      y, _ = network(x, train=train)
      y, summary = jnp.split(y, [self.horizon * count], axis=-1)
      y = y.reshape(*y.shape[:-1], self.horizon, count)
      if self.known:
        y += self._ahead(summary, along[..., time:, :], count)
    if self.affine:
      # As in the code of the paper, since the scale may come close to 0.
      y = (y - shift) / (scale + EPSILON**2)
    if self.season:
      y += self._from_season(window)
    return y * deviation + mean if self.normalize else y

  def _from_season(self, x):
    """Returns the seasonal naive forecast plus a linear map of the window."""
    last = x[..., -self.season :, :]
    naive = jnp.tile(last, (-(-self.horizon // self.season), 1))
    # If a window is longer than in training, only its end is read.
    length = min(x.shape[-2], LINEAR * self.season)
    shape = (length, self.horizon)
    linear = self.param("linear", linen.initializers.zeros_init(), shape)
    added = jnp.einsum("...tc,th->...hc", x[..., -length:, :], linear)
    return naive[..., : self.horizon, :] + added

  def _along(self, known, series, x):
    """Known values and series vectors (*batch, time + horizon, features)."""
    parts = [known] if self.known else []
    if self.series:
      table = linen.Embed(
        self.series + 1, self.series_width, name="series_table"
      )
      vector = table(series)[..., None, :]
      total = x.shape[-2] + self.horizon
      shape = (*vector.shape[:-2], total, self.series_width)
      parts.append(jnp.broadcast_to(vector, shape))
    return jnp.concatenate(parts, axis=-1) if parts else None

  def _ahead(self, summary, along, count):
    """Returns the effect of known values, (*batch, horizon, count)."""
    # One hidden layer that all steps share.
    width = self.config.stack.d_model
    hidden = linen.Dense(width, name="ahead_step")(along)
    hidden += linen.Dense(width, name="ahead_window")(summary)[..., None, :]
    return linen.Dense(count, name="ahead")(jax.nn.gelu(hidden))


def make_forecaster(
  arm: ArmConfig, horizon: int, known: int = 0, series: int = 0
) -> Forecaster:
  """Returns the `Forecaster` of an arm."""
  return Forecaster(
    arm.network,
    horizon,
    arm.channels,
    arm.normalize,
    arm.affine,
    arm.forecast_quantile,
    known,
    series,
    arm.series_width,
    (arm.period or 0) if arm.from_season else 0,
  )


class Problem(base.ArrayProblem):
  """Forecasting a series or a panel.

  Args:
    arm: network and batch size, in windows; the network pools.
    series: the spans, see `Spans`.

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
    # Values, and flags of measured ones.
    self.scored = (2 if series.observed else 1) * self.channels
    numbers = series.series.get("train", np.zeros(1, np.int32))
    known = series.known["train"].shape[1] if series.known else 0
    # A tuple of floats, since `program_key` compares it.
    self.scale: tuple[float, ...] | None = None
    if arm.period is not None:
      found = forecast_baselines.scale(series, arm.period)
      self.scale = tuple(found.tolist())
    spans = {x: series.whole(x) for x in ("train", "valid", "test")}
    if arm.valid_windows is not None and spans["valid"] is not None:
      span, starts = places(spans["valid"], self.total)
      spans["valid"] = span, _spread(starts, arm.valid_windows)
    super().__init__(
      arm,
      make_forecaster(arm, series.horizon, known, int(numbers.max())),
      spans,
      len(places(spans["train"], self.total)[1]),
    )

  def init(self, key: jax.Array) -> base.PyTree:
    """Returns the initial variables of the network."""
    span, starts = places(self.data["train"], self.total)
    first = windows(jnp.asarray(span), jnp.asarray(starts[:1]), self.total)
    one = jax.tree.map(lambda x: x[0], self.inputs(first))
    variables = self.network.init(key, *one)
    if not self.network.season:
      return variables
    params = dict(variables["params"])
    for name in {"network", "ahead"} & set(params):
      params[name] = base.last_changed(params[name], base.zeros)
    return {**variables, "params": params}

  def sample(
    self, key: jax.Array, update: jax.Array, data: base.PyTree
  ) -> jax.Array:
    """Draws windows; each comes once before any is repeated."""
    span, starts = places(data["train"], self.total)
    index = self.draw(key, update)
    batch = windows(span, jnp.asarray(starts)[index], self.total)
    if self.network.series:
      # The vector of unseen series is trained on a share of all windows.
      key = jax.random.fold_in(key, update)
      unseen = jax.random.bernoulli(key, UNSEEN, (len(batch), 1))
      batch = batch.at[..., -1].multiply(~unseen)
    return batch

  def inputs(self, batch: jax.Array) -> tuple[jax.Array | None, ...]:
    """Returns the network's arguments for windows (n, time, channels)."""
    values = batch[:, : self.input_length, : self.channels]
    if not (self.network.known or self.network.series):
      return (values,)
    known = batch[..., self.scored : self.scored + self.network.known]
    number = batch[:, 0, -1].astype(jnp.int32) if self.network.series else None
    return values, known if self.network.known else None, number

  def score(
    self, outputs: jax.Array, batch: jax.Array
  ) -> tuple[dict[str, jax.Array], jax.Array | int]:
    """Returns "mse" and "mae" over windows, times and channels.

    It adds "mase", see `forecast_baselines.scale`, if there is a season, and
    "quantile_loss" if a quantile is forecast. Values that were filled do not
    count.
    """
    future = batch[:, self.input_length :, : self.scored]
    targets, known = jnp.split(future, [self.channels], axis=-1)
    weight, mean = len(batch), jnp.mean
    if known.shape[-1]:
      weight = known.sum()

      def mean(x):
        return (x * known).sum() / jnp.maximum(weight, 1)

    error = outputs - targets
    metrics = {"mse": mean(error**2), "mae": mean(jnp.abs(error))}
    if self.scale is not None:
      metrics["mase"] = mean(jnp.abs(error) / jnp.asarray(self.scale))
    quantile = self.arm.forecast_quantile
    if quantile is not None:
      loss = losses.quantile_loss(outputs, targets, quantile)
      metrics["quantile_loss"] = mean(loss)
    return metrics, weight

  def average(
    self, examples: jax.Array, function: Callable
  ) -> dict[str, jax.Array]:
    """Averages metrics over all windows of a span."""
    span, starts = places(examples, self.total)
    return super().average(
      jnp.asarray(starts),
      lambda starts, key: function(windows(span, starts, self.total), key),
    )


def _spread(starts, most):
  """Returns at most `most` of the starts, evenly spread."""
  count = min(most, len(starts))
  return starts[np.arange(count) * len(starts) // count]


def compute(
  network: Forecaster, variables: PyTree, arguments: dict[str, jax.Array]
) -> dict[str, jax.Array]:
  """Returns "forecast" (n, horizon, channels), standardized like the inputs.

  It adds "lower_80" and "upper_80", the ends of its intervals, and those of the
  other levels that the variables have widths for; NaN if too few values were
  measured to know a width.
  """
  along = (arguments.get("known"), arguments.get("series"))
  forecast = network.apply(variables, arguments["inputs"], *along)
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
  if prepared.series is not None:
    name = {prepared.series: _series_names(prepared, examples, columns["id"])}
    columns = {"id": columns.pop("id"), **name, **columns}
  if examples.times is not None:
    columns["time"] = np.asarray(examples.times).reshape(-1)
  tables = {"": arrays["forecast"]}
  for level in sorted(model.variables.get(conformal.COLLECTION, ())):
    for end in ("lower", "upper"):
      tables[f"_{end}_{level}%"] = arrays[f"{end}_{level}"]
  if examples.labeled:
    tables["_target"] = examples.dataset.targets
  for ending, values in tables.items():
    # In the original units of the channels.
    values = prepared.restore(np.asarray(values), examples.dataset)
    values = values.reshape(-1, channels)
    columns |= {f"{x}{ending}": y for x, y in zip(names, values.T)}
  return columns, arrays


def _series_names(prepared, examples, ids):
  """The series of each row; the identifier if it was not in training."""
  numbers = np.repeat(
    examples.dataset.extras.series, len(ids) // len(examples.ids)
  )
  return np.where(numbers > 0, np.array(prepared.names)[numbers - 1], ids)


def _calibrate(network, variables, splits):
  """Returns variables with intervals fitted on the validation part."""
  # Intervals are symmetric, which holds for the median but not for other
  # quantiles.
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
    "mase": "MASE",
    "quantile_loss": "quantile loss",
    "valid_mse": "validation MSE",
  },
  kind="forecasting",
  outputs=outputs.Outputs(
    network=Forecaster,
    arguments=lambda network, dataset: outputs.present(
      inputs=dataset.inputs,
      known=dataset.extras.known,
      series=dataset.extras.series,
    ),
    # Columns known ahead are as long as the windows in training.
    # A seasonal map has weights for each time of the window.
    time_axis=lambda network: None if network.known or network.season else 1,
    compute=compute,
    predict=_predict,
    calibrate=_calibrate,
  ),
  title="{subject}: errors on the test span",
  source=spans,
  baselines=lambda series, config, part: forecast_baselines.baselines(
    series,
    config.period,
    part,
    smoothing=config.from_season and part == "test",
  ),
  count=lambda series: int(np.size(series.train)),
  own_files=task.OwnFiles(
    fields={
      "input_length": None,
      "period": None,
      "from_season": True,
      "valid_windows": sizes.VALID_WINDOWS,
      "horizons": (24,),
      "batch_size": 32,
      "chunks_per_evaluation": 1,
    },
    network={"pooling": "last"},
    stack={"norm": "layer"},
  ),
)
