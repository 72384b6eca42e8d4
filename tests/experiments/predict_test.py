"""The mode "predict" of experiments: from a file to a table of predictions."""

import csv
import json

import numpy as np
import pytest

import jaxseq
from jaxseq.models import predict_mode
from jaxseq.training import errors
from tests.experiments import programs

SIZES = {
  "network.stack.d_model": 8,
  "network.stack.num_layers": 1,
  "num_seeds": 2,
  "tensorboard": False,
}


def write_ts(path, seed, labels="ab", count=12):
  rng = np.random.default_rng(seed)
  lines = ["@problemName T", f"@classLabel true {' '.join(labels)}", "@data"]
  for number in range(count):
    level = 3.0 * (number % 2)
    channels = level + rng.normal(size=(2, 5))
    values = ":".join(",".join(f"{x:.4f}" for x in row) for row in channels)
    lines.append(f"{values}:{labels[number % 2]}")
  path.write_text("\n".join([*lines, ""]))
  return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
  folder = tmp_path_factory.mktemp("files")
  for seed, name in enumerate(("train", "test", "later")):
    write_ts(folder / f"{name}.ts", seed)
  return folder


def walks(labels=True):
  rng = np.random.default_rng(0)
  yield "id,x,y" + labels * ",label"
  for number in range(24):
    for x, y in rng.normal(number % 2, 1, (9 + number % 3, 2)):
      label = f",{('rest', 'walk')[number % 2]}" * labels
      yield f"w{number},{x:.4f},{y:.4f}{label}"


def load():
  hours = np.arange(200)
  start = np.datetime64("2024-01-01T00", "h")
  yield "date,load,temp"
  for hour in hours:
    time = start + np.timedelta64(int(hour), "h")
    yield f"{time}:00,{100 + 9 * np.sin(hour / 4):.3f},{15 + hour % 24}"


def sales():
  days = np.datetime64("2024-01-01") + np.arange(204)
  yield "date,shop,sales,holiday"
  for name in "ABCDE":
    for number, day in enumerate(days):
      sold = 10 + number % 7 if number < 200 else ""
      yield f"{day},{name},{sold},{'fair' if number % 9 == 0 else ''}"


def shop():
  rng = np.random.default_rng(0)
  yield "stream,time,mark"
  for stream in range(20):
    for time in np.cumsum(rng.exponential(1, 6)):
      yield f"s{stream},{time:.4f},{'ab'[rng.integers(2)]}"


def ratings():
  yield "user,item,time"
  for user in range(20):
    for time in range(5):
      yield f"u{user},film {(user + time) % 12},{time}"


def numbers():
  rng = np.random.default_rng(0)
  yield "id,x,level"
  for number in range(20):
    for x in rng.normal(size=8):
      yield f"{number},{x:.4f},{10 + 3 * x:.4f}"


def notes():
  for number in range(300):
    yield f"{number} bottles of beer on the wall"


# Experiment, config, lines of a file, options, and columns of the predictions.
_OWN = {
  "classes": (
    "classify",
    "table.py:tiny",
    walks,
    {},
    ("id", "class", "probability_rest", "probability_walk", "target"),
  ),
  "numbers": (
    "classify",
    "table.py:steps",
    numbers,
    {
      "data_options.label": "level",
      "batch_size": 4,
      "optimizer.warmup_steps": 0,
      "network.stack.d_model": 8,
      "num_updates": 4,
      "updates_per_chunk": 2,
    },
    ("id", "element", "level", "level_deviation", "level_target"),
  ),
  "forecasts": (
    "forecast",
    "table.py:tiny",
    load,
    {"data_options.time": "date"},
    (
      *("id", "step", "time", "load", "temp"),
      *("load_lower_80%", "temp_lower_80%", "load_upper_80%"),
      "temp_upper_80%",
    ),
  ),
  "panel": (
    "forecast",
    "table.py:tiny",
    sales,
    {
      "data_options.time": "date",
      "data_options.series": "shop",
      "data_options.known": "holiday",
    },
    (
      *("id", "shop", "step", "time", "sales"),
      *(f"sales_{end}_{x}%" for x in (80, 95) for end in ("lower", "upper")),
    ),
  ),
  "events": (
    "events",
    "table.py:tiny",
    shop,
    {},
    (
      *("id", "event", "after", "gap_expected", "gap_5%", "gap_50%"),
      *("gap_95%", "gap", "mark", "probability_a", "probability_b"),
      "mark_target",
    ),
  ),
  "items": (
    "recommend",
    "quickstart.py:table",
    ratings,
    {
      "batch_size": 4,
      "optimizer.warmup_steps": 0,
      "network.stack.d_model": 8,
      "num_updates": 4,
      "updates_per_chunk": 2,
    },
    ("id", "rank", "item", "score"),
  ),
  "text": (
    "language_model",
    "text.py:tiny",
    notes,
    {},
    (
      *("id", "position", "expected", "expected_probability"),
      *("token", "probability"),
    ),
  ),
  "codes": (
    "dts",
    "table.py:tiny",
    walks,
    {"data_options.label": "label"},
    (
      *("id", *(f"code_{i}" for i in range(8))),
      *("anomaly_score", "reconstruction_error", "target"),
    ),
  ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", _OWN)
def test_files_of_ones_own_from_training_to_table(monkeypatch, tmp_path, name):
  experiment, config, lines, options, columns = _OWN[name]
  path = tmp_path / "own.csv"
  path.write_text("\n".join([*lines(), ""]))
  given = {
    "num_seeds": 1,
    "tensorboard": False,
    "data_options.path": path,
    **options,
  }
  output = tmp_path / "out.csv"

  def call(*more):
    programs.call(
      monkeypatch,
      experiment,
      f"configs/{experiment}/{config}",
      tmp_path / "run",
      *(f"--config.{key}={value}" for key, value in given.items()),
      *more,
    )

  call()
  arm, *_ = sorted(
    found.parent.name for found in tmp_path.glob("run/*/model.safetensors")
  )
  predict = "--mode=predict", f"--arm={arm}"
  call(*predict, f"--data={path}", f"--output={output}")
  rows = read(output)
  assert tuple(rows[0]) == columns
  found = jaxseq.load(tmp_path / "run" / arm / "model.safetensors").predict(
    path
  )
  assert output.read_text() == found.to_csv()
  # The directory alone is enough.
  again = tmp_path / "again.csv"
  flags = f"--workdir={tmp_path / 'run'}", f"--data={path}"
  argv = [experiment, *predict, *flags, f"--output={again}"]
  programs.call_with(monkeypatch, experiment, argv)
  assert again.read_text() == output.read_text()
  if name in ("classes", "forecasts", "panel", "events", "codes"):
    # A column less than in training.
    other = tmp_path / "other.csv"
    kept = [line.split(",") for line in path.read_text().splitlines()]
    other.write_text("\n".join(",".join([r[0], *r[2:]]) for r in kept) + "\n")
    with pytest.raises(errors.UserError, match=f"{other}|column"):
      call(*predict, f"--data={other}", f"--output={tmp_path / 'new.csv'}")
    assert not (tmp_path / "new.csv").exists()


def call(monkeypatch, files, workdir, *more):
  options = {
    **SIZES,
    "num_updates": 4,
    "updates_per_chunk": 2,
    "batch_size": 4,
    "data_options.train_path": files / "train.ts",
    "data_options.test_path": files / "test.ts",
  }
  programs.call(
    monkeypatch,
    "classify",
    "configs/classify/uea.py:tiny",
    workdir,
    *(f"--config.{name}={value}" for name, value in options.items()),
    *more,
  )


def predict(monkeypatch, files, workdir, data, output, *more):
  flags = "--mode=predict", f"--data={data}", f"--output={output}"
  call(monkeypatch, files, workdir, *flags, *more)


def read(path):
  with open(path, encoding="utf-8") as file:
    return list(csv.DictReader(file))


def test_what_a_model_refuses_is_of_a_file(monkeypatch, tmp_path):
  class Model:
    @staticmethod
    def examples(source):
      return source

    @staticmethod
    def predict(source):
      raise ValueError("points: got 1.7, expected less.")

  monkeypatch.setattr(predict_mode, "model_of", lambda *_: Model)
  flags = "--mode=predict", "--data=a.csv", f"--output={tmp_path / 'b.csv'}"
  config = "configs/pointing/hull.py:tiny"
  with pytest.raises(errors.UserError, match="a.csv: points: got 1.7"):
    programs.call(monkeypatch, "pointing", config, tmp_path, *flags)


@pytest.mark.slow
def test_classes_of_a_file_from_training_to_table(
  monkeypatch, files, tmp_path, capsys
):
  workdir = tmp_path / "run"
  call(monkeypatch, files, workdir)
  results = json.loads((workdir / "results.json").read_text())
  (arm,) = results.keys() - {"data", "baselines"}
  model = jaxseq.load(workdir / arm / "model.safetensors")
  assert model.about["arm"] == arm
  assert model.about["experiment"] == "classify"
  assert (model.about["seed"], model.about["chosen_by"]) == (0, "first seed")
  output = tmp_path / "test.csv"
  capsys.readouterr()
  predict(monkeypatch, files, workdir, files / "test.ts", output)
  assert "12 rows by" in capsys.readouterr().out
  rows = read(output)
  right = np.mean([row["class"] == row["target"] for row in rows])
  assert right == pytest.approx(results[arm]["accuracy"][0])
  # The same in three lines of Python.
  found = model.predict(files / "later.ts")
  predict(
    monkeypatch, files, workdir, files / "later.ts", tmp_path / "later.csv"
  )
  assert (tmp_path / "later.csv").read_text() == found.to_csv()

  def fails(message, data=files / "later.ts", output="new.csv", *more):
    with pytest.raises(errors.UserError, match=message):
      predict(monkeypatch, files, workdir, data, tmp_path / output, *more)

  fails("expected a file that is not there yet", output="later.csv")
  fails("no such directory", output="absent/new.csv")
  fails("ends in .csv or .parquet", output="new.txt")
  fails("nothing.ts", files / "nothing.ts")
  fails(
    "--arm=grru: there is no model of it; the arms",
    files / "later.ts",
    "new.csv",
    "--arm=grru",
  )
  fails("--data=FILE is missing", "")
  one = write_ts(tmp_path / "one.ts", 3)
  one.write_text(
    one.read_text()
    .replace(":", ",", 10**6)
    .replace(",a", ":a")
    .replace(",b", ":b")
  )
  fails("channel", one)
  assert not (tmp_path / "new.csv").exists()
  (workdir / arm / "model.safetensors").write_bytes(b"no")
  fails("is no safetensors file")
  (workdir / arm / "model.safetensors").unlink()
  fails("holds no model.safetensors.*--mode=train")
  with pytest.raises(errors.UserError, match="--data is a flag of --mode=pred"):
    call(monkeypatch, files, workdir, "--data=a.csv")
