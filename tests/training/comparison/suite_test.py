"""Suites of tasks: what fails in one of them does not end the others."""

import dataclasses
import json
import math
import signal
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.training import finite
from jaxseq.training import signals
from jaxseq.training.comparison import arms
from jaxseq.training.comparison import seed_program
from jaxseq.training.comparison import suite


class _State(NamedTuple):
  variables: dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class _Arm:
  """Counts, or breaks at the first update."""

  breaks: bool = False
  metric: str = "w"
  part: str = ""
  examples: int = 1
  unit: str = "steps"
  stack: None = None

  def program(self, config, beside=()):
    del beside
    step = jnp.nan if self.breaks else 1.0

    def init(key):
      del key
      return _State({"w": jnp.zeros(())})

    def train(state, count):
      w = state.variables["w"] + count * step
      return _State({"w": w}), {"w": w}

    keys = arms.split_keys(config)[0]
    return seed_program.SeedProgram(
      config, init, train, keys, examples="", num_updates=4
    )

  def report(self, program, state, directory, seconds=None):
    del program, directory, seconds
    return {"evaluation": np.asarray(state.variables["w"]).tolist()}


def _runs(breaks):
  """Two tasks of two arms; in the first one these arms break."""
  names = {"gru": {}, "s5": {}}
  config = arms.Arms(
    arms=names, num_seeds=2, updates_per_chunk=2, tensorboard=False
  )
  return config, {
    "first": (config, {name: _Arm(name in breaks) for name in names}),
    "second": (config, {name: _Arm() for name in names}),
  }


@pytest.mark.parametrize("breaks", [("gru",), ("gru", "s5")])
def test_a_task_that_fails_does_not_take_the_others_down(
  tmp_path, capsys, breaks
):
  config, runs = _runs(breaks)
  results, failed = suite.run_all(tmp_path, runs, "train", experiment="toy")
  assert list(results) == ["first", "second"]
  assert set(results["second"]) == {"gru", "s5"}
  assert set(results["first"]) == {"gru", "s5"} - set(breaks)
  assert set(failed) == {f"first/{name}" for name in breaks}
  assert all(set(seeds) == {0, 1} for seeds in failed.values())
  captured = capsys.readouterr()
  assert "second (2 of 2)" in captured.out
  assert "gru, seeds 0, 1: after step 0" in captured.err
  with pytest.raises(finite.NotFinite, match="first/gru, seeds 0, 1") as caught:
    suite.check(failed)
  assert caught.value.exit_code == 3

  # What has failed is a dash, and has no aggregate.
  suite.show(config, results, lambda task, arm: f"{task} {arm}", "returns")
  lines = capsys.readouterr().out.splitlines()
  assert ("first s5" in lines[3]) == ("s5" not in breaks)
  assert "-" in lines[3].split()
  assert "second gru" in lines[4]
  values = suite.values(config, results["first"], "gru", "evaluation")
  assert all(map(math.isnan, values))
  scores = {"gru": np.array([values]).T, "s5": np.ones((2, 1))}
  found = suite.show_aggregates(scores, "all")
  assert math.isnan(found["IQM"]["gru"][0])
  row = next(
    line
    for line in capsys.readouterr().out.splitlines()
    if line.startswith("gru")
  )
  assert row.split() == ["gru", "-", "-", "-"]

  # The task that failed is not finished; the other is not done again.
  assert not (tmp_path / "first" / "results.json").exists()
  stored = json.loads((tmp_path / "second" / "results.json").read_text())
  assert stored == results["second"]
  again = suite.run_all(tmp_path, runs, "train", experiment="toy")
  assert again == (results, failed)
  assert "second" not in capsys.readouterr().out


def test_nothing_failed(tmp_path):
  _, runs = _runs(())
  results, failed = suite.run_all(tmp_path, runs, "train", experiment="toy")
  suite.check(failed)
  assert results["first"]["gru"]["evaluation"] == [4, 4]
  shown, failed = suite.run_all(tmp_path, runs, "evaluate", experiment="toy")
  assert not failed
  assert shown["first"]["gru"] == {"step": 4, "evaluation": [4, 4]}


@pytest.mark.parametrize("arm", [0, 1])
def test_a_signal_in_the_last_chunk_lets_nothing_begin(
  tmp_path, capsys, monkeypatch, arm
):
  _, runs = _runs(())
  chunk, calls = seed_program.SeedProgram.chunk, []

  def interrupted(self, state, count):
    calls.append(count)
    # Two chunks an arm.
    if len(calls) == 2 * (arm + 1):
      signal.raise_signal(signal.SIGTERM)
    return chunk(self, state, count)

  monkeypatch.setattr(seed_program.SeedProgram, "chunk", interrupted)
  with pytest.raises(signals.Stopped) as caught:
    suite.run_all(tmp_path, runs, "train", experiment="toy")
  assert caught.value.code == 0
  assert "SIGTERM: stopped between two runs" in capsys.readouterr().err
  trained = sorted(x.parent.name for x in tmp_path.glob("*/*/checkpoints"))
  assert trained == ["gru", "s5"][: arm + 1]
  # It was a request to this call: the next one goes on to the end.
  results, _ = suite.run_all(tmp_path, runs, "train", experiment="toy")
  assert len(calls) == 8
  assert [list(x) for x in results.values()] == [["gru", "s5"]] * 2
