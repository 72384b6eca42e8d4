"""Drafts of what comes next, which a network reads and accepts in part."""

from typing import Any
from typing import NamedTuple
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq._types import PyTree
from jaxseq.generation import token_sampling
from jaxseq.recurrence import tree as trees


class Draws(NamedTuple):
  """The draws of the rows of one pass.

  A token is drawn by its row's key folded by its number in the row. So are the
  tokens of `generation.generate`, and what nodes of a draft at the same place
  say does not differ by chance.
  """

  keys: jax.Array  # (rows,)
  controls: token_sampling.Controls  # With rows in front.
  length: jax.Array  # (rows,) int, tokens that each row has.
  # Of the nodes, (rows, nodes, ...); None without penalties.
  history: token_sampling.History | None = None
  # (rows, nodes, vocab) bool, what may follow them; None for all.
  allowed: jax.Array | None = None

  def process(self, logits: jax.Array, depth: np.ndarray) -> jax.Array:
    """Applies the options of sampling to logits of what follows nodes.

    Args:
      logits: (rows, nodes, vocab).
      depth: (nodes,) depths of the nodes.

    Returns:
      (rows, nodes, vocab), unnormalized log probabilities; of a temperature of
      0 one token alone has a probability.
    """
    logits, controls = self._processed(logits, depth)
    best = token_sampling.most_probable(logits)
    first = jnp.arange(logits.shape[-1]) == best[..., None]
    alone = jnp.where(first, 0, -jnp.inf).astype(logits.dtype)
    return jnp.where(controls.temperature[..., None] == 0, alone, logits)

  def tokens(self, logits: jax.Array, depth: np.ndarray) -> jax.Array:
    """Draws the token that follows each node: (rows, nodes) int32."""
    logits, controls = self._processed(logits, depth)
    # Nodes of a depth have the same place in the row, and so the same noise.
    places = self.length[:, None] + np.arange(depth.max() + 1)
    keys = jnp.broadcast_to(self.keys[:, None], places.shape)
    keys = token_sampling.fold(keys, places)
    return token_sampling.draw(keys, logits, controls.temperature, depth)

  def _processed(self, logits, depth):
    """Logits by the options, and these with an axis of nodes."""
    controls = jax.tree.map(lambda leaf: leaf[:, None], self.controls)
    logits = token_sampling.process_logits(
      logits,
      controls,
      length=self.length[:, None] + depth,
      history=self.history,
      allowed=self.allowed,
    )
    return logits, controls


class Guess(NamedTuple):
  """A draft."""

  ids: jax.Array  # (rows, nodes) int32, the last token of each row at the root.
  source: PyTree = None  # What the draft was made of, for its maker.


class Verdict(NamedTuple):
  """Accepted nodes of a draft."""

  # (rows, depth): the accepted ones from the root on, and others behind these.
  nodes: jax.Array
  count: jax.Array  # (rows,) how many are accepted; at least 1, the root.
  tokens: jax.Array  # (rows, depth) the token that follows each of them.


class Draft(Protocol):
  """A way to make drafts; hashable. What it remembers is an array or a pytree.

  Attributes:
    tree: the draft's tree, whose only root, node 0, is the last token.
  """

  tree: trees.Tree

  def begin(self, memory: PyTree, vocab: int, rows: int) -> PyTree:
    """Returns the memory to begin with; `memory` is None or an earlier one."""
    ...

  def read_prompt(
    self, memory: PyTree, tokens: jax.Array, reset: Any, logits: jax.Array
  ) -> PyTree:
    """Takes the prompts in, but for their last tokens, and returns the memory.

    Args:
      memory: what was remembered.
      tokens: (rows, time).
      reset: (rows, time) bool, or None.
      logits: (rows, time, vocab) of what follows them.
    """
    ...

  def propose(self, memory: PyTree, recent: jax.Array, draws: Draws) -> Guess:
    """Makes a draft after the last two tokens (rows, 2) of each row.

    The draws know neither histories nor what is allowed: a draft is no more
    than a guess.
    """
    ...

  def judge(self, guess: Guess, logits: jax.Array, draws: Draws) -> Verdict:
    """Accepts a part of a draft, by what follows its nodes."""
    ...

  def learn(
    self,
    memory: PyTree,
    recent: jax.Array,
    guess: Guess,
    logits: jax.Array,
    verdict: Verdict,
  ) -> PyTree:
    """Takes in a pass; `verdict.count` is 0 in rows that had ended."""
    ...


def follow(tree: trees.Tree, ids: jax.Array, drawn: jax.Array) -> Verdict:
  """Accepts the longest path of a tree of which every token was drawn.

  Siblings may hold equal tokens, so that the first that fits may not be the one
  to go on from: of all paths the one that goes deepest is taken, and of equally
  deep ones the first in the order of the leaves.
  """
  right = jnp.ones(ids.shape, bool)
  parents = np.array(tree.parents)
  for nodes in tree.levels[1:]:
    above = parents[nodes]
    same = ids[:, nodes] == drawn[:, above]
    right = right.at[:, nodes].set(right[:, above] & same)
  paths = np.maximum(tree.paths, 0)
  counts = jnp.sum(right[:, paths] & (tree.paths >= 0), axis=-1)
  nodes = jnp.asarray(paths)[jnp.argmax(counts, axis=-1)]
  tokens = jnp.take_along_axis(drawn, nodes, axis=1)
  return Verdict(nodes, jnp.max(counts, axis=-1), tokens)
