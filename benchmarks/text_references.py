"""What compressors and n-grams make of a text: the lines to stay below.

  python -m benchmarks.text_references [--data kjv] [--order 5]

Bits per byte of the test text: by bzip2, alone and appended to the text before
it; and by a Witten-Bell interpolated n-gram of the training text (Witten and
Bell, "The zero-frequency problem", 1991), for each number of bytes before.
"""

import argparse
import bz2

import numpy as np

from jaxseq import data
from jaxseq.tasks import language


def bits_bzip2(text: bytes, before: bytes = b"") -> float:
  """Returns the bits per byte that `text` adds to what is `before` it."""
  whole, first = (len(bz2.compress(t, 9)) for t in (before + text, before))
  return 8 * (whole - (first if before else 0)) / len(text)


def _contexts(text: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray]:
  """Numbers for the `order` bytes before each byte, without it and with it."""
  padded = np.concatenate([np.zeros(order, np.int64), text])
  before = np.zeros(len(text), np.int64)
  for i in range(order):
    before = 256 * before + padded[i : i + len(text)]
  return before, 256 * before + text


def _counts(values: np.ndarray, asked: np.ndarray) -> np.ndarray:
  """Returns how often each of `asked` stands in `values`."""
  kinds, counts = np.unique(values, return_counts=True)
  place = np.minimum(np.searchsorted(kinds, asked), len(kinds) - 1)
  return np.where(kinds[place] == asked, counts[place], 0)


def bits_ngrams(train: bytes, test: bytes, order: int) -> list[float]:
  """Returns the bits per byte of `test` for 0 to `order` bytes before.

  p_n = (c(h, x) + t(h) p_{n-1}) / (c(h) + t(h)), where t(h) is the number of
  different bytes after the n bytes h; p_{-1} is uniform over 256.
  """
  train, test = (
    np.frombuffer(t, np.uint8).astype(np.int64) for t in (train, test)
  )
  p = np.full(len(test), 1 / 256)
  bits = []
  for n in range(order + 1):
    contexts, pairs = _contexts(train, n)
    asked_contexts, asked_pairs = _contexts(test, n)
    seen = _counts(contexts, asked_contexts)
    kinds = _counts(np.unique(pairs) // 256, asked_contexts)
    pair = _counts(pairs, asked_pairs)
    p = np.where(seen > 0, (pair + kinds * p) / np.maximum(seen + kinds, 1), p)
    bits.append(float(-np.log2(p).mean()))
  return bits


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--data", default="kjv", help="a text of jaxseq.data")
  parser.add_argument("--order", type=int, default=5, help="bytes before")
  flags = parser.parse_args()
  if not 0 <= flags.order <= 6:
    parser.error(f"--order: got {flags.order}, expected 0 to 6 bytes.")
  try:
    splits = data.load(flags.data)
    # Refuses what is no text.
    language.from_splits(splits)
  except ValueError as error:
    parser.error(str(error))
  train, valid, test = (part.targets[0].tobytes() for part in splits[:3])
  before = train + valid
  print(
    f"{flags.data}: {len(train):,} bytes to train on, {len(test):,} to test"
  )
  print(f"bzip2, the whole text       {bits_bzip2(before + test):.2f}")
  print(f"bzip2, the test text alone  {bits_bzip2(test):.2f}")
  print(f"bzip2, appended to the rest {bits_bzip2(test, before):.2f}")
  for n, bits in enumerate(bits_ngrams(train, test, flags.order)):
    print(f"{n} bytes before             {bits:.2f}")


if __name__ == "__main__":
  main()
