"""Sentences of a small grammar, with their trees and heads.

    splits = data.load("grammar", examples=20_000)

Each word is a letter, one of 60 in eight classes. Every rule joins two parts,
one of which has the head of both: determiners, adjectives and possessors stand
before their heads, objects and prepositional phrases behind. So about as many
trees branch to the left as to the right.
"""

import bisect
import itertools
import random
import string

import numpy as np

from jaxseq import validate
from jaxseq.data import datasets
from jaxseq.data.sources import letters

# Number of words of each class, in the order of WORDS.
CLASSES = {
  "determiner": 4,
  "noun": 20,
  "adjective": 10,
  "verb": 6,
  "transitive": 10,
  "preposition": 6,
  "possessive": 2,
  "complementizer": 2,
}
WORDS = (string.ascii_letters + string.digits)[:60]
CLASS_OF = dict(
  zip(WORDS, (name for name, count in CLASSES.items() for _ in range(count)))
)
_WORDS_OF = {
  name: [word for word in WORDS if CLASS_OF[word] == name] for name in CLASSES
}
# Parts are word classes, or two parts, as (share, left, right, head).
RULES = {
  "sentence": (
    (0.5, "phrase", "predicate", 1),
    (0.2, "adjunct", "sentence", 1),
    (0.3, "phrase", "clausal", 1),
  ),
  "predicate": (
    (0.5, "transitive", "phrase", 0),
    (0.3, "verb", "adjunct", 0),
    (0.2, "predicate", "adjunct", 0),
  ),
  "clausal": ((1.0, "transitive", "clause", 0),),
  "clause": ((1.0, "complementizer", "sentence", 0),),
  "adjunct": ((1.0, "preposition", "phrase", 0),),
  "phrase": (
    (0.5, "determiner", "noun", 1),
    (0.2, "determiner", "modified", 1),
    (0.2, "possessor", "noun", 1),
    (0.1, "phrase", "adjunct", 0),
  ),
  "modified": (
    (0.7, "adjective", "noun", 1),
    (0.3, "adjective", "modified", 1),
  ),
  "possessor": ((1.0, "phrase", "possessive", 1),),
}
_SHARES = {
  name: tuple(itertools.accumulate(rule[0] for rule in rules))
  for name, rules in RULES.items()
}


class Tree:
  """A sentence and its tree.

  Attributes:
    words: letters of `WORDS`.
    boundaries: for each word but the last, the height of the least constituent
      that holds it and the next; constituents without inner ones have height 1.
    heads: for each word the place of its head; -1 for the sentence's head.
  """

  def __init__(self, words: str):
    self.words = words
    self.boundaries: list[int] = []
    self.heads = [-1]

  @property
  def height(self) -> int:
    """Height of the sentence, 0 for a single word."""
    return max(self.boundaries, default=0)

  @property
  def root(self) -> int:
    """Place of the word that is the head of the sentence."""
    return self.heads.index(-1)


def join(left: Tree, right: Tree, head: int) -> Tree:
  """Joins two trees; `head`, 0 or 1, is the one with the common head."""
  tree = Tree(left.words + right.words)
  above = 1 + max(left.height, right.height)
  tree.boundaries = [*left.boundaries, above, *right.boundaries]
  size = len(left.words)
  tree.heads = [
    *left.heads,
    *(x if x < 0 else x + size for x in right.heads),
  ]
  roots = left.root, right.root + size
  tree.heads[roots[1 - head]] = roots[head]
  return tree


def draw(
  rng: random.Random, longest: int, part: str = "sentence"
) -> Tree | None:
  """Draws a sentence, or another part; None if it has over `longest` words."""
  if longest < 1:
    return None
  if part in CLASSES:
    return Tree(rng.choice(_WORDS_OF[part]))
  shares = _SHARES[part]
  rule = RULES[part][bisect.bisect(shares, rng.random() * shares[-1])]
  _, left, right, head = rule
  first = draw(rng, longest - 1, left)
  if first is None:
    return None
  second = draw(rng, longest - len(first.words), right)
  return second and join(first, second, head)


def load(
  *,
  examples: int = 20_000,
  shortest: int = 6,
  longest: int = 20,
  valid_fraction: float = 0.1,
  test_fraction: float = 0.1,
  seed: int = 0,
) -> datasets.Splits:
  """Generates sentences, with their trees.

  Args:
    examples: number of sentences.
    shortest: words of the shortest sentence.
    longest: words of the longest one; longer ones are drawn again.
    valid_fraction: share for validation.
    test_fraction: share for testing.
    seed: seed of all random choices.

  Returns:
    The splits, see `sources.letters.make_splits`, with extras.heads and
    extras.boundaries.

  Raises:
    ValueError: if an option is out of range.
  """
  validate.integer("examples", examples, 8)
  validate.integer("shortest", shortest, 4)
  validate.integer("longest", longest, max(shortest, 6))
  rng = random.Random(seed)
  trees: list[Tree] = []
  while len(trees) < examples:
    tree = draw(rng, longest)
    if tree is not None and len(tree.words) >= shortest:
      trees.append(tree)
  tokens = ("<cls>", "<pad>", "<eos>", "<unk>", *WORDS, "<mask>")
  splits = letters.make_splits(
    [tree.words for tree in trees],
    letters.LetterSource(reader="letters", tokens=tokens),
    "generated",
    valid_fraction,
    test_fraction,
  )
  rest = iter(trees)
  parts = [_with_trees(part, rest) for part in splits[:3]]
  return datasets.Splits(*parts, splits.info)


def _with_trees(dataset, trees):
  """A part with the trees of its sentences, after their first token."""
  heads = np.zeros_like(dataset.inputs)
  boundaries = np.zeros_like(dataset.inputs)
  for i in range(len(heads)):
    tree = next(trees)
    count = len(tree.words)
    heads[i, 1 : count + 1] = np.array(tree.heads) + 1
    boundaries[i, 1:count] = tree.boundaries
  extras = datasets.Extras(heads=heads, boundaries=boundaries)
  return dataset._replace(extras=extras)
