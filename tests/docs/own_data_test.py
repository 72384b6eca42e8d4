"""The page on data of one's own: its calls run, its commands are accepted."""

import importlib
import json
import pathlib
import re
import shlex

import numpy as np
import pytest

from jaxseq import data
from jaxseq.programs import command as command_line
from jaxseq.tasks import lines
from jaxseq.training import configuration

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_PAGE = (_ROOT / "docs" / "own_data.md").read_text()


def _blocks(language):
  return re.findall(rf"```{language}\n(.*?)```", _PAGE, re.DOTALL)


def _table(header, rows):
  return "\n".join([header, *rows]) + "\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """A folder with files of the names and columns that the page shows."""
  monkeypatch.chdir(tmp_path)
  rng = np.random.default_rng(0)
  walks, load, sales, shop, ratings = (
    block.splitlines()[0] for block in _blocks("csv")
  )
  names = [f"{i}" for i in range(40)]
  kinds = ["walk" if i % 2 else "run" for i in range(40)]
  lengths = rng.integers(4, 9, 40)
  rows = [
    f"{name},{t / 2},{rng.normal():.3f},{rng.normal():.3f},{kind}"
    for name, kind, length in zip(names, kinds, lengths)
    for t in range(length)
  ]
  pathlib.Path("walks.csv").write_text(_table(walks, rows))
  hours = np.datetime64("2024-01-01T00:00") + np.arange(400) * np.timedelta64(
    1, "h"
  )
  rows = [f"{hour},{np.sin(i)},{np.cos(i)}" for i, hour in enumerate(hours)]
  pathlib.Path("load.csv").write_text(_table(load, rows))
  days = np.datetime64("2024-01-01") + np.arange(230)
  rows = [
    f"{day},{shop},{2 + i % 3 / 2},{'fair' if i % 9 == 0 else ''},"
    f"{20 + i % 7 if i < 216 else ''}"
    for shop in ("Bonn,west", "Jena,east")
    for i, day in enumerate(days)
  ]
  pathlib.Path("sales.csv").write_text(_table(sales, rows))
  rows = [
    f"user {i},{time:.3f},{'view' if time < 1 else 'buy'}"
    for i in range(30)
    for time in np.cumsum(rng.exponential(size=9) + 0.01)
  ]
  pathlib.Path("shop.csv").write_text(_table(shop, rows))
  rows = [
    f"user {i},item {item},{time}"
    for i in range(30)
    for time, item in enumerate(rng.permutation(20)[:6])
  ]
  pathlib.Path("ratings.csv").write_text(_table(ratings, rows))
  rows = [f"{i},{x}" for i in range(30) for x in ("received,1", "packed,2")]
  pathlib.Path("log.csv").write_text(_table("order,step,time", rows))
  rows = [f"{i % 7},{i % 5},{i}" for i in range(60)]
  pathlib.Path("follows.csv").write_text(
    _table("source,destination,time", rows)
  )
  row = {"time_since_start": [0, 0.5, 2], "type_event": [0, 1, 0]}
  pathlib.Path("taxi").mkdir()
  for part in ("train", "dev", "test"):
    pathlib.Path("taxi", f"{part}.json").write_text(json.dumps([row] * 4))
  pathlib.Path("notes.txt").write_text(_PAGE)
  data.token_text.write("corpus", "notes.txt")
  pathlib.Path("reports").mkdir()
  for i in range(10):
    pathlib.Path("reports", f"{i}.txt").write_text("a\nb\n\nc\nd\n")
  np.savez("walks.npz", X=rng.normal(size=(40, 5, 2)), y=np.array(kinds))
  head = "@timeStamps false\n@classLabel true run walk"
  cases = [f"1,2,{i}:{kind}" for i, kind in enumerate(kinds)]
  pathlib.Path("walks.ts").write_text(_table(f"{head}\n@data", cases))
  image = pytest.importorskip("PIL.Image")
  for i, kind in enumerate(kinds):
    place = pathlib.Path("leaves", kind, f"{i}.png")
    place.parent.mkdir(parents=True, exist_ok=True)
    pixels = rng.integers(0, 256, (4, 4)).astype(np.uint8)
    image.fromarray(pixels).save(place)
  return tmp_path


def test_the_calls_of_the_page_run(folder):
  names = {}
  for block in _blocks("python"):
    exec(compile(block, "own_data.md", "exec"), names)
  assert names["splits"].info.description == "Waves; which?"
  assert len(names["series"].values) == 4
  assert len(names["examples"].ids) == 40
  assert names["dataset"].inputs.shape[1:] == (8, 2)
  assert names["forecast"]["shop"].tolist() == ["Bonn"] * 14 + ["Jena"] * 14
  assert names["forecast"]["time"][14] == np.datetime64("2024-08-04")


def _config(command):
  """The config that a command asks for."""
  words = shlex.split(command.replace("\\\n", " "))
  if words[0] == "jaxseq":
    flags = command_line.with_config(words[2], words[2:])[1:]
    module = lines.LINES[words[2]].body
  else:
    module, flags = words[2], words[3:]
  values = dict(flag.removeprefix("--").split("=", 1) for flag in flags)
  file = str(_ROOT / values.pop("config"))
  assert values.pop("workdir")
  overrides = [
    f"{field.removeprefix('config.')}={value}"
    for field, value in values.items()
  ]
  kind = importlib.import_module(module).Config
  return configuration.load(file, overrides, kind)


@pytest.mark.parametrize("command", _blocks("bash"))
def test_the_commands_of_the_page_find_their_data(folder, command):
  config = _config(command)
  more = {}
  if "forecast" in command:
    more = {"input_length": config.input_length, "horizon": config.horizons[0]}
  splits = data.load(config.data, **more, **config.data_options)
  assert len(splits.train.inputs) > 0
  assert splits.info.preparation.reader is not None
