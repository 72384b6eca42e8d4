"""Bits of drawn programs of bytes, beside gzip; nothing is trained.

  python -m benchmarks.byte_programs

For each distribution: lengths of the sequences, and bits by those of the bytes
as they are, by the published count, by the prefix code, and by gzip of each
sequence and of all of them at once.
"""

import argparse
import gzip

import numpy as np

from jaxseq.data.tokens import byte_programs
from jaxseq.data.tokens import program_codes
from jaxseq.data.tokens import program_draws

_KINDS = {
  "one or two sequences, no updates": {"bases": 2, "updates": False},
  "up to five, with updates": {"bases": 5, "updates": True},
}


def ratios(count: int, seed: int, **options) -> tuple[np.ndarray, list[float]]:
  """Lengths of sequences, and the bits of four codes by those of the bytes."""
  rng = np.random.default_rng(seed)
  programs = [program_draws.draw(rng, **options) for _ in range(count)]
  sequences = [bytes(byte_programs.run(program)) for program in programs]
  whole = sum(byte_programs.raw_bits(sequence) for sequence in sequences)
  bits = (
    sum(map(byte_programs.published_bits, programs)),
    sum(len(program_codes.bits_of(program)) for program in programs),
    sum(8 * len(gzip.compress(sequence, 9)) for sequence in sequences),
    8 * len(gzip.compress(b"".join(sequences), 9)),
  )
  return np.array([*map(len, sequences)]), [size / whole for size in bits]


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--programs", type=int, default=2000, help="of each kind")
  parser.add_argument("--seed", type=int, default=123)
  flags = parser.parse_args()
  head = "programs", "mean length (5 to 95 %)", "published count"
  print(" | ".join([*head, "prefix code", "gzip, each", "gzip, all at once"]))
  for name, options in _KINDS.items():
    lengths, shares = ratios(flags.programs, flags.seed, **options)
    low, high = np.percentile(lengths, (5, 95))
    size = f"{lengths.mean():.0f} ({low:.0f} to {high:.0f})"
    print(" | ".join([name, size, *(f"{share:.3f}" for share in shares)]))


if __name__ == "__main__":
  main()
