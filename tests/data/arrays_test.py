"""Data sets in array files."""

import dataclasses
import json
import mmap

import numpy as np
import pytest

from jaxseq import data
from jaxseq import nn
from jaxseq.data import arrays
from jaxseq.tasks import base
from jaxseq.tasks import classification


def make():
  rng = np.random.default_rng(0)

  def part(count):
    return data.ArrayDataset(
      rng.integers(0, 9, (count, 5)).astype(np.int32),
      rng.integers(0, 3, count).astype(np.int32),
      rng.integers(1, 6, count).astype(np.int32),
      data.Extras(
        gaps=rng.random((count, 5)).astype(np.float32),
        more={"prices": rng.random((count, 5))},
      ),
    )

  info = data.Info("Numbers.", "a generator", "free", 3, 9, horizon=2.5)
  return data.Splits(part(8), None, part(3), info)


def test_what_is_saved_is_loaded_as_a_map(tmp_path):
  splits, path = make(), tmp_path / "set"
  arrays.save(path, splits)
  found = data.load("arrays", path=path)
  assert found.valid is None
  assert found.info.num_classes == 3
  assert found.info.vocab_size == 9
  assert found.info.horizon == 2.5
  assert found.info.description == "Numbers."
  for part, want in ((found.train, splits.train), (found.test, splits.test)):
    for name in ("inputs", "targets", "lengths"):
      array = getattr(part, name)
      assert isinstance(array, np.memmap)
      assert isinstance(array.base, mmap.mmap)
      np.testing.assert_array_equal(array, getattr(want, name))
    np.testing.assert_array_equal(part.extras.gaps, want.extras.gaps)
    prices = part.extras.more["prices"]
    np.testing.assert_array_equal(prices, want.extras.more["prices"])
  with pytest.raises(
    ValueError, match="path: got .*, expected a folder that is not there yet"
  ):
    arrays.save(path, splits)


def test_what_is_missing_or_damaged_is_said(tmp_path):
  with pytest.raises(data.MissingData, match="holds no info.json: give the"):
    data.load("arrays", path=tmp_path)
  path = tmp_path / "set"
  arrays.save(path, make())
  file = path / "train.inputs.npy"
  file.write_bytes(file.read_bytes()[:-9])
  with pytest.raises(ValueError, match="train.inputs.npy is no array that can"):
    arrays.load(path)
  file.unlink()
  with pytest.raises(data.MissingData, match="lacks train.inputs.npy"):
    arrays.load(path)


def test_names_factors_and_domains_are_kept(tmp_path):
  splits = make()
  info = data.Info(
    "Numbers.",
    "a generator",
    "free",
    vocab_size=9,
    classes=("a", "b"),
    image_size=(2, 3),
    rate=50.0,
    factors=data.Factors(("x", "y"), (2, 3), 1.5),
    domains=data.Domains("subject", (4, 5), 1, "own"),
    mean=np.zeros(3),
  )
  arrays.save(tmp_path / "set", splits._replace(info=info))
  found = arrays.load(tmp_path / "set", checked=False).info
  assert found == dataclasses.replace(info, mean=None)


def test_a_broken_info_is_refused(tmp_path):
  path = tmp_path / "set"
  arrays.save(path, make())
  file = path / "info.json"
  good = json.loads(file.read_text())
  for text, message in (
    ("[" * 200_000, "info.json is not JSON: it is nested more than 64 deep"),
    ("[]", "info.json: got 'list', expected a JSON object"),
    ("{}", "info.json: got .., expected also description, source"),
    (json.dumps(good | {"x": 1}), "info.json: entries: got 'x', expected one"),
    (json.dumps(good | {"baselines": 1}), "entries: got 'baselines'"),
    (json.dumps(good | {"num_classes": "3"}), "num_classes: got '3', expect"),
    (json.dumps(good | {"num_classes": 10**30}), "is beyond those of 64 bits"),
    (json.dumps(good | {"num_classes": 0}), "num_classes: got 0, expected"),
    (json.dumps(good | {"classes": [1]}), "classes: got .1,., expected"),
    (
      json.dumps(good | {"factors": {}}),
      "factors: got .., expected also names",
    ),
  ):
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
      arrays.load(path)


@pytest.mark.parametrize(
  ("name", "array", "message"),
  [
    (
      "targets",
      np.zeros(9, int),
      "train: targets: got shape .9,., expect",
    ),
    ("targets", np.arange(8) + 70, "train: targets: got 70 at example 0 .8"),
    ("targets", np.arange(8) - 2, "train: targets: got -2 at example 0 .5"),
    (
      "targets",
      np.full(8, "x"),
      "train: targets: got dtype <U1, expected",
    ),
    ("targets", np.full(8, 0.5), "train: targets: got dtype float64, expected"),
    (
      "inputs",
      np.full((8, 5), 9),
      "train: inputs: got 9 at example 0, elem",
    ),
    ("inputs", np.full((8, 5), "a"), "train: inputs: got .*<U1"),
    (
      "lengths",
      np.full(8, 6, np.int32),
      "train: lengths: got 6 to 6, expec",
    ),
  ],
)
def test_wrong_values_are_refused_at_load(tmp_path, name, array, message):
  path = tmp_path / "set"
  arrays.save(path, make())
  np.save(path / f"train.{name}.npy", array)
  with pytest.raises(ValueError, match=f"set, {message}"):
    arrays.load(path)


def test_missing_values_are_treated_as_declared(tmp_path):
  path, splits = tmp_path / "set", make()
  inputs = np.ones((8, 5, 2), np.float32)
  inputs[3, 2, 1] = np.nan
  info = data.Info("", "", "", 3, channels=("a", "b"))
  splits = splits._replace(
    train=splits.train._replace(inputs=inputs, lengths=None),
    test=splits.test._replace(inputs=inputs[:3], lengths=None),
    info=info,
  )
  arrays.save(path, splits)
  with pytest.raises(
    ValueError,
    match="train: inputs: got nan at example 3, element 2, channel 'b', expect"
    "ed numbers, or the option missing = 'mask'",
  ):
    data.load("arrays", path=path)
  found = data.load("arrays", path=path, missing="mask")
  assert found.train.inputs.shape == (8, 5, 4)
  assert found.train.inputs[3, 2].tolist() == [1, 1, 1, 0]
  filled = data.load("arrays", path=path, missing="mean")
  assert np.all(filled.train.inputs == 1)
  # Infinities are no missing values.
  np.save(path / "test.inputs.npy", np.full((3, 5, 2), np.inf))
  with pytest.raises(ValueError, match="test: inputs: got inf at example 0"):
    data.load("arrays", path=path, missing="mean")


def test_files_of_elsewhere_are_not_read(tmp_path):
  path = tmp_path / "set"
  arrays.save(path, make())
  outside = tmp_path / "elsewhere.npy"
  (path / "train.inputs.npy").rename(outside)
  (path / "train.inputs.npy").symlink_to(outside)
  with pytest.raises(ValueError, match="elsewhere.npy, expected a file of the"):
    arrays.load(path)


def test_a_killed_save_is_in_nobodys_way(tmp_path, monkeypatch):
  path = tmp_path / "set"
  monkeypatch.setattr(arrays.os, "getpid", lambda: 1)

  def fail(*unused_arguments):
    raise KeyboardInterrupt

  with monkeypatch.context() as killed:
    killed.setattr(arrays, "_encoded", fail)
    with pytest.raises(KeyboardInterrupt):
      arrays.save(path, make())
  assert not list(tmp_path.iterdir())
  (tmp_path / "set.7.partial").mkdir()
  arrays.save(path, make())
  assert arrays.load(path).valid is None


def test_a_problem_reads_no_more_than_it_is_asked_for(tmp_path):
  arrays.save(tmp_path / "set", make())
  splits = data.load("arrays", path=tmp_path / "set")
  network = nn.NetworkConfig(
    nn.StackConfig("gru", d_model=4, num_layers=1), pooling="last"
  )
  problem = classification.Problem(
    base.ArmConfig(network, batch_size=2), splits
  )
  # Still the file, in which each process then finds its own rows.
  assert np.shares_memory(problem.data["train"].inputs, splits.train.inputs)
