"""Bounds on what a file may ask for: memory, time, and other files.

Readers open files by `open(path, opener=limits.regular)`, `read_bytes` or
`read_text`.
"""

import os
import pathlib
import re
import stat
from typing import Any

# Bytes that any file may become.
FREE = 2**28
# Beyond them, bytes in memory for each byte of the file. Text of short numbers
# becomes four times as much and a picture of one color a thousand times.
RATIO = 100
# Bytes that an object of Python takes, such as an array of a few numbers.
OBJECT = 200
# Elements of a sequence, times of a forecast, or tokens of a vocabulary.
COUNT = 2**22
# Pixels of a picture: 4096 x 4096.
PIXELS = 2**24
# Bytes of a file of JSON, such as a tokenizer's: those of large models have 10
# MB.
JSON = 2**26


class NoFile(ValueError):
  """A place holds a pipe or a device: reading one may never end."""


def regular(path: str | os.PathLike, flags: int) -> int:
  """Opens a regular file, for the argument `opener` of `open`.

  Raises:
    NoFile: if it is a pipe or a device.
    OSError: if it cannot be opened.
  """
  # Without the flag, a pipe that nobody writes to is never open.
  descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
  mode = os.fstat(descriptor).st_mode
  # `open` has an error of its own for directories.
  if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
    return descriptor
  os.close(descriptor)
  raise NoFile(f"{path}: got a pipe or a device, expected a file.")


def check_regular(path: str | os.PathLike) -> None:
  """Refuses pipes and devices, which other libraries would open."""
  with open(path, "rb", opener=regular):
    pass


def read_bytes(path: str | os.PathLike, most: int | None = None) -> bytes:
  """Returns the content of a regular file.

  Args:
    path: the file.
    most: bytes that it may have; any number if None.

  Raises:
    ValueError: if it is a pipe or a device, or has more bytes.
    OSError: if it cannot be read.
  """
  with open(path, "rb", opener=regular) as file:
    size = os.fstat(file.fileno()).st_size
    if most is not None and size > most:
      raise ValueError(f"{path}: got {size} bytes, expected at most {most}.")
    # A buffer of that size is allocated; some files of the system tell none.
    return file.read(-1 if most is None else size or most)


def read_text(path: str | os.PathLike, most: int | None = None) -> str:
  """Returns the content of a regular file in UTF-8, see `read_bytes`."""
  try:
    return read_bytes(path, most).decode()
  except UnicodeDecodeError as error:
    raise ValueError(f"{path}: got {error.reason}, expected UTF-8.") from error


def check_growth(what: str | os.PathLike, size: int, held: int) -> None:
  """Refuses arrays that are out of proportion to the file that they come from.

  Args:
    what: the file, for the message.
    size: bytes that its arrays would take.
    held: bytes of the file, or of the numbers in it.

  Raises:
    ValueError: if `size` is above `FREE` and above `RATIO` times `held`.
  """
  most = max(FREE, RATIO * held)
  if size > most:
    raise ValueError(
      f"{what}: got {held} bytes that would take {size} in memory, expected "
      f"at most {most}."
    )


def check_within(
  path: str | os.PathLike, folder: str | os.PathLike
) -> pathlib.Path:
  """Refuses a file of a set that lies outside of the set's folder.

  Args:
    path: the file, which need not exist; symbolic links are followed.
    folder: the folder of the set, which may be a link itself.

  Returns:
    The path.

  Raises:
    ValueError: if the path, or what it links to, is not below the folder.
  """
  real, root = os.path.realpath(path), os.path.realpath(folder)
  if not real.startswith(os.path.join(root, "")):
    raise ValueError(
      f"{path} leads to {real}, expected a file of the set in {folder}: what "
      "lies outside is not read. Put the file itself there."
    )
  return pathlib.Path(path)


def ways(pattern: str, length: int) -> int:
  """Returns in how many ways a regular expression may be tried on a text.

  Python tries one after the other, and nothing can interrupt it. The number is
  a bound; `(a+)+` has more than any computer can try.

  Args:
    pattern: of `re`, which can be compiled.
    length: characters of the text.
  """
  return _ways(re._parser.parse(pattern), length)  # pyrefly: ignore


# More than can be tried.
_ENDLESS = 2**62
_REPEATS = ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT")


def _ways(part: Any, length: int) -> int:
  """Ways of a part of a parsed pattern: of a sequence, all multiplied."""
  total = 1
  for kind, argument in part:
    name = str(kind)
    if name == "BRANCH":
      total *= sum(_ways(branch, length) for branch in argument[1])
    elif name in _REPEATS:
      least, most, inner = argument
      most = min(int(most), length)
      each = _ways(inner, length)
      # A number of repetitions, and the ways of each.
      total *= max(1, most - least + 1) * each ** min(most, 64)
    elif isinstance(argument, tuple):
      # Groups, which hold a part beside numbers, and what looks around.
      inner = (x for x in argument if isinstance(x, type(part)))
      for each in inner:
        total *= _ways(each, length)
    elif isinstance(argument, type(part)):
      total *= _ways(argument, length)
    total = min(total, _ENDLESS)
  return total
