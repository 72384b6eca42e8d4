"""Hooks for loggers of others, with stand-ins for their packages."""

import json
import math
import sys
import types

import pytest

from jaxseq.training import loggers
from jaxseq.training import scalars
from jaxseq.training.comparison import arms


class Wandb(types.ModuleType):
  """Of wandb and trackio: what is called, in this order."""

  def __init__(self):
    super().__init__("stand-in")
    self.calls = []

  def init(self, **options):
    self.calls.append(("init", options))
    return types.SimpleNamespace(
      define_metric=lambda *args, **options: self.calls.append(
        ("define_metric", *args, options)
      ),
      log=lambda row: self.calls.append(("log", row)),
    )


class Mlflow(types.ModuleType):
  """One run is active at a time; every number is kept."""

  def __init__(self):
    super().__init__("stand-in")
    self.runs, self.active = {}, None

  def active_run(self):
    return self.active

  def end_run(self):
    self.active = None

  def start_run(self, run_id=None, run_name=None):
    assert self.active is None
    if run_id is None:
      run_id = f"{run_name}-id"
      self.runs[run_id] = []
    info = types.SimpleNamespace(run_id=run_id)
    self.active = types.SimpleNamespace(info=info)
    return self.active

  def log_metrics(self, row, step):
    self.runs[self.active.info.run_id].append((step, row))


@pytest.fixture
def restart(monkeypatch):
  """Forgets what is open, as a program that is started again has."""

  def start():
    monkeypatch.setattr(loggers, "_open", {})

  start()
  return start


def log(name, directory, steps, value=1.0):
  directory.mkdir(exist_ok=True)
  hook = getattr(loggers, name)
  with scalars.MetricWriter(directory, tensorboard=False, hooks=[hook]) as out:
    for step in steps:
      out.write(step, {"x": value, "loss": [float(step), math.nan]})


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_run_goes_on_in_the_same_run_of_its_logger(
  tmp_path, monkeypatch, restart, name
):
  package = Wandb()
  monkeypatch.setitem(sys.modules, name, package)
  log(name, tmp_path / "gru", [1, 2])
  log(name, tmp_path / "s5", [1])
  restart()
  log(name, tmp_path / "gru", [2, 3])
  inits = [call[1] for call in package.calls if call[0] == "init"]
  assert all(options["project"] == "jaxseq" for options in inits)
  assert all(options["resume"] == "allow" for options in inits)
  field = "id" if name == "wandb" else "name"
  first, other, again = (options[field] for options in inits)
  assert first == again != other
  kept = json.loads((tmp_path / "gru" / "loggers.json").read_text())
  assert kept == {name: {"id": first}}
  kinds = [call[0] for call in package.calls]
  begin = ["init"] + 2 * ["define_metric"] * (name == "wandb")
  assert kinds == [*begin, "log", "log", *begin, "log", *begin, "log", "log"]
  rows = [call[1] for call in package.calls if call[0] == "log"]
  assert [row["update"] for row in rows] == [1, 2, 1, 2, 3]
  assert rows[1] == {"x": 1.0, "loss/seed_0": 2.0, "update": 2}
  if name == "wandb":
    assert package.calls[2] == (
      "define_metric", "*", {"step_metric": "update"}
    )  # fmt: skip
    assert inits[0]["dir"] == str(tmp_path / "gru")


def test_mlflow_gets_no_step_twice(tmp_path, monkeypatch, restart):
  package = Mlflow()
  monkeypatch.setitem(sys.modules, "mlflow", package)
  log("mlflow", tmp_path / "gru", [1, 2, 3])
  log("mlflow", tmp_path / "s5", [1])
  log("mlflow", tmp_path / "gru", [4])
  restart()
  package.end_run()
  log("mlflow", tmp_path / "gru", [3, 4, 5, 6])
  assert package.runs == {
    "gru-id": [(s, {"x": 1.0, "loss/seed_0": s}) for s in range(1, 7)],
    "s5-id": [(1, {"x": 1.0, "loss/seed_0": 1.0})],
  }


def test_mlflow_gets_each_row_of_the_newest_step(
  tmp_path, monkeypatch, restart
):
  package = Mlflow()
  monkeypatch.setitem(sys.modules, "mlflow", package)
  loggers.mlflow(tmp_path / "gru", 1, {"x": 1.0})
  loggers.mlflow(tmp_path / "gru", 1, {"y": 2.0})
  loggers.mlflow(tmp_path / "gru", 2, {"x": 3.0})
  # Killed in the evaluation after the second step.
  restart()
  package.end_run()
  for step, row in ((1, {"y": 2.0}), (2, {"x": 3.0}), (2, {"y": 4.0})):
    loggers.mlflow(tmp_path / "gru", step, row)
  assert package.runs["gru-id"] == [
    (1, {"x": 1.0}), (1, {"y": 2.0}), (2, {"x": 3.0}), (2, {"y": 4.0})
  ]  # fmt: skip


def test_several_loggers_share_a_file(tmp_path, monkeypatch, restart):
  for name in ("wandb", "trackio"):
    monkeypatch.setitem(sys.modules, name, Wandb())
    log(name, tmp_path, [1])
  kept = json.loads((tmp_path / "loggers.json").read_text())
  assert sorted(kept) == ["trackio", "wandb"]


@pytest.mark.parametrize("absent", [True, False])
def test_a_logger_that_fails_warns_once(
  tmp_path, monkeypatch, restart, caplog, absent
):
  package = Wandb()
  log_of = package.init().log

  def failing(row):
    if row["update"] == 2:
      raise ConnectionError("no network")
    log_of(row)

  package.init = lambda **options: types.SimpleNamespace(
    define_metric=lambda *args, **options: None, log=failing
  )
  monkeypatch.setitem(sys.modules, "wandb", None if absent else package)
  log("wandb", tmp_path, [1, 2, 3])
  (record,) = caplog.records
  reason = "import of wandb halted" if absent else "no network"
  assert "wandb gets no more rows of" in record.getMessage()
  assert reason in record.getMessage()
  assert len(scalars.read(tmp_path)) == 3
  assert len(package.calls) == (1 if absent else 2)


def test_configs_name_them():
  names = ("wandb", "trackio", "mlflow")
  hooks = tuple(f"jaxseq.training.loggers:{name}" for name in names)
  config = arms.Arms(arms={"a": {}}, hooks=hooks)
  assert arms.hooks(config) == [getattr(loggers, name) for name in names]
