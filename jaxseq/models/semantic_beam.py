"""Recommendation by beam search over item codes, restricted to real items.

    found = semantic_beam.recommend(model.network, model.variables, items,
                                    lengths, k=10, beams=30)

Beams follow a trie of the items' ids, so every found id is an item. With as
many beams as items the result equals scoring every item. Unconstrained searches
that remove invalid ids afterwards may return fewer than k items.
"""

import functools

import jax
import numpy as np

from jaxseq import generation
from jaxseq import validate
from jaxseq.generation import tries
from jaxseq.tasks.recommendation import network as item_network
from jaxseq.tasks.recommendation import semantic_network
from jaxseq.types import PyTree


def trie(
  network: semantic_network.SemanticNetwork, variables: PyTree
) -> tries.Trie:
  """Returns the constraint that allows only the ids of a network's items."""
  return tries.build(_ids(variables), network.tokens().num_outputs)


def places(ids: np.ndarray, tokens: np.ndarray) -> np.ndarray:
  """Returns the items with given ids, by binary search.

  Args:
    ids: (items, levels) tokens of each item.
    tokens: (..., levels) ids to look up.

  Returns:
    Numbers (...) of the items, from 0 on; -1 if there is no such item.
  """
  base = 1 + int(max(ids.max(), tokens.max()))
  keys, wanted = (
    x.astype(np.int64) @ base ** np.arange(ids.shape[1])[::-1]
    for x in (ids, tokens)
  )
  order = np.argsort(keys)
  at = np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)
  return np.where(keys[order][at] == wanted, order[at], -1)


def recommend(
  network: semantic_network.SemanticNetwork,
  variables: PyTree,
  items: np.ndarray,
  lengths: np.ndarray,
  *,
  k: int = 10,
  beams: int = 30,
  constraint: tries.Trie | None = None,
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the best next items of users, without scoring every item.

  Args:
    network: the network of the codes.
    variables: its variables.
    items: (n, time) histories, from 1 on, 0 after the end.
    lengths: (n,) lengths of histories.
    k: items per user.
    beams: beam width; items of the history use beams, too, unless repeats are
      allowed.
    constraint: result of `trie`, built if None.

  Returns:
    Items (n, k) from 0 on, the best first, and their log probabilities; -inf if
    no beam is left.
  """
  validate.integer("beams", beams, k)
  logits, states = _read(network, variables, items, lengths)
  tokens = {"params": variables["params"]["network"]}
  prefix = generation.offline.Prefix(
    logits, states, np.zeros(logits.shape, bool)
  )
  found = generation.beam_search(
    network.tokens(),
    tokens,
    prefix,
    network.levels,
    beams=beams,
    constraint=constraint or trie(network, variables),
    renormalize=False,
  )
  scores = np.array(found.log_prob[:, 0])
  best = places(_ids(variables), np.asarray(found.tokens[:, 0]))
  scores[best < 0] = -np.inf
  if not network.repeats:
    for row, (history, count) in enumerate(zip(items, lengths)):
      scores[row, np.isin(best[row], history[:count] - 1)] = -np.inf
  order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
  return tuple(np.take_along_axis(x, order, axis=1) for x in (best, scores))


@functools.partial(jax.jit, static_argnums=0)
def _read(network, variables, items, lengths):
  """Calls the network's `read`."""
  return network.apply(variables, items, lengths, method="read")


def _ids(variables):
  """Returns the tokens (items, levels) of all items."""
  return np.asarray(variables[item_network.ITEMS]["ids"])[1:]
