"""Numbers that are not finite: found, told, left out, and other runs go on."""

import dataclasses
import functools
import json
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxseq.training import checkpoint
from jaxseq.training import finite
from jaxseq.training import optimizers
from jaxseq.training import per_seed
from jaxseq.training import scalars
from jaxseq.training.comparison import arms
from jaxseq.training.comparison import report
from jaxseq.training.comparison import run
from jaxseq.training.comparison import seed_program

_NAN, _INF = float("nan"), float("inf")


@pytest.mark.parametrize("value", [_NAN, _INF, -_INF])
def test_flags_of_leaves(value):
  tree = {
    "a": jnp.zeros((2, 3)).at[1, 2].set(value),
    "b": jnp.zeros(4),
    "c": jnp.arange(3),
    "d": jnp.asarray(value, jnp.bfloat16),
  }
  assert finite.flags(tree).tolist() == [True, False, False, True]
  assert finite.paths(tree) == ["a", "b", "c", "d"]
  assert finite.flags({}).shape == (0,)


class _Arrays(NamedTuple):
  variables: dict[str, np.ndarray]


def _guard(losses=("loss",), seeds=2):
  return finite.Guard(["a", "b"], seeds, lambda s: s.variables, None, losses)


def test_a_guard_names_what_is_wrong_and_since_when():
  guard = _guard()
  state = _Arrays({"w": np.zeros(4), "x": np.zeros(4), "y": np.zeros(4)})
  rows = [
    (10, {"loss": [1.0, _NAN, 1.0, 1.0], "return": [_NAN] * 4}),
    (20, {"loss": [1.0, _NAN, _INF, 1.0], "return": [_NAN] * 4}),
  ]
  broken = np.zeros((4, 3), bool)
  broken[2, 1:] = True
  found = guard.look(state, rows, broken, 5, 5)
  saved = "the last checkpoint before is that of step 5"
  assert found == {
    "a": {1: f"after step 5 numbers are not finite, of loss; {saved}"},
    "b": {
      0: "after step 10 numbers are not finite, of loss and of the parameters "
      f"x and 1 more; {saved}"
    },
  }
  # Nothing is told twice.
  assert not guard.look(state, rows, broken, 20, None)
  broken[:] = True
  found = guard.look(state, [(30, {})], broken, 20, None)
  assert guard.all_failed
  text = "after step 20 numbers are not finite, of all parameters; nothing had "
  assert found == {"a": {0: found["a"][0]}, "b": {1: found["a"][0]}}
  assert found["a"][0] == f"{text}been saved before"


def test_seeds_that_fail_alike_are_told_together():
  failed = {"a": {0: "x", 1: "y", 2: "x"}, "b": {0: "x"}}
  assert finite.sentences(failed) == [
    "a, seeds 0, 2: x",
    "a, seed 1: y",
    "b, seed 0: x",
  ]
  error = finite.NotFinite(failed)
  assert str(error).startswith("a, seeds 0, 2: x; a, seed 1: y; b, seed 0: x; ")
  assert error.failed is failed


def test_seeds_that_failed_are_replaced_and_hidden():
  state = {"x": jnp.arange(3.0), "key": jax.random.split(jax.random.key(0), 3)}
  found = finite.replace(state, {0, 2}, 3)
  assert found["x"].tolist() == [1, 1, 1]
  assert (found["key"] == state["key"][1]).all()
  assert finite.replace(state, (), 3) is state
  result = {
    "n": 5,
    "gif": "x",
    "score": per_seed.PerSeed([1.0, 2.0, 3.0]),
    "games": per_seed.PerSeed([[1, 2], [3, 4], [5, 6]]),
    # As many as there are seeds, but of other things.
    "trials": [1.0, 2.0, 3.0],
  }
  found = finite.hide(result, {1: ""})
  assert np.isnan(found["score"]).tolist() == [False, True, False]
  assert np.isnan(found["games"][1]).all()
  assert found["games"][2] == [5, 6]
  assert found["trials"] == [1.0, 2.0, 3.0]
  assert found["n"] == 5


@pytest.mark.parametrize("bad", [_NAN, _INF])
def test_a_step_is_left_out(bad):
  optimizer = optax.adam(0.1)
  params = {"w": jnp.ones(3), "b": jnp.zeros(2)}
  state = optimizer.init(params)
  good = jax.tree.map(jnp.ones_like, params)
  wrong = {**good, "w": jnp.array([1.0, bad, 1.0])}
  step = jax.jit(lambda *x: optimizers.step(optimizer, *x, skip_nonfinite=True))
  plain = jax.jit(functools.partial(optimizers.step, optimizer))(
    good, state, params
  )
  assert plain[2] == {}
  new, after, metrics = step(good, state, params)
  assert metrics == {"skipped": 0}
  jax.tree.map(np.testing.assert_array_equal, (new, after), plain[:2])
  new, after, metrics = step(wrong, state, params)
  assert metrics == {"skipped": 1}
  jax.tree.map(np.testing.assert_array_equal, (new, after), (params, state))


def test_metrics_over_steps():
  metrics = {"loss": jnp.arange(4.0), "skipped": jnp.array([1, 0, 1, 1])}
  metrics["nested"] = {"x": jnp.ones((4, 2))}
  found = optimizers.over_steps(metrics)
  assert found["loss"] == 1.5
  assert found["skipped"] == 3
  assert found["nested"]["x"].tolist() == [1, 1]


class _State(NamedTuple):
  variables: dict[str, jax.Array]
  n: jax.Array


@dataclasses.dataclass(frozen=True)
class _Arm:
  """Counts; the numbers of chosen seeds break at a step."""

  breaks: tuple[int, ...] = ()
  metric: str = "loss"
  part: str = ""
  examples: int = 1
  unit: str = "examples"
  stack: None = None

  def program(self, config, beside=()):
    del beside

    def init(key):
      del key
      return _State({"w": jnp.zeros(2)}, jnp.zeros((), jnp.int32))

    def train(state, seeds, count):
      n = state.n + count
      breaks = jnp.isin(seeds, jnp.asarray(self.breaks)) & (n > 6)
      w = jnp.where(breaks, jnp.nan, state.variables["w"] + 1)
      return _State({"w": w}, n), {"loss": w.mean()}

    def init_with_seed(key):
      state = init(key)
      # The number of the seed goes along where a key would.
      return state, jax.random.key_data(key)[-1].astype(jnp.int32)

    class Program(seed_program.SeedProgram):
      losses = ("loss",)

      def trained(self, state):
        return state[0].variables

    def train_with_seed(state, count):
      inner, metrics = train(state[0], state[1], count)
      return (inner, state[1]), metrics

    keys = jax.vmap(jax.random.wrap_key_data)(
      jnp.stack([jnp.zeros(2), jnp.arange(2)], axis=1).astype(jnp.uint32)
    )
    return Program(
      config, init_with_seed, train_with_seed, keys, examples="", num_updates=20
    )

  def report(self, program, state, directory, seconds=None):
    del program, directory, seconds
    assert np.isfinite(state[0].variables["w"]).all()
    return {
      "parameters": 2,
      "score": per_seed.of(state[0].variables["w"].mean(axis=1)),
    }


def _config(**options):
  names = {"good": {}, "one": {}, "all": {}}
  return arms.Arms(
    arms=names,
    **{
      "num_seeds": 2,
      "updates_per_chunk": 2,
      "chunks_per_checkpoint": 1,
      "keep_checkpoints": 2,
      "tensorboard": False,
      **options,
    },
  )


_MADE = {"good": _Arm(), "one": _Arm((1,)), "all": _Arm((0, 1))}
_SHOWN = {"title": "t", "columns": {"score": "score"}}


def _steps(directory):
  with checkpoint.Checkpointer(directory / "checkpoints") as saver:
    return saver.steps()


def test_what_fails_does_not_take_the_others_down(tmp_path, capsys):
  config = _config()
  with pytest.raises(finite.NotFinite) as caught:
    report.main(config, tmp_path, _MADE, "train", **_SHOWN)
  message = str(caught.value)
  assert "one, seed 1: after step 6 " in message
  assert "all, seeds 0, 1: after step 6 " in message
  assert "--on_nonfinite=skip" in message
  assert "good" not in message
  captured = capsys.readouterr()
  assert "good" in captured.out
  assert "(1 of 2 not finite)" in captured.out
  assert "one, seed 1" in captured.err
  assert "the others go on" in captured.err
  results = json.loads((tmp_path / "results.json").read_text())
  assert results["good"]["score"] == [10, 10]
  assert results["one"]["score"] == [10, "NaN"]
  assert "all" not in results
  assert sorted(results["not_finite"]) == ["all", "one"]
  # The last good state of the seed that failed stays, beside the newest ones.
  assert _steps(tmp_path / "one") == [6, 18, 20]
  # No state without a seed that is left is saved.
  assert _steps(tmp_path / "all") == [4, 6]
  # Again: the same is found again.
  with pytest.raises(finite.NotFinite) as again:
    report.main(config, tmp_path, _MADE, "train", **_SHOWN)
  assert "all, seeds 0, 1: after step 6 " in str(again.value)
  found = run.evaluate(config, tmp_path, _MADE, names=["good", "one"])
  assert found["one"]["score"][0] == 10
  assert np.isnan(found["one"]["score"][1])
  assert "one, seed 1: the checkpoint of step 20" in capsys.readouterr().err


def test_a_run_that_skips_goes_on_from_before_the_first_failure(
  tmp_path, capsys
):
  config = _config()
  run.train_program(
    _MADE["one"].program(config), [tmp_path / "one"], config, metric="loss"
  )
  assert _steps(tmp_path / "one") == [6, 18, 20]
  skips = dataclasses.replace(config, on_nonfinite="skip")
  state, failed = run.train_program(
    # The same arm, whose steps that fail are left out.
    _MADE["good"].program(skips),
    [tmp_path / "one"],
    skips,
    metric="loss",
  )
  assert not failed
  assert np.isfinite(state[0].variables["w"]).all()
  message = capsys.readouterr().err
  assert "one, seed 1: the checkpoint of step 20" in message
  assert "resumes after step 6 of 20" in message
  rows = scalars.read(tmp_path / "one")
  assert [row["step"] for row in rows] == list(range(2, 21, 2))
  assert np.isfinite([row["loss"] for row in rows]).all()


def test_a_damaged_step_from_before_the_failure_is_no_end(tmp_path, caplog):
  config = _config()
  place = tmp_path / "one"
  program = _MADE["one"].program(config)
  run.train_program(program, [place], config, metric="loss")
  (place / "checkpoints" / "6" / "integrity.json").write_text("{}")
  skips = dataclasses.replace(config, on_nonfinite="skip")
  _, failed = run.train_program(
    _MADE["good"].program(skips), [place], skips, metric="loss"
  )
  assert list(failed["one"]) == [1]
  assert "checkpoint of step 6, from before numbers were not" in caplog.text


def test_ignored(tmp_path):
  config = _config(on_nonfinite="ignore")
  program = _MADE["all"].program(config)
  _, failed = run.train_program(
    program, [tmp_path / "all"], config, metric="loss"
  )
  assert not failed
  losses = [row["loss"] for row in scalars.read(tmp_path / "all")]
  assert np.isnan(losses[-1]).all()
  assert np.isfinite(losses[0]).all()


def test_wrong_option():
  with pytest.raises(ValueError, match="on_nonfinite: got 'halt'"):
    _config(on_nonfinite="halt")
