"""Speech Commands: spoken words of one second, from 35 words.

The folder holds a folder of wav files for each word, and the lists of the files
for validation and testing; all others are for training.

Sources: arXiv 1804.03209; 8 kHz and the ten-word subset as in arXiv 2111.00396
(S4).
"""

import os
import pathlib
import wave

import numpy as np

from jaxseq import limits
from jaxseq import validate
from jaxseq.data import datasets

RATE = 16000
# The subset used in papers that classify ten words.
TEN = tuple("yes no up down left right on off stop go".split())
_LISTS = {"valid": "validation_list.txt", "test": "testing_list.txt"}


def _read_wav(path: str | os.PathLike) -> np.ndarray:
  """Reads a recording."""
  size = os.path.getsize(path)
  content = b""
  try:
    limits.check_regular(path)
    with wave.open(os.fspath(path), "rb") as file:
      kind = (file.getnchannels(), file.getsampwidth() * 8, file.getframerate())
      if kind == (1, 16, RATE):
        # The header may announce any number of frames.
        content = file.readframes(min(file.getnframes(), size))
  except (wave.Error, EOFError, RuntimeError, OSError) as error:
    said = f"{path} is no wav file that can be read: {error}."
    raise ValueError(said) from error
  if kind != (1, 16, RATE):
    raise ValueError(
      f"{path}: got {kind[0]}, {kind[1]} and {kind[2]}, expected 1 channel, 16 "
      f"bits and {RATE} Hz."
    )
  return np.frombuffer(content[: len(content) // 2 * 2], "<i2")


def _paths(folder, words):
  """Lists the files of each part as "word/name.wav", sorted."""
  listed, advice = {}, f"unpack Speech Commands into {folder}"
  for part, name in _LISTS.items():
    path = datasets.find_file(folder / name, advice)
    limits.check_within(path, folder)
    lines = limits.read_bytes(path).decode("utf-8", "replace").splitlines()
    listed[part] = {line.strip() for line in lines}
  parts = {"train": [], "valid": [], "test": []}
  for word in words:
    names = sorted(path.name for path in (folder / word).glob("*.wav"))
    if not names:
      raise datasets.MissingData(f"{folder / word} has no wav files: {advice}.")
    for name in names:
      name = f"{word}/{name}"
      part = next((p for p in listed if name in listed[p]), "train")
      parts[part].append(name)
  return parts


def load(
  path: str | os.PathLike,
  rate: int = RATE,
  words: tuple[str, ...] | None = None,
) -> datasets.Splits:
  """Loads Speech Commands.

  All words at 16 kHz take 7 GB of memory.

  Args:
    path: folder of the set.
    rate: 16000, or 8000 for every second value, which tests zero-shot
      resampling.
    words: the words to classify; all folders if None, except those whose name
      starts with an underscore.

  Returns:
    The splits: inputs (n, rate, 1) in -1 .. 1, padded with 0 to one second;
    targets (n,). info.classes are the words.

  Raises:
    ValueError: if an option is out of range, a file is damaged, or a part is
      empty.
    MissingData: if a file or folder is missing.
  """
  if rate not in (RATE, RATE // 2):
    raise validate.error("rate", rate, f"{RATE} or {RATE // 2}")
  folder = pathlib.Path(path)
  if words is None:
    entries = [entry.name for entry in folder.glob("*") if entry.is_dir()]
    words = sorted(name for name in entries if not name.startswith(("_", ".")))
  words = tuple(words)
  parts = {}
  for part, names in _paths(folder, words).items():
    if not names:
      raise ValueError(f"{folder} has no recordings for the part {part}.")
    inputs = np.zeros((len(names), rate, 1), np.float32)
    for row, name in zip(inputs, names):
      path = limits.check_within(folder / name, folder)
      values = _read_wav(path)[:RATE][:: RATE // rate]
      row[: len(values), 0] = values / np.float32(2**15)
    labels = [words.index(name.split("/")[0]) for name in names]
    parts[part] = datasets.ArrayDataset(inputs, np.array(labels, np.int32))
  info = datasets.Info(
    description="A word spoken within a second; which?",
    source=f"Speech Commands (arXiv 1804.03209), {folder}",
    license="CC BY 4.0",
    num_classes=len(words),
    classes=words,
    rate=rate,
  )
  return datasets.Splits(**parts, info=info)
