"""Constraint to a list of identifiers, by a trie."""

from collections.abc import Sequence
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Trie:
  """A constraint: all tokens together are one of some identifiers.

  Its state is a node of the trie, (*batch,) int32. Memory grows with the nodes,
  not with their number times the vocabulary.

  Attributes:
    first: (nodes + 1,) int32, number of the first edge out of each node; the
      first node is the root.
    token: (edges + width,) int32, the token of each edge; then -1.
    node: (edges + width,) int32, the end of each edge.
    vocab_size: number of tokens.
    width: maximum number of edges out of a node.
  """

  first: jax.Array
  token: jax.Array
  node: jax.Array
  vocab_size: int = dataclasses.field(metadata={"static": True})
  width: int = dataclasses.field(metadata={"static": True})

  def initial(self, batch_shape: tuple[int, ...] = ()) -> jax.Array:
    """Returns the root."""
    return jnp.zeros(batch_shape, jnp.int32)

  def allowed(self, state: jax.Array) -> jax.Array:
    """Returns the tokens that may come next, (*batch, vocab) bool."""
    token, _ = self._edges(state)
    hits = token[..., None] == jnp.arange(self.vocab_size)
    return jnp.any(hits, axis=-2)

  def advance(self, state: jax.Array, token: jax.Array) -> jax.Array:
    """Returns the node after a token; one without edges if there is none."""
    tokens, nodes = self._edges(state)
    places = jnp.where(tokens == token[..., None], nodes, -1)
    nowhere = self.first.shape[0] - 2
    best = jnp.max(places, axis=-1)
    return jnp.where(best < 0, nowhere, best)

  def _edges(self, state):
    """Tokens and nodes of the edges out of a node, then -1."""
    edge = self.first[state][..., None] + jnp.arange(self.width)
    exists = edge < self.first[state + 1][..., None]
    return jnp.where(exists, self.token[edge], -1), self.node[edge]


def build(
  identifiers: Sequence[Sequence[int]],
  vocab_size: int,
  *,
  end_token: int | None = None,
) -> Trie:
  """Builds a trie.

  Args:
    identifiers: tokens of each, as lists or bytes; equal ones count once.
    vocab_size: number of tokens.
    end_token: token that ends a text, permitted only after a whole identifier,
      and after itself; no identifier has it. None if no token ends a text.

  Raises:
    ValueError: if there are no identifiers, one is empty, or a token is out of
      range.
  """
  validate.positive("vocab_size", vocab_size)
  if not len(identifiers):
    raise validate.error("identifiers", [], "at least one")
  if end_token is not None:
    validate.integer("end_token", end_token, 0, vocab_size - 1)
  # Edges of each node; the last node has none, the one before it the end's.
  nodes: list[dict[int, int]] = [{}]
  whole = set()
  for number, identifier in enumerate(identifiers):
    node = 0
    if isinstance(identifier, str) or not np.iterable(identifier):
      expected = "tokens, as a list or bytes"
      raise validate.error(f"identifier {number}", identifier, expected)
    tokens = np.asarray(list(identifier))
    if tokens.ndim != 1 or not len(tokens) or tokens.dtype.kind not in "iu":
      expected = "(tokens,) integers, at least one"
      raise validate.error(f"identifier {number}", identifier, expected)
    for token in tokens.tolist():
      if not 0 <= token < vocab_size or token == end_token:
        expected = f"tokens from 0 to {vocab_size - 1}"
        if end_token is not None:
          expected += f" other than the end, {end_token}"
        raise validate.error(f"identifier {number}", identifier, expected)
      if token not in nodes[node]:
        nodes[node][token] = len(nodes)
        nodes.append({})
      node = nodes[node][token]
    whole.add(node)
  if end_token is not None:
    behind = len(nodes)
    nodes.append({end_token: behind})
    for node in whole:
      nodes[node][end_token] = behind
  nodes.append({})
  counts = [len(edges) for edges in nodes]
  width = max(counts)
  flat = [edge for edges in nodes for edge in sorted(edges.items())]
  token, node = np.array([*flat, *[(-1, 0)] * width], np.int32).T
  return Trie(
    jnp.asarray(np.cumsum([0, *counts]), jnp.int32),
    jnp.asarray(token),
    jnp.asarray(node),
    vocab_size,
    width,
  )
