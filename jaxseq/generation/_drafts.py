"""Drafts of next tokens, of which a network reads all and accepts a part."""

from typing import NamedTuple
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.generation import token_sampling
from jaxseq.recurrence import tree as trees
from jaxseq.types import PyTree


class Draws(NamedTuple):
  """The draws of the rows of one pass.

  A token is drawn by its row's key folded by its number in the row, as in
  `generation.generate`: nodes of a draft at the same place have the same random
  numbers.
  """

  keys: jax.Array  # (rows,)
  controls: token_sampling.Controls  # With a leading axis of rows.
  length: jax.Array  # (rows,) int, number of tokens of each row.
  # For the nodes, (rows, nodes, ...); None without penalties.
  history: token_sampling.History | None = None
  # (rows, nodes, vocab) bool, tokens allowed after them; None for all.
  allowed: jax.Array | None = None

  def process(self, logits: jax.Array, depth: np.ndarray) -> jax.Array:
    """Applies the options of sampling to the logits after nodes.

    Args:
      logits: (rows, nodes, vocab).
      depth: (nodes,) depths of the nodes.

    Returns:
      (rows, nodes, vocab), unnormalized log probabilities; at a temperature of
      0 only one token has a probability.
    """
    logits, controls = self._processed(logits, depth)
    best = token_sampling.most_probable(logits)
    first = jnp.arange(logits.shape[-1]) == best[..., None]
    greedy = jnp.where(first, 0, -jnp.inf).astype(logits.dtype)
    return jnp.where(controls.temperature[..., None] == 0, greedy, logits)

  def tokens(self, logits: jax.Array, depth: np.ndarray) -> jax.Array:
    """Draws the token that follows each node: (rows, nodes) int32."""
    logits, controls = self._processed(logits, depth)
    # Nodes of a depth have the same place in the row, and so the same noise.
    places = self.length[:, None] + np.arange(depth.max() + 1)
    keys = jnp.broadcast_to(self.keys[:, None], places.shape)
    keys = token_sampling.fold(keys, places)
    return token_sampling.draw(keys, logits, controls.temperature, depth)

  def _processed(self, logits, depth):
    """Returns logits after the options, and these with an axis of nodes."""
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
  source: PyTree = None  # The source of the draft, for the class that made it.


class Verdict(NamedTuple):
  """Accepted nodes of a draft."""

  # (rows, depth): the accepted nodes from the root on, then others.
  nodes: jax.Array
  count: jax.Array  # (rows,) number of accepted nodes; at least 1, the root.
  tokens: jax.Array  # (rows, depth) the token after each of them.


class Draft(Protocol):
  """A method of drafting; hashable. Its memory is an array or a pytree.

  Attributes:
    tree: the draft's tree, whose only root, node 0, is the last token.
  """

  tree: trees.Tree

  def begin(self, memory: PyTree, vocab: int, rows: int) -> PyTree:
    """Returns the initial memory; `memory` is None or an earlier one."""
    ...

  def read_prompt(
    self, memory: PyTree, tokens: jax.Array, reset: object, logits: jax.Array
  ) -> PyTree:
    """Reads the prompts, except for their last tokens, and returns the memory.

    Args:
      memory: the memory before.
      tokens: (rows, time).
      reset: (rows, time) bool, or None.
      logits: (rows, time, vocab), after each of them.
    """
    ...

  def propose(self, memory: PyTree, recent: jax.Array, draws: Draws) -> Guess:
    """Proposes a draft after the last two tokens (rows, 2) of each row.

    The draws have neither histories nor allowed tokens: a draft is only a
    guess.
    """
    ...

  def judge(self, guess: Guess, logits: jax.Array, draws: Draws) -> Verdict:
    """Accepts a part of a draft, by the logits after its nodes."""
    ...

  def learn(
    self,
    memory: PyTree,
    recent: jax.Array,
    guess: Guess,
    logits: jax.Array,
    verdict: Verdict,
  ) -> PyTree:
    """Updates the memory by a pass; `verdict.count` is 0 in ended rows."""
    ...


def follow(tree: trees.Tree, ids: jax.Array, drawn: jax.Array) -> Verdict:
  """Accepts the longest path of a tree whose tokens were all drawn.

  Siblings may have equal tokens, so that the first match may not be the best:
  of all paths the deepest is accepted, and among equally deep ones the first in
  the order of the leaves.
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
