"""The page on files and commands: its files are made so, its commands run."""

import importlib
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from benchmarks import own_file_makers
from jaxseq import data
from jaxseq.programs import command as command_line
from jaxseq.tasks import lines
from jaxseq.training import configuration

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_PAGE = (_ROOT / "docs" / "own_files.md").read_text()
_COMMANDS = {
  re.search(r"--workdir=runs/(\w+)", block)[1]: shlex.split(
    block.replace("\\\n", " ")
  )
  for block in re.findall(r"```bash\n(.*?)```", _PAGE, re.DOTALL)
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
  path = tmp_path_factory.mktemp("files")
  own_file_makers.write_all(path)
  return path


def test_the_page_shows_the_files_as_they_are_made(files):
  block = r"^(?:The folder )?`([\w.]+)` [^`]*\n\n```\w+\n(.*?)```"
  shown = dict(re.findall(block, _PAGE, re.DOTALL | re.MULTILINE))
  shown["reports/000.txt"] = shown.pop("reports")
  for name in own_file_makers.FILES:
    if (files / name).is_file() and name != "sales.csv":
      assert name in shown
  for name, beginning in shown.items():
    assert (files / name).read_text().startswith(beginning), name


@pytest.mark.parametrize("name", _COMMANDS)
def test_the_commands_find_their_data(files, name, monkeypatch):
  monkeypatch.chdir(files)
  words = _COMMANDS[name]
  assert words[:2] == ["jaxseq", "train"]
  call = command_line.with_config(words[2], words[2:])[1:]
  values = dict(flag.removeprefix("--").split("=", 1) for flag in call)
  file, _ = values.pop("config"), values.pop("workdir")
  arms = values.pop("arms", None)
  overrides = [f"{k.removeprefix('config.')}={x}" for k, x in values.items()]
  body = importlib.import_module(lines.LINES[words[2]].body)
  config = configuration.load(file, overrides, body.Config)
  assert arms is None or arms in config.arms
  more = {}
  if words[2] == "forecast":
    more = {"input_length": 28, "horizon": config.horizons[0]}
  splits = data.load(config.data, **more, **config.data_options)
  assert len(splits.train.inputs) > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", _COMMANDS)
def test_the_commands_run(files, name):
  words = [sys.executable, "-m", *_COMMANDS[name], "--tiny"]
  subprocess.run(words, check=True, cwd=files, timeout=600)
  assert (files / "runs" / name / "results.json").exists()
