"""Bounds on what a file may ask for: memory, and other files."""

import os
import pathlib

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
