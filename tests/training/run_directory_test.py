"""The run's directory: made, resumed, or refused with a sentence."""

from collections.abc import Mapping
import dataclasses
import json
import logging
import pathlib
import sys
from types import MappingProxyType

import pytest

from jaxseq.training import errors
from jaxseq.training import run_directory


@dataclasses.dataclass(frozen=True)
class Optim:
  lr: float = 1e-3


@dataclasses.dataclass(frozen=True)
class Config:
  optim: Optim = Optim()
  num_updates: int = 10
  widths: tuple[int, ...] = (1, 2)
  options: Mapping[str, object] = MappingProxyType({})


def prepare(path, config=None, **options):
  settings = {"experiment": "toy", **options}
  return run_directory.prepare(path, config or Config(), **settings)


def test_makes_the_directory_and_describes_the_run(tmp_path, monkeypatch):
  monkeypatch.setattr(sys, "argv", ["toy.py", "--flag=1"])
  path = prepare(tmp_path / "a" / "b")
  config = json.loads((path / "config.json").read_text())
  assert config["experiment"] == "toy"
  assert config["config"]["optim"]["lr"] == 1e-3
  assert config["config"]["widths"] == [1, 2]
  versions = json.loads((path / "versions.json").read_text())
  for name in ("python", "jax", "jaxlib", "flax", "optax", "numpy"):
    assert versions[name][0].isdigit(), name
  assert versions["platform"] == "cpu"
  assert versions["device_count"] >= 1
  assert "toy.py" in versions["command"]
  assert "--flag=1" in versions["command"]
  assert versions["earlier"] == []
  if versions["git"] is not None:
    assert len(versions["git"]["commit"]) == 40


def test_the_same_run_resumes_and_remembers_earlier_starts(tmp_path, caplog):
  prepare(tmp_path)
  (tmp_path / "metrics.jsonl").write_text("")
  prepare(tmp_path)
  prepare(tmp_path)
  versions = json.loads((tmp_path / "versions.json").read_text())
  assert len(versions["earlier"]) == 2
  assert "earlier" not in versions["earlier"][0]
  assert not caplog.records


def test_other_versions_are_warned_of(tmp_path, caplog):
  prepare(tmp_path)
  file = tmp_path / "versions.json"
  stored = json.loads(file.read_text())
  current = stored["jax"]
  file.write_text(json.dumps({**stored, "jax": "0.0.1"}))
  prepare(tmp_path)
  assert [r.levelno for r in caplog.records] == [logging.WARNING]
  assert f"jax 0.0.1 -> {current}" in caplog.text


def test_another_number_of_devices_is_no_version(tmp_path, caplog):
  prepare(tmp_path)
  file = tmp_path / "versions.json"
  stored = json.loads(file.read_text())
  file.write_text(json.dumps({**stored, "device_count": 1000}))
  prepare(tmp_path)
  (record,) = caplog.records
  assert "Resuming with other devices than the run" in record.getMessage()
  assert "device_count 1000 -> " in record.getMessage()


def test_unreadable_versions_are_no_obstacle(tmp_path, caplog):
  prepare(tmp_path)
  (tmp_path / "versions.json").write_text("[")
  prepare(tmp_path)
  assert "written again" in caplog.text
  assert json.loads((tmp_path / "versions.json").read_text())["jax"]


def test_a_file_is_refused(tmp_path):
  path = tmp_path / "file"
  path.write_text("")
  with pytest.raises(errors.UserError, match="is a file, not a directory"):
    prepare(path)


def test_an_unwritable_place_is_refused(tmp_path, monkeypatch):
  (tmp_path / "file").write_text("")
  with pytest.raises(errors.UserError, match="cannot be written: Not a direct"):
    prepare(tmp_path / "file" / "below")

  def read_only(**unused):
    raise PermissionError(13, "Permission denied")

  monkeypatch.setattr(run_directory.tempfile, "TemporaryFile", read_only)
  with pytest.raises(errors.UserError, match="cannot be written: Permission"):
    prepare(tmp_path / "new")


def test_foreign_files_are_refused_and_left_alone(tmp_path):
  for name in "dcba":
    (tmp_path / name).write_text(name)
  with pytest.raises(
    errors.UserError, match=r"files of another program \(a, b, c, ...\)"
  ):
    prepare(tmp_path)
  assert sorted(p.name for p in tmp_path.iterdir()) == list("abcd")


def test_hidden_files_are_not_foreign(tmp_path):
  (tmp_path / ".gitkeep").write_text("")
  prepare(tmp_path)


@pytest.mark.parametrize("text", ['{"model": "x"}', "[1]"])
def test_another_program_s_config_is_refused(tmp_path, text):
  (tmp_path / "config.json").write_text(text)
  with pytest.raises(errors.UserError, match="config.json of another program"):
    prepare(tmp_path)
  assert (tmp_path / "config.json").read_text() == text


@pytest.mark.parametrize("text", ["{", "[" * 200_000])
def test_a_broken_config_is_refused(tmp_path, text):
  (tmp_path / "config.json").write_text(text)
  with pytest.raises(errors.UserError, match="cannot be read"):
    prepare(tmp_path)


def test_another_experiment_is_refused(tmp_path):
  prepare(tmp_path)
  with pytest.raises(
    errors.UserError, match="holds a run of 'toy', not of 'other'"
  ):
    prepare(tmp_path, experiment="other")


def test_another_config_is_refused_and_both_values_are_told(tmp_path):
  prepare(tmp_path)
  before = (tmp_path / "config.json").read_text()
  other = Config(optim=Optim(lr=0.5), num_updates=20)
  with pytest.raises(errors.UserError) as caught:
    prepare(tmp_path, other)
  message = str(caught.value)
  assert "optim.lr was 0.001 and is now 0.5" in message
  assert "num_updates was 10 and is now 20" in message
  assert "\n" not in message
  assert (tmp_path / "config.json").read_text() == before


def test_a_field_of_a_later_version_may_have_its_default(tmp_path):
  prepare(tmp_path)
  file = tmp_path / "config.json"
  stored = json.loads(file.read_text())
  del stored["config"]["optim"]["lr"]
  file.write_text(json.dumps(stored))
  other = Config(optim=Optim(lr=0.5))
  with pytest.raises(errors.UserError, match="optim.lr was not set and"):
    prepare(tmp_path, other)
  prepare(tmp_path)
  assert "lr" in json.loads(file.read_text())["config"]["optim"]


def test_a_field_of_an_earlier_version_may_say_what_holds_now(tmp_path):
  @dataclasses.dataclass(frozen=True)
  class Earlier(Config):
    depth: int = 3

  class Shrunk(Config):
    FORMER = MappingProxyType({"depth": 3})

  Earlier.__qualname__ = Shrunk.__qualname__ = Config.__qualname__
  prepare(tmp_path, Earlier())
  with pytest.raises(errors.UserError, match="depth was 3 and is now not set"):
    prepare(tmp_path, Config())
  prepare(tmp_path, Shrunk())
  assert "depth" not in json.loads((tmp_path / "config.json").read_text())
  prepare(tmp_path / "other", Earlier(depth=4))
  with pytest.raises(errors.UserError, match="depth was 4 and is now not set"):
    prepare(tmp_path / "other", Shrunk())


def test_an_option_of_a_later_version_may_be_none(tmp_path):
  prepare(tmp_path, Config(options=MappingProxyType({"path": "a"})))
  later = {"path": "a", "time": "when"}
  with pytest.raises(errors.UserError, match="options.time was not set and"):
    prepare(tmp_path, Config(options=MappingProxyType(later)))
  prepare(tmp_path, Config(options=MappingProxyType({**later, "time": None})))


def test_fields_that_may_change(tmp_path):
  prepare(tmp_path)
  other = Config(optim=Optim(lr=0.5), num_updates=20)
  with pytest.raises(errors.UserError, match=r"\(optim.lr was 0.001 and is n"):
    prepare(tmp_path, other, may_change=("num_updates", "opt"))
  prepare(tmp_path, other, may_change=("num_updates", "optim"))
  stored = json.loads((tmp_path / "config.json").read_text())
  assert stored["config"]["num_updates"] == 20


def test_open_existing_reads_only(tmp_path):
  with pytest.raises(errors.UserError, match="holds no run of 'toy': train f"):
    run_directory.open_existing(tmp_path, Config(), experiment="toy")
  prepare(tmp_path)
  before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
  path = run_directory.open_existing(tmp_path, Config(), experiment="toy")
  assert isinstance(path, pathlib.Path)
  assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
  with pytest.raises(errors.UserError, match="num_updates was 10"):
    run_directory.open_existing(
      tmp_path, Config(num_updates=3), experiment="toy"
    )


@pytest.mark.parametrize(
  ("found", "age"), [(None, "an earlier"), (1, "an earlier"), (99, "a later")]
)
def test_a_run_of_another_format_is_refused(tmp_path, found, age):
  prepare(tmp_path)
  file = tmp_path / "config.json"
  stored = json.loads(file.read_text())
  del stored["format"]
  if found is not None:
    stored["format"] = found
  file.write_text(json.dumps(stored))
  message = f"run of format {found or 1}, written by {age} version of jaxseq"
  with pytest.raises(errors.UserError, match=message):
    prepare(tmp_path)
  with pytest.raises(errors.UserError, match=message):
    run_directory.open_existing(tmp_path, Config(), experiment="toy")


def test_a_path_that_the_locale_cannot_spell_gets_one_sentence(tmp_path):
  # What Python makes of the bytes of "ä" where the locale is ASCII.
  with pytest.raises(errors.UserError, match="locale's encoding .*PYTHONUTF8"):
    prepare(tmp_path / b"\xc3\xa4".decode("ascii", "surrogateescape"))
  assert not list(tmp_path.iterdir())
