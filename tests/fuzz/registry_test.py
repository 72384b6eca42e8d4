"""Every reader of the package is among those that damaged files are tried on.

What a reader opens goes through one opener, `limits.regular`. Here all whole
files are read once, and who was there when a file was opened is noted.
"""

import inspect
import os
import pathlib
import sys

import pytest

from jaxseq import data
from jaxseq import limits
from jaxseq.data.sources import registry as kinds
from jaxseq.interop import described_file
from tests.fuzz import model_readers
from tests.fuzz import readers
from tests.fuzz.reader import write

_PACKAGE = pathlib.Path(limits.__file__).parent
_OPENERS = ("regular", "read_bytes", "read_text", "check_regular")


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
  """Code that was running when a file was opened, of all readers."""
  running = set()
  opener = limits.regular

  def noted(path, flags):
    frame = sys._getframe(1)
    while frame is not None:
      running.add(frame.f_code)
      frame = frame.f_back
    return opener(path, flags)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(limits, "regular", noted)
    for name, reader in readers.READERS.items():
      folder = tmp_path_factory.mktemp("whole")
      write(reader, folder)
      try:
        reader.read(folder)
      except data.datasets.MissingData:
        # What it opens it opens before.
        assert reader.needs, name
  return running


def test_all_modules_that_open_files_are_fuzzed(opened):
  names = {code.co_filename for code in opened}
  lacking = [
    path.relative_to(_PACKAGE).as_posix()
    for path in sorted(_PACKAGE.rglob("*.py"))
    if path.name != "limits.py"
    and any(f"limits.{name}" in path.read_text() for name in _OPENERS)
    and str(path) not in names
  ]
  assert not lacking, f"no reader of tests/fuzz opens files by {lacking}"


def _takes_a_path(function):
  hints = [
    str(x.annotation) for x in inspect.signature(function).parameters.values()
  ]
  return any("PathLike" in hint or "Path" in hint for hint in hints)


def test_all_loaders_of_files_are_fuzzed(opened):
  lacking = [
    name
    for name in data.registry.names()
    if _takes_a_path(data.loader(name))
    and data.loader(name).__code__ not in opened
  ]
  assert not lacking, f"no reader of tests/fuzz loads {lacking}"


def test_all_kinds_of_data_are_fuzzed_as_models_read_them(opened):
  lacking = [
    name
    for name in kinds.KINDS
    if kinds.KINDS.get(name).forms
    and kinds.KINDS.get(name)._read.__code__ not in opened
  ]
  assert not lacking, f"no reader of tests/fuzz reads {lacking} again"


def test_all_kinds_of_files_that_describe_themselves_are_fuzzed():
  assert model_readers.KINDS.keys() == set(described_file.KINDS.names())
  assert set(model_readers.KINDS.values()) <= readers.READERS.keys()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_pipes_and_devices_end_no_reader(kind, tmp_path):
  for number, (name, reader) in enumerate(readers.READERS.items()):
    if reader.share < 0.2 or reader.needs:
      continue
    for file in _of_each_kind(reader.files):
      folder = tmp_path / f"{number}-{file.replace('/', '-')}"
      write(reader, folder)
      (folder / file).unlink()
      if kind == "pipe":
        os.mkfifo(folder / file)
      else:
        (folder / file).symlink_to("/dev/zero")
      try:
        reader.read(folder)
      except (ValueError, OSError, model_readers.integrity.DamagedError):
        continue
      # Files that are none are left out of a folder.
      assert len(reader.files) > 1, (name, file)


def _of_each_kind(files):
  """The first file of each ending."""
  found = {}
  for file in files:
    found.setdefault(pathlib.PurePath(file).suffix or file, file)
  return found.values()
