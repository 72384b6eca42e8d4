"""Token Recycling: drafts of tokens that were candidates before.

Luo et al., "Turning trash into treasure: Accelerating inference of large
language models with Token Recycling", arXiv:2408.08696, with the details of
their code. A matrix has for every token its most probable successors when it
was last read. A static tree of them, from the last token on, is a draft, which
the network reads in one pass; the successors of all of its nodes, accepted or
not, update the matrix.
"""

import dataclasses

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.generation import _drafts
from jaxseq.recurrence import tree as trees

# Paths of ranks, level by level.
_PAPER = """
0 1 2 3 4 5 6 7
00 01 02 03 04 05 06 07 10 11 12 13 20 21 22 30 31 40 50 60 70
000 001 002 003 004 005 006 007 010 011 012 020 021 030 040 050 060 070
100 101 110 200 300 400 500
0000 0001 0002 0003 0004 0010 0011 0020 0030 0040 0100 0200 1000 2000 3000
00000 00001 00002 00010 00020 00100 01000 10000
000000 000001 000100
"""
_SMALL = "0 1 2 00 01 10 000 001 0000"


def _tree(words):
  return trees.from_ranks([tuple(map(int, word)) for word in words.split()])


# The tree of the paper's code, with 80 guesses.
PAPER_TREE = _tree(_PAPER)
# A tree for machines on which a pass over many tokens costs more than over one.
SMALL_TREE = _tree(_SMALL)


@dataclasses.dataclass(frozen=True)
class Recycling:
  """Options of Token Recycling.

  Its memory is the matrix, (vocab ** context, candidates) integers, 0 at first.
  All rows of a batch share it, and later calls can continue with it.

  Attributes:
    tree: the draft's tree, whose node 0 is the last token.
    candidates: number of successors of each token in the matrix.
    context: number of last tokens, 1 or 2, that index the matrix. The paper's
      is 1; 2 is an extension for small vocabularies, as of bytes.
    reads_prompt: whether the matrix also learns from the tokens of prompts.
  """

  tree: trees.Tree = PAPER_TREE
  candidates: int = 8
  context: int = 1
  reads_prompt: bool = True

  def __post_init__(self):
    expected = "a Tree: recycling.SMALL_TREE"
    validate.instance("tree", self.tree, trees.Tree, expected)
    if self.tree.parents.count(-1) != 1:
      raise validate.error("tree", self.tree.parents, "a tree with one root")
    validate.integer("candidates", self.candidates, max(self.tree.ranks) + 1)
    validate.integer("context", self.context, 1, 2)

  def begin(
    self, memory: jax.Array | None, vocab: int, rows: int = 1
  ) -> jax.Array:
    """Returns a matrix of zeros, or checks that of an earlier call."""
    del rows
    validate.integer("vocab", vocab, self.candidates)
    size = vocab**self.context
    if size > np.iinfo(np.int32).max:
      expected = f"1 for a vocabulary of {vocab} tokens"
      raise validate.error("context", self.context, expected)
    shape = size, self.candidates
    if memory is not None:
      validate.shape("memory", memory, shape)
      return memory
    return jnp.zeros(shape, jnp.int16 if vocab <= 2**15 else jnp.int32)

  def read_prompt(
    self,
    memory: jax.Array,
    tokens: jax.Array,
    reset: jax.Array | None,
    logits: jax.Array,
  ) -> jax.Array:
    """Puts candidates after prompts into the matrix, if `reads_prompt`."""
    del reset
    if not self.reads_prompt:
      return memory
    before = jnp.pad(tokens, [(0, 0), (1, 0)])[:, :-1]
    return self._put(memory, tokens, before, logits, True)

  def propose(
    self, memory: jax.Array, recent: jax.Array, draws: _drafts.Draws
  ) -> _drafts.Guess:
    """Fills the tree with tokens, without random draws."""
    del draws
    parents, ranks = np.array(self.tree.parents), np.array(self.tree.ranks)
    ids = jnp.zeros((recent.shape[0], self.tree.size), jnp.int32)
    ids = ids.at[:, 0].set(recent[:, 1])
    for nodes in self.tree.levels[1:]:
      places = self._places(memory, ids, self._before(ids, recent))
      token = memory[places[:, parents[nodes]], ranks[nodes]]
      ids = ids.at[:, nodes].set(token.astype(jnp.int32))
    return _drafts.Guess(ids)

  def judge(
    self, guess: _drafts.Guess, logits: jax.Array, draws: _drafts.Draws
  ) -> _drafts.Verdict:
    """Draws the token after every node, and accepts nodes that match.

    The tokens are thus draws of the network's own distribution, and the draft
    affects only their number in a pass.
    """
    drawn = draws.tokens(logits, self.tree.depths)
    return _drafts.follow(self.tree, guess.ids, drawn)

  def learn(
    self,
    memory: jax.Array,
    recent: jax.Array,
    guess: _drafts.Guess,
    logits: jax.Array,
    verdict: _drafts.Verdict,
  ) -> jax.Array:
    """Puts the candidates after every node, used or not, into the matrix.

    Of equal tokens the last node counts, and of equal logits the lower token;
    rows without accepted nodes are left out.
    """
    before = self._before(guess.ids, recent)
    active = verdict.count[:, None] > 0
    return self._put(memory, guess.ids, before, logits, active)

  def _before(self, ids, recent):
    """Returns the token before each node."""
    before = ids[:, np.maximum(self.tree.parents, 0)]
    return before.at[:, 0].set(recent[:, 0])

  def _places(self, matrix, ids, before):
    """Returns the rows of the matrix for tokens, by those before them."""
    if self.context == 1:
      return ids
    return ids + before * round(matrix.shape[0] ** 0.5)

  def _put(self, matrix, ids, before, logits, active):
    rows = len(matrix)
    places = self._places(matrix, ids, before)
    places = jnp.where(active, places, rows).reshape(-1)
    _, best = lax.top_k(logits, self.candidates)
    best = best.reshape(-1, self.candidates).astype(matrix.dtype)
    # The order of several writes to a place is undefined on accelerators, so
    # that there must be only one.
    order = jnp.arange(places.size)
    if places.size**2 < rows:
      same = places[:, None] == places
      wins = ~jnp.any(same & (order[:, None] < order), axis=1)
    else:
      last = jnp.full((rows,), -1).at[places].max(order, mode="drop")
      wins = last.at[places].get(mode="fill", fill_value=-1) == order
    return matrix.at[jnp.where(wins, places, rows)].set(best, mode="drop")
