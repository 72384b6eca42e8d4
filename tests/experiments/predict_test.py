"""The mode "predict" of experiments: from a file to a table of predictions."""

import csv
import json

import numpy as np
import pytest

import jaxseq
from jaxseq.training import errors
from tests.experiments import programs

# ml_collections loads config files in a way that Python 3.13 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module")

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


def test_classes_of_a_file_from_training_to_table(
  monkeypatch, files, tmp_path, capsys
):
  workdir = tmp_path / "run"
  call(monkeypatch, files, workdir)
  results = json.loads((workdir / "results.json").read_text())
  (arm,) = results
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
