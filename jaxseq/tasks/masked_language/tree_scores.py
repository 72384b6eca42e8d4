"""Scores of predicted trees against the true ones.

Unlabeled F1 (UF1) compares constituents without single words and whole
sentences: it is the mean over sentences of the F1 of spans. A sentence without
such spans has recall 1, and precision 1 only if none is predicted. A parser
whose boundaries are all shifted by one word has a UF1 near 0; so UF1 is also
reported for boundaries moved to either side. The attachment score (UAS)
compares the heads of words, including the root.
"""

from collections.abc import Callable
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import data
from jaxseq.nn import masks
from jaxseq.tasks.masked_language import structformer

Array = jax.Array


def brackets(distance: Array, lengths: Array) -> Array:
  """Finds the constituents of trees that are split at the largest distances.

  Args:
    distance: (*batch, time), of the boundary after each word; values at the
      last word and in the padding are ignored.
    lengths: (*batch,) words of each sentence.

  Returns:
    (*batch, time, time) bool: whether the words from the first index to the
    second, inclusive, are a constituent. Single words and whole sentences are
    excluded.
  """
  distance = jnp.asarray(distance, jnp.float32)
  time = distance.shape[-1]
  lengths = jnp.asarray(lengths)
  distance = jnp.where(masks.inside(time, lengths - 1), distance, jnp.inf)
  edge = jnp.full_like(distance[..., :1], jnp.inf)
  before = jnp.concatenate([edge, distance[..., :-1]], axis=-1)
  # The maximum within words i to j is over boundaries i to j - 1.
  upper = jnp.triu(jnp.ones((time, time), bool), 1)
  place = jnp.arange(time)
  inner = (place[:, None, None] <= place) & (place < place[:, None])
  within = jnp.max(
    distance[..., None, None, :], axis=-1, initial=-jnp.inf, where=inner
  )
  around = jnp.minimum(before[..., :, None], distance[..., None, :])
  real = masks.inside(time, lengths)[..., None, :]
  return upper & real & (within < around) & (around < jnp.inf)


def bracketed(words: Sequence[str], distance: Sequence[float]) -> str:
  """Writes the tree of a sentence, such as "((the cat) slept)".

  Args:
    words: words of the sentence, at least one.
    distance: (time,), of the boundary after each word, see `brackets`;
      boundaries at equal distances are not nested.

  Returns:
    The tree; brackets in words become -LRB- and -RRB-, and spaces "_".
  """
  leaves = [
    "_" if word.isspace() else word.replace("(", "-LRB-").replace(")", "-RRB-")
    for word in words
  ]
  # Open constituents: their boundary, and their children so far.
  begun: list[tuple[float, list[str]]] = []

  def closed(part, boundary):
    while begun and begun[-1][0] < boundary:
      part = f"({' '.join([*begun.pop()[1], part])})"
    return part

  for word, boundary in zip(leaves[:-1], distance):
    part = closed(word, boundary)
    if not begun or begun[-1][0] > boundary:
      begun.append((boundary, []))
    begun[-1][1].append(part)
  tree = closed(leaves[-1], float("inf"))
  return tree if len(words) > 1 else f"({tree})"


def moved(distance: Array, lengths: Array, by: int) -> Array:
  """Shifts the boundaries of distances by one word.

  Args:
    distance: (*batch, time), see `brackets`.
    lengths: (*batch,) words of each sentence.
    by: words to the right, -1 or 1. The distance that becomes unknown, of the
      first or last boundary, is -inf.
  """
  inside = masks.inside(distance.shape[-1], lengths - 1)
  known = jnp.where(inside, jnp.asarray(distance, jnp.float32), -jnp.inf)
  lost = jnp.full_like(known[..., :1], -jnp.inf)
  if by > 0:
    return jnp.concatenate([lost, known[..., :-1]], axis=-1)
  return jnp.concatenate([known[..., 1:], lost], axis=-1)


def f1(predicted: Array, true: Array) -> Array:
  """Returns (*batch,) F1 of constituents, see `brackets` and the module."""
  hits, ours, theirs = (
    jnp.sum(spans, axis=(-2, -1))
    for spans in (predicted & true, predicted, true)
  )
  precision = jnp.where(ours > 0, hits / jnp.maximum(ours, 1), theirs == 0)
  recall = jnp.where(theirs > 0, hits / jnp.maximum(theirs, 1), 1)
  both = precision + recall
  return jnp.where(
    both > 0, 2 * precision * recall / jnp.maximum(both, 1e-9), 0
  )


def heads_of(parse: structformer.Parse) -> Array:
  """Returns (*batch, time) the most probable head of each word.

  Args:
    parse: parse of words only.

  Returns:
    Indices from 0 on; -1 for the highest word, which is the root.
  """
  time = parse.height.shape[-1]
  root = jnp.argmax(parse.height, axis=-1)[..., None] == jnp.arange(time)
  return jnp.where(root, -1, jnp.argmax(parse.head, axis=-1))


def words_of(parse: structformer.Parse, lengths: Array) -> structformer.Parse:
  """Returns the parse of the words between a sentence's first and last token.

  Args:
    parse: parse of (*batch, time) tokens.
    lengths: (*batch,) words.
  """
  inside = masks.inside(parse.height.shape[-1] - 2, lengths)
  height = jnp.where(inside, parse.height[..., 1:-1], -jnp.inf)
  head = jnp.where(inside[..., None, :], parse.head[..., 1:-1, 1:-1], -1)
  return structformer.Parse(parse.distance[..., 1:-1], height, head)


def scores(
  distance: Array, heads: Array, batch: data.ArrayDataset
) -> dict[str, Array]:
  """Compares trees with the true ones.

  Args:
    distance: (n, words), see `brackets`.
    heads: (n, words), see `heads_of`.
    batch: with lengths, extras.heads and extras.boundaries.

  Returns:
    "uf1", "uf1_left" and "uf1_right", whose boundaries are `moved`, and "uas";
    see the module for the means.
  """
  lengths = batch.lengths - 2
  true = brackets(batch.extras.boundaries[..., 1:-1], lengths)
  inside = masks.inside(heads.shape[-1], lengths)
  right = inside & (heads == batch.extras.heads[..., 1:-1] - 1)
  places = {
    "uf1": distance,
    "uf1_left": moved(distance, lengths, -1),
    "uf1_right": moved(distance, lengths, 1),
  }
  metrics = {
    name: jnp.mean(f1(brackets(x, lengths), true)) for name, x in places.items()
  }
  return {**metrics, "uas": jnp.sum(right) / jnp.sum(inside)}


def trivial(dataset: data.ArrayDataset) -> dict[str, dict[str, float]]:
  """Returns the scores of trivial trees, by label.

  In right-branching ones each word is the head of the next, in left-branching
  ones of the previous; random ones have random splits and heads.

  Args:
    dataset: see `batch` of `scores`.
  """
  count, time = dataset.inputs.shape
  words, lengths = time - 2, np.asarray(dataset.lengths)[:, None] - 2
  place = np.broadcast_to(np.arange(words), (count, words))
  last = place == lengths - 1
  rng = np.random.default_rng(0)
  drawn, height = rng.random((count, words)), rng.random((count, words))
  height = np.where(place < lengths, height, -1)
  highest = place == np.argmax(height, axis=1, keepdims=True)
  # In a random tree the head is the nearest word across the lesser boundary.
  before = np.concatenate([np.full((count, 1), np.inf), drawn[:, :-1]], 1)
  behind = np.where(last, np.inf, drawn)
  near = np.where(before < behind, place - 1, place + 1)
  trees = {
    "branching to the right": (-place, place - 1),
    "branching to the left": (place, np.where(last, -1, place + 1)),
    "random trees": (drawn, np.where(highest, -1, near)),
  }
  score: Callable = jax.jit(scores)
  batch = jax.tree.map(jnp.asarray, dataset)
  return {
    name: {key: float(x) for key, x in score(*tree, batch).items()}
    for name, tree in trees.items()
  }
