"""A supervised comparison from start to end: results, table, baselines."""

import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxseq.training import supervised
from jaxseq.training.comparison import arms
from jaxseq.training.comparison import report
from jaxseq.training.comparison import run
from jaxseq.training.comparison import supervised_arms


def _arm(rate):
  """Finds the mean of numbers; the evaluation is the distance to it."""
  data = {"x": np.linspace(0, 1, 8, dtype=np.float32)}

  def sample(key, update, data):
    return jnp.take(data["x"], supervised.draw(key, update, 8, 4))

  def loss(variables, batch, carry, key):
    del key
    value = jnp.mean((variables["params"]["w"] - batch) ** 2)
    return value, supervised.Loss({}, {}, carry)

  def evaluate(variables, data):
    w = variables["params"]["w"]
    return {"error": jnp.abs(w - data["x"].mean())}

  def init(key):
    return {"params": {"w": jax.random.normal(key, ()) + 3, "b": jnp.ones(4)}}

  problem = types.SimpleNamespace(
    init=init,
    sample=sample,
    loss=loss,
    validate=evaluate,
    evaluate=evaluate,
    data=data,
    carry=None,
  )
  return supervised_arms.Arm(problem, optax.sgd(rate), "error", 4)


@pytest.fixture
def comparison():
  config = supervised_arms.Supervised(
    arms={"fast": {}, "slow": {}},
    num_seeds=2,
    num_updates=60,
    updates_per_chunk=10,
    tensorboard=False,
    references={"perfect": 0.0},
  )
  return config, {"fast": _arm(0.05), "slow": _arm(0.001)}


def _run(comparison, tmp_path, mode="train", **options):
  config, made = comparison
  directory = arms.open_directory(str(tmp_path / "run"), config, "toy", mode)
  return report.main(
    config,
    directory,
    made,
    mode,
    title="toy",
    columns={"error": "test error"},
    **options,
  )


def test_results(comparison, tmp_path, capsys):
  baselines = {"middle": {"error": 0.25}, "unknown": {"other": 1.0}}
  results = _run(comparison, tmp_path, baselines=baselines)
  directory = tmp_path / "run"
  output = capsys.readouterr().out
  assert "test error" in output
  assert "mean ± standard deviation over 2 seeds" in output
  lines = {line.split("  ")[0]: line for line in output.splitlines()}
  assert "0.250" in lines["middle"]
  assert lines["unknown"].count("-") == 3
  assert "mean" not in lines["middle"]
  fast, slow = results["fast"], results["slow"]
  assert fast["parameters"] == 5
  assert len(fast["error"]) == 2
  # Noise of batches of 4 numbers stays; the slow one has hardly moved.
  assert max(fast["error"]) < 0.1 < 1 < min(slow["error"])
  written = json.loads((directory / "results.json").read_text())
  assert written["fast"]["error"] == fast["error"]
  assert written["baselines"]["middle"] == {"error": 0.25}
  assert (directory / "learning_curve.png").is_file()

  shown = _run(comparison, tmp_path, "evaluate")
  assert shown["fast"]["error"] == fast["error"]
  assert "seconds" not in shown["fast"]
  config, made = comparison
  step, state = run.restore(config, directory, "fast", made["fast"])
  assert step == shown["fast"]["step"] == 60
  assert supervised_arms.num_parameters(state.variables["params"]) == 5
  metrics = made["fast"].program(config).evaluate(state)
  np.testing.assert_array_equal(metrics["error"], fast["error"])


def test_what_is_drawn(comparison, tmp_path, monkeypatch):
  drawn = {}

  def learning_curve(path, curves, **options):
    drawn.update(options, curves=curves)
    return path

  monkeypatch.setattr(report.plots, "learning_curve", learning_curve)
  _run(
    comparison,
    tmp_path,
    baselines={"middle": {"error": 0.25}},
    drawn=["slow"],
  )
  assert list(drawn["curves"]) == ["slow"]
  steps, values = drawn["curves"]["slow"]
  np.testing.assert_array_equal(steps, [20, 40, 60])
  assert values.shape == (2, 3)
  assert drawn["references"] == {"middle": 0.25, "perfect": 0.0}
  config, made = comparison
  report.finish(
    config,
    tmp_path / "run",
    made,
    run.evaluate(config, tmp_path / "run", made),
    "train",
    title="toy",
    columns={"error": "test error"},
    levels={"other": 0.5},
  )
  assert drawn["references"] == {"other": 0.5, "perfect": 0.0}


@pytest.mark.parametrize("name", ["num_updates", "chunks_per_evaluation"])
def test_wrong_options(name):
  with pytest.raises(ValueError, match=f"{name}: got 0, expected an integer"):
    supervised_arms.Supervised(arms={"a": {}}, **{name: 0})
