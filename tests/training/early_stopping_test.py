"""Early stopping: what is kept of each seed, when a run ends, and resuming.

The toy walks through a valley: its validation metric is the distance to a
place that each seed passes at another update.
"""

import json
import shutil
import types
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxseq.training import _early_stopping
from jaxseq.training import run_directory
from jaxseq.training import scalars
from jaxseq.training import supervised
from jaxseq.training.comparison import _resumed_config
from jaxseq.training.comparison import run
from jaxseq.training.comparison import supervised_arms


class _State(NamedTuple):
  variables: dict[str, jax.Array]
  update: jax.Array
  best: _early_stopping.Best | None = None


def _state(update):
  update = jnp.asarray(update, jnp.int32)
  return _State({"w": jnp.stack([update, -update], axis=1) * 1.0}, update)


@pytest.mark.parametrize("higher", [True, False])
def test_what_is_kept(higher):
  rule = _early_stopping.Rule("score", higher, 2)
  state = rule.initial(_state([0, 0, 0]))
  shapes = jax.eval_shape(lambda: _state([0, 0, 0]))
  assert rule.template(shapes).best == jax.eval_shape(lambda: state.best)
  sign = 1 if higher else -1
  # The first gets better, the second stops and then would, the third is lost.
  scores = [[1, 3, np.nan], [2, 2, 1], [2, 3, np.nan], [5, 9, np.inf]]
  for update, row in enumerate(scores, 1):
    state = rule.keep(
      state._replace(**_state([update] * 3)._asdict() | {"best": state.best}),
      {"score": sign * np.array(row, float)},
    )
    stopped = rule.stopped(state).tolist()
    assert stopped == [False, update >= 3, update >= 4]
  assert state.best.update.tolist() == [4, 1, 2]
  assert (sign * state.best.score).tolist() == [5, 3, 1]
  assert rule.chosen(state).variables["w"].tolist() == [
    [4, -4],
    [1, -1],
    [2, -2],
  ]


def test_without_a_finite_score_the_last_variables_are_chosen(caplog):
  rule = _early_stopping.Rule("score", True, 2)
  state = rule.initial(_state([0, 0]))
  for update in range(1, 4):
    state = state._replace(
      **_state([update] * 2)._asdict() | {"best": state.best}
    )
    state = rule.keep(state, {"score": [np.nan, 1 - update]})
  assert rule.stopped(state).tolist() == [False, True]
  chosen = rule.chosen(state)
  assert chosen.variables["w"].tolist() == [[3, -3], [1, -1]]
  assert chosen.best.update.tolist() == [3, 1]
  assert (
    "1 of 2 seeds have had no evaluation with a finite score" in caplog.text
  )


def _arm(speed, stack=None, part="validation", better="lower"):
  """Goes down by `speed` times a step of a seed; the valley lies at 0."""

  def init(key):
    # At 3, or further up.
    place = 3 + jnp.floor(6 * jax.random.uniform(key))
    return {"params": {"w": place, "b": jnp.ones(4)}}

  def loss(variables, batch, carry, key):
    del batch, key
    return carry * variables["params"]["w"], supervised.Loss({}, {}, carry)

  def validate(variables, data):
    return {"error": jnp.abs(variables["params"]["w"] - data)}

  def evaluate(variables, data):
    return {"w": variables["params"]["w"] - data}

  problem = types.SimpleNamespace(
    init=init,
    sample=lambda key, update, data: data,
    loss=loss,
    validate=validate,
    evaluate=evaluate,
    data=np.zeros(()),
    carry=jnp.float32(speed),
  )
  return supervised_arms.Arm(
    problem, optax.sgd(1.0), "error", 4, part=part, better=better, stack=stack
  )


def _config(num_updates=200, patience=3):
  return supervised_arms.Supervised(
    arms={"one": {}, "two": {}},
    num_seeds=3,
    num_updates=num_updates,
    updates_per_chunk=1,
    chunks_per_evaluation=1,
    chunks_per_checkpoint=2,
    early_stopping=patience,
    tensorboard=False,
    keep_checkpoints=100,
  )


def _rows(directory):
  clocks = scalars.WALL_CLOCK_FIELDS
  return [
    {k: v for k, v in row.items() if k not in clocks}
    for row in scalars.read(directory)
  ]


def _numbers(results):
  clocks = ("seconds", "updates_per_second")
  return {
    name: {k: v for k, v in result.items() if k not in clocks}
    for name, result in results.items()
  }


@pytest.mark.slow
@pytest.mark.parametrize(
  "stack", [pytest.param(None, marks=pytest.mark.slow), 0]
)
def test_runs_end_early_and_go_on_as_if_never_stopped(tmp_path, stack):
  made = {"one": _arm(1.0, stack), "two": _arm(0.5, stack)}
  config, whole = _config(), tmp_path / "whole"
  results = _numbers(run.train(config, whole, made))
  for name, speed in (("one", 1.0), ("two", 0.5)):
    result = results[name]
    assert result["variables"] == "best on validation"
    # Each seed is measured where it passed the valley.
    np.testing.assert_array_equal(result["w"], 0)
    best = np.array(result["best_update"])
    steps, places = scalars.column(scalars.read(whole / name), "error")
    start = places[:, 0] + speed
    np.testing.assert_array_equal(best, start / speed)
    assert len(set(best)) > 1
  last = {name: scalars.read(whole / name)[-1]["step"] for name in made}
  longest = {name: max(results[name]["best_update"]) for name in made}
  if stack is None:
    assert last == {name: best + 3 for name, best in longest.items()}
  else:
    # One program: it ends when all seeds of all arms have stopped.
    assert set(last.values()) == {max(longest.values()) + 3}

  # As if killed at the fourth update, and at the end.
  part = tmp_path / "part"
  shutil.copytree(whole, part)
  for path in part.glob("*/checkpoints/*"):
    if int(path.name) > 4:
      shutil.rmtree(path)
  assert _numbers(run.train(config, part, made)) == results
  assert _numbers(run.train(config, part, made)) == results
  for name in made:
    assert json.dumps(_rows(part / name)) == json.dumps(_rows(whole / name))
  shown = run.evaluate(config, whole, made)
  for name in made:
    assert shown[name]["w"] == results[name]["w"]
    step, state = run.restore(config, whole, name, made[name])
    assert step == last[name]
    assert state.variables["params"]["w"].tolist() == results[name]["w"]


def test_a_run_that_never_stops_has_its_best(tmp_path):
  results = run.train(_config(3, 9), tmp_path, {"one": _arm(1.0)})
  # All are still on their way down: the last are the best.
  assert results["one"]["best_update"] == [3, 3, 3]
  assert scalars.read(tmp_path / "one")[-1]["step"] == 3


def test_a_seed_that_has_stopped_may_diverge(tmp_path):
  arm = _arm(1.0)

  def loss(variables, batch, carry, key):
    del batch, key
    w = variables["params"]["w"]
    # Four below the valley, where every seed has stopped, nothing is finite.
    return w * jnp.where(w > -4, 1.0, jnp.nan), supervised.Loss({}, {}, carry)

  arm.problem.loss = loss
  results = run.train(_config(), tmp_path, {"one": arm})
  np.testing.assert_array_equal(results["one"]["w"], 0)


def test_what_cannot_tell_is_refused():
  with pytest.raises(ValueError, match="as there is no validation part"):
    _arm(1.0, part="test").rule(2)
  with pytest.raises(ValueError, match="neither a higher nor a lower error"):
    _arm(1.0, better=None).rule(2)
  with pytest.raises(ValueError, match="early_stopping: got -1"):
    _config(patience=-1)


def test_by_default_it_stops_where_validation_can_tell():
  assert _arm(1.0).rule(0) is None
  assert _arm(1.0, part="test").rule(None) is None
  assert _arm(1.0, better=None).rule(None) is None
  assert _arm(1.0).rule(None).patience == _early_stopping.PATIENCE


def test_the_later_of_equals_is_kept_by_default_and_is_no_improvement():
  rule = _early_stopping.Rule("score", True, 2, automatic=True)
  state = rule.initial(_state([0, 0]))
  for update, row in enumerate([[1, 1], [1, 0], [1, 0], [1, 1]], 1):
    state = rule.keep(
      state._replace(**_state([update] * 2)._asdict() | {"best": state.best}),
      {"score": np.array(row, float)},
    )
  # Both have stopped after the third.
  assert state.best.update.tolist() == [3, 1]
  assert rule.stopped(state).all()


def test_the_beginning_counts_by_default(tmp_path):
  # All walk away from the valley.
  results = run.train(_config(patience=None), tmp_path, {"one": _arm(-1.0)})
  assert results["one"]["best_update"] == [0, 0, 0]
  assert scalars.read(tmp_path / "one")[-1]["step"] == _early_stopping.PATIENCE


def test_results_say_in_a_line_what_was_kept(tmp_path):
  results = run.train(_config(), tmp_path, {"one": _arm(1.0)})
  best = ", ".join(map(str, results["one"]["best_update"]))
  last = max(results["one"]["best_update"]) + 3
  assert results["one"]["kept"] == (
    f"error was best, 0, 0, 0, after update {best}, and rose until update "
    f"{last}: the best variables are kept"
  )


def test_runs_that_were_begun_with_other_defaults_go_on_with_them(tmp_path):
  before = {"early_stopping": None, "chunks_per_evaluation": 1, "seed": 0}
  continued = _resumed_config.continued
  assert continued(before, before, tmp_path) == before
  begun = {"early_stopping": 0, "chunks_per_evaluation": 5, "seed": 3}
  file = tmp_path / run_directory.CONFIG_FILE
  file.write_text(json.dumps({"config": begun}))
  # A seed that the command line does not repeat is refused later.
  assert continued(before, before, tmp_path) == {**begun, "seed": 0}
  after = {**before, "chunks_per_evaluation": 2}
  assert continued(before, after, tmp_path) == {**after, "early_stopping": 0}
  # Configs that say themselves when to stop are left alone.
  own = {**before, "early_stopping": 4}
  assert continued(own, own, tmp_path) == own
