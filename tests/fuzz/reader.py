"""A reader of files, and whole files for it to read."""

from collections.abc import Callable
import pathlib
from typing import Any
from typing import NamedTuple

from jaxseq import data
from jaxseq import limits
from jaxseq.data import checks
from jaxseq.data import datasets


class Reader(NamedTuple):
  """A reader and what it reads.

  Attributes:
    files: contents by the files' names.
    read: reads the folder of the files.
    wrap: what a file is put into after it was damaged, so that damage gets
      behind a checksum or into something compressed.
    share: share of the examples to try, less for readers that take long.
    needs: a package without which it reads nothing; "" for none.
  """

  files: dict[str, bytes]
  read: Callable[[pathlib.Path], Any]
  wrap: Callable[[bytes], bytes] = bytes
  share: float = 1.0
  needs: str = ""


def one(read: Callable[[pathlib.Path], Any]) -> Callable[[pathlib.Path], Any]:
  """Reads the only file of a folder."""
  return lambda folder: read(folder / "file")


def words(path: pathlib.Path) -> str:
  """The content of a file, whatever it is, as text."""
  return limits.read_bytes(path).decode("utf-8", "replace")


def checked(load: Callable[..., data.Splits], **options: Any):
  """Loads and checks as `data.load` does."""
  return lambda folder: checks.check_splits(load(folder, **options))


def again(read: Callable[[pathlib.Path], data.Splits], place: str = ""):
  """Reads further files of the form of a set, as a trained model does.

  Args:
    read: loads the set; its first files are whole.
    place: of what is read, in the folder.
  """
  prepared: list[data.Source] = []

  def run(folder):
    if not prepared:
      prepared.append(read(folder).info.preparation)
    return prepared[0].read(folder / place)

  return run


def refused(read: Callable[[pathlib.Path], Any]):
  """Reads a file that has to be the published one, which this is not."""

  def run(folder):
    try:
      read(folder)
    except (limits.NoFile, datasets.MissingData):
      raise
    except ValueError:
      return
    raise AssertionError("it was read")

  return run


def write(reader: Reader, folder: pathlib.Path) -> None:
  """Writes the files of a reader."""
  for file, content in reader.files.items():
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(reader.wrap(content))
