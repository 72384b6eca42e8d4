"""Synthetic RNA: planted hairpins, and structures folded by ViennaRNA.

    splits = data.load("rna", examples=4000, length=40)
    splits = data.load("rna", planted=False, structure="folded")

Letters are drawn uniformly. A hairpin is a stem whose letters pair, across a
loop, with letters in reverse order, A with U and C with G. ViennaRNA
(`pip install 'jaxseq[rna]'`) folds sequences to the structure of minimum free
energy; Lorenz et al., Algorithms for Molecular Biology 6:26 (2011).
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from jaxseq import validate
from jaxseq.data import datasets
from jaxseq.data import packages
from jaxseq.data.sources import letters

BASES = "ACGU"
_PAIRS = {"AU", "UA", "CG", "GC", "GU", "UG"}
# Fewest letters in a loop.
LOOP = 3


def load(
  *,
  examples: int = 4000,
  length: int = 40,
  planted: bool = True,
  stem: tuple[int, int] = (6, 9),
  loop: tuple[int, int] = (4, 8),
  structure: Literal["planted", "folded"] = "planted",
  valid_fraction: float = 0.1,
  test_fraction: float = 0.25,
  seed: int = 0,
) -> datasets.Splits:
  """Generates RNA sequences, with their pairs.

  Args:
    examples: number of sequences.
    length: number of letters of each.
    planted: whether each has a hairpin, at a random place.
    stem: fewest and most pairs of a hairpin.
    loop: fewest and most letters of its loop.
    structure: source of the pairs: the hairpins if any ("planted"), or
      ViennaRNA ("folded").
    valid_fraction: share for validation.
    test_fraction: share for testing.
    seed: seed of all random choices.

  Returns:
    The splits, see `sources.letters.make_splits`, with partners if there may be
    pairs.

  Raises:
    ValueError: if an option is out of range, or a hairpin is too long.
    MissingData: if ViennaRNA is needed and not installed.
  """
  validate.integer("examples", examples, 8)
  validate.choice("structure", structure, ("planted", "folded"))
  for name, (least, most) in {"stem": stem, "loop": loop}.items():
    validate.integer(name, least, 1)
    validate.integer(name, most, least)
  longest = 2 * stem[1] + loop[1] if planted else 1
  validate.integer("length", length, longest)
  fold = folder() if structure == "folded" else None
  rng = np.random.default_rng(seed)
  sequences, partners = [], []
  for _ in range(examples):
    bases = rng.integers(0, 4, length)
    partner = np.full(length, -1)
    if planted:
      pairs = rng.integers(stem[0], stem[1] + 1)
      inner = rng.integers(loop[0], loop[1] + 1)
      begin = rng.integers(0, length - 2 * pairs - inner + 1)
      ahead = begin + np.arange(pairs)
      back = 2 * begin + 2 * pairs + inner - 1 - ahead
      bases[back] = 3 - bases[ahead]
      partner[ahead], partner[back] = back, ahead
    sequences.append("".join(BASES[i] for i in bases))
    partners.append(partner if fold is None else fold(sequences[-1]))
  source = letters.LetterSource(reader="letters", rna=True)
  return letters.make_splits(
    sequences,
    source,
    "generated",
    valid_fraction,
    test_fraction,
    partners if planted or fold else None,
  )


def folder():
  """Returns ViennaRNA's fold function: sequence to partners (n,), -1 for none.

  Raises:
    MissingData: if ViennaRNA is not installed.
  """
  package = packages.imported(
    "RNA", "jaxseq[rna]", "structures of RNA are computed by ViennaRNA"
  )
  return lambda sequence: partners_of(package.fold(sequence)[0])


def partners_of(brackets: str) -> np.ndarray:
  """Parses a structure such as "((..))" to partners (n,), -1 for none.

  Raises:
    ValueError: if brackets do not match.
  """
  partners = np.full(len(brackets), -1)
  stack: list[int] = []
  for i, sign in enumerate(brackets):
    if sign == "(":
      stack.append(i)
    elif sign == ")" and stack:
      j = stack.pop()
      partners[i], partners[j] = j, i
    elif sign != ".":
      raise validate.error(f"place {i}", repr(sign), "brackets that match")
  if stack:
    raise validate.error("brackets", f"{len(stack)} open", "none")
  return partners


def brackets_of(partners: np.ndarray) -> str:
  """Writes partners as a structure such as "((..))", see `partners_of`.

  Args:
    partners: (n,), -1 for none.
  """
  return "".join(
    "." if other < 0 else "(" if place < other else ")"
    for place, other in enumerate(partners)
  )


def nussinov(sequence: str) -> np.ndarray:
  """Returns partners (n,), -1 for none, of a structure with the most pairs.

  Pairs are A-U, C-G and G-U, three letters or more apart, and do not cross
  (Nussinov & Jacobson, PNAS 77:6309, 1980). Among the many such structures it
  returns one, without regard to energies: a baseline for models.

  Args:
    sequence: n letters of RNA.
  """
  n = len(sequence)
  may = np.array([[a + b in _PAIRS for b in sequence] for a in sequence], bool)
  # most[i, j + 1]: most pairs in sequence[i : j + 1]; 0 for shorter ones.
  most = np.zeros((n + 1, n + 1), int)
  for size in range(LOOP + 2, n + 1):
    for i in range(n - size + 1):
      j = i + size - 1
      # j is unpaired, or paired with k.
      k = np.flatnonzero(may[i : j - LOOP, j]) + i
      best = most[i, j]
      if len(k):
        best = max(best, (most[i, k] + most[k + 1, j] + 1).max())
      most[i, j + 1] = best
  partners = np.full(n, -1)
  spans = [(0, n - 1)]
  while spans:
    i, j = spans.pop()
    if j - i <= LOOP:
      continue
    if most[i, j + 1] == most[i, j]:
      spans.append((i, j - 1))
      continue
    k = np.flatnonzero(may[i : j - LOOP, j]) + i
    k = int(k[np.argmax(most[i, k] + most[k + 1, j])])
    partners[k], partners[j] = j, k
    spans += [(i, k - 1), (k + 1, j - 1)]
  return partners


def f1(
  predicted: Sequence[np.ndarray], true: Sequence[np.ndarray]
) -> dict[str, float]:
  """Returns "f1", "precision" and "recall" over the pairs of all sequences.

  Args:
    predicted: predicted partners of each sequence, -1 for none.
    true: true partners of each sequence, -1 for none.
  """

  def pairs(partners):
    return {
      (n, i, int(j))
      for n, one in enumerate(partners)
      for i, j in enumerate(one)
      if j > i
    }

  ours, theirs = pairs(predicted), pairs(true)
  hits = len(ours & theirs)
  precision, recall = hits / max(len(ours), 1), hits / max(len(theirs), 1)
  value = 2 * hits / max(len(ours) + len(theirs), 1)
  return {"f1": value, "precision": precision, "recall": recall}
