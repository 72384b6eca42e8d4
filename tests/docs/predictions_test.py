"""The page on predictions runs, and its table names every kind and column."""

import pathlib
import re

import jax
import numpy as np
import pytest

import jaxseq
from jaxseq import data
from jaxseq import models
from jaxseq import nn
from jaxseq.interop import network_file
from jaxseq.rl import conditioned_players
from jaxseq.tasks import base
from jaxseq.tasks import classification
from jaxseq.tasks import events
from jaxseq.tasks.events import arms as event_arms
from tests.models import cases
from tests.rl import pole_player

pytest.importorskip("flatbuffers")

_PAGE = (
  pathlib.Path(__file__).resolve().parents[2] / "docs" / "predictions.md"
).read_text()


def write_walks(path, labels):
  rng = np.random.default_rng(0)
  rows = ["id,x,y" + labels * ",label"]
  for number in range(16):
    for x, y in rng.normal(number % 2, 1, (5 + number % 3, 2)):
      label = f",{('rest', 'walk')[number % 2]}" * labels
      rows.append(f"w{number},{x:.3f},{y:.3f}{label}")
  path.write_text("\n".join([*rows, ""]))


def write_events(path, count):
  rng = np.random.default_rng(count)
  rows = ["stream,time,mark"]
  for stream in range(count):
    for time in np.cumsum(rng.exponential(1, 6)):
      rows.append(f"s{stream},{time:.4f},{'ab'[rng.integers(2)]}")
  path.write_text("\n".join([*rows, ""]))


def untrained(kind, problem, splits):
  variables = jax.jit(problem.init)(jax.random.key(0))
  return models.make(kind, problem.network, variables, splits)


@pytest.fixture
def runs(tmp_path, monkeypatch):
  """Models of every run that the page mentions, and files to predict."""
  monkeypatch.chdir(tmp_path)
  write_walks(tmp_path / "walks.csv", True)
  write_walks(tmp_path / "new.csv", False)
  splits = data.load("table", path="walks.csv", id="id", label="label")
  arm = base.ArmConfig(cases.network("mean"), batch_size=4)
  walks = untrained(
    "classification", classification.Problem(arm, splits), splits
  )
  write_events(tmp_path / "shop.csv", 20)
  write_events(tmp_path / "later_events.csv", 3)
  splits = data.load("event_table", path="shop.csv", stream="stream")
  arm = event_arms.ArmConfig(cases.network(), batch_size=4)
  shop = untrained("events", events.Problem(arm, splits), splits)
  for name, model in (
    ("walks/gru", walks),
    ("shop/gru", shop),
    ("notes/mamba", cases.case("language").model),
    ("codes/vae", cases.case("codes").model),
  ):
    folder = tmp_path / "runs" / name
    folder.mkdir(parents=True)
    jaxseq.save(folder / "model.safetensors", model)
  (tmp_path / "runs" / "dt" / "aaren").mkdir(parents=True)
  conditioned_players.save(
    "runs/dt/aaren/player.safetensors", pole_player.make()[-1]
  )
  (tmp_path / "runs" / "delay" / "s4").mkdir(parents=True)
  network = nn.SequenceNetwork(cases.network(), 1)
  network_file.save(
    "runs/delay/s4/network.safetensors",
    network,
    network.init(jax.random.key(0), np.zeros((1, 4, 1))),
  )
  return tmp_path


@pytest.mark.slow
def test_the_examples_run(runs, capsys):
  names = {}
  blocks = re.findall(r"```python\n(.*?)```", _PAGE, re.DOTALL)
  for block in blocks:
    exec(compile(block, "predictions.md", "exec"), names)
  rows = (runs / "predictions.csv").read_text().splitlines()
  assert rows[0] == "id,class,probability_rest,probability_walk"
  assert len(rows) == 17
  assert names["probability"].shape == (16, 2)
  assert set(names["classes"]) <= {"rest", "walk"}
  assert names["following"].shape == (1, 256)
  assert names["rates"].shape == (3, 3)
  assert names["futures"].times.shape == (3, 100, 64)
  assert names["found"].arrays["reconstruction"].shape == (3, 7, 2)
  assert names["outputs"].shape == (1, 20, 1)
  assert jaxseq.load("mine.safetensors").kind == "classification"


_ROWS = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", _PAGE, re.M))


def test_the_table_has_every_kind():
  differ = set(_ROWS) ^ set(models.kinds.names())
  assert not differ, f"{differ}: add a row for each kind to docs/predictions.md"


@pytest.mark.slow
def test_the_table_has_every_column():
  for kind, row in _ROWS.items():
    if kind == "language":
      found = cases.case(kind).model.predict(["abc"])
    else:
      found = cases.case(kind).model.predict(cases.case(kind).splits.test)
    named = set(re.findall(r"`([^`]+)`", row)) | {"id"}
    preparation = cases.case(kind).model.preparation
    channels = set(preparation.channels or ()) | set(preparation.targets or ())
    for column in set(found) - channels:
      kinds = {column, re.sub(r"_[^_]*$", "_NAME", column)}
      kinds |= {re.sub(r"^[^_]*_", "NAME_", column)}
      kinds |= {column.replace(name, "NAME", 1) for name in channels}
      kinds |= {re.sub(r"[0-9]+$", "0", column)}
      assert kinds & named, f"{kind}: {column}"
