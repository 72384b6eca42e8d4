"""Conformal intervals: ranks by hand, coverage, their way through files."""

import jax
import numpy as np
import pytest

import jaxseq
from jaxseq import data
from jaxseq import nn
from jaxseq.tasks import forecasting
from jaxseq.tasks.forecasting import conformal
from tests.models import cases


@pytest.mark.parametrize(
  ("count", "level", "rank"),
  # ceil((n + 1) level): ceil(9.6), ceil(20 * 0.95) = 19 exactly, ceil(3.2).
  [(11, 80, 10), (19, 95, 19), (18, 95, 19), (3, 80, 4)],
)
def test_ranks_by_hand(count, level, rank):
  assert conformal.rank(count, level) == rank
  assert (rank <= count) == (count >= conformal.fewest(level))


def test_widths_are_order_statistics_of_each_place():
  errors = np.array([[-i, 10 + i] for i in range(11)], np.float32)
  found = conformal.half_widths(np.random.default_rng(0).permutation(errors))
  # Eleven errors are too few for 95 %.
  assert list(found) == ["80"]
  np.testing.assert_array_equal(found["80"], [9, 19])
  assert conformal.half_widths(errors[:3]) == {}


def test_where_too_few_truths_are_known_there_are_no_ends():
  errors = np.array([[i, i] for i in range(1, 12)], np.float32)
  errors[3:, 1] = np.nan
  found = conformal.half_widths(errors)
  np.testing.assert_array_equal(found["80"], [10, -1])
  case = cases.case("forecasting")
  widths = np.full((3, 2), 0.5, np.float32)
  widths[:, 1] = -1
  variables = {**case.variables, conformal.COLLECTION: {"80": widths}}
  found = jax.jit(forecasting.compute, static_argnums=0)(
    case.problem.network, variables, {"inputs": case.splits.test.inputs}
  )
  assert np.isfinite(found["lower_80"][..., 0]).all()
  assert np.isnan(found["lower_80"][..., 1]).all()


def noise(seed, count, length=6, horizon=2):
  """Independent examples of heavy-tailed noise, of two sizes."""
  rng = np.random.default_rng(seed)
  x = rng.standard_t(3, (count, length + horizon, 2)) * [1.0, 20.0]
  x = x.astype(np.float32)
  return data.ArrayDataset(x[:, :length], x[:, length:])


def test_intervals_hold_as_many_truths_as_they_say():
  # An untrained network: the guarantee asks nothing of it.
  stack = nn.StackConfig("gru", d_model=8, num_layers=1)
  network = forecasting.Forecaster(nn.NetworkConfig(stack, pooling="last"), 2)
  valid, test = noise(0, 999), noise(1, 4000)
  variables = jax.jit(network.init)(jax.random.key(0), valid.inputs[0])
  splits = data.Splits(valid, valid, test, cases.INFO())
  variables = forecasting.TASK.outputs.calibrate(network, variables, splits)
  found = jax.jit(forecasting.TASK.outputs.compute, static_argnums=0)(
    network, variables, {"inputs": test.inputs}
  )
  for level in conformal.LEVELS:
    held = test.targets >= found[f"lower_{level}"]
    held &= test.targets <= found[f"upper_{level}"]
    # Given the widths, the coverage of one step and channel is a Beta(k, n + 1
    # - k) variable of deviation 0.0126 at 80 % and 0.0069 at 95 %; the test's
    # 4,000 examples add 0.0063 and 0.0034. Four deviations of both.
    bound = {80: 0.057, 95: 0.031}[level]
    np.testing.assert_allclose(held.mean(axis=0), level / 100, atol=bound)
  width = variables["intervals"]["80"]
  assert width.shape == (2, 2)
  # Each channel has its own.
  assert (width[:, 1] > 10 * width[:, 0]).all()


def test_intervals_go_into_the_file_the_table_and_the_program(tmp_path):
  model = cases.case("forecasting").model
  jaxseq.save(tmp_path / "model.safetensors", model)
  read = jaxseq.load(tmp_path / "model.safetensors")
  test = cases.case("forecasting").splits.test
  found, again = model.predict(test), read.predict(test)
  assert found.to_csv() == again.to_csv()
  middle = found["channel_1"]
  # Half as wide on both sides, in the channel's own units.
  width = np.tile(model.variables["intervals"]["80"][:, 1], len(test.inputs))
  width = width * model.preparation.deviation[1]
  for end, sign in (("lower", -1), ("upper", 1)):
    np.testing.assert_allclose(
      found[f"channel_1_{end}_80%"], middle + sign * width, rtol=1e-5
    )
  program = model.export()
  exported = program.call({"inputs": test.inputs[:3]})
  assert set(exported) == {"forecast", "lower_80", "upper_80"}
  np.testing.assert_allclose(
    exported["upper_80"], found.arrays["upper_80"][:3], rtol=2e-5, atol=2e-6
  )


def test_many_windows_are_thinned(monkeypatch):
  case = cases.case("forecasting")
  splits = case.splits
  calibrate = forecasting.TASK.outputs.calibrate
  network, variables = case.problem.network, case.variables
  monkeypatch.setattr(conformal, "_BATCH", 4)
  whole = calibrate(network, variables, splits)["intervals"]["80"]
  wanted = case.model.variables["intervals"]["80"]
  np.testing.assert_allclose(whole, wanted, rtol=2e-5, atol=2e-6)
  # Six numbers a window: room for five windows.
  monkeypatch.setattr(conformal, "_NUMBERS", 35)
  some = calibrate(network, variables, splits)["intervals"]["80"]
  count = len(splits.valid.inputs)
  rows = np.linspace(0, count - 1, 5).astype(int)
  forecast = jax.jit(network.apply)(variables, splits.valid.inputs[rows])
  errors = np.sort(np.abs(forecast - splits.valid.targets[rows]), axis=0)
  np.testing.assert_allclose(some, errors[4], rtol=2e-5, atol=2e-6)


def test_without_validation_there_are_none():
  case = cases.case("forecasting")
  splits = case.splits
  assert (
    forecasting.TASK.outputs.calibrate(
      case.problem.network, case.variables, splits._replace(valid=None)
    )
    is case.variables
  )
  few = splits._replace(valid=data.take(splits.valid, slice(0, 3)))
  assert "intervals" not in forecasting.TASK.outputs.calibrate(
    case.problem.network, case.variables, few
  )
