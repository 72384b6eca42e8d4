"""Log probabilities of given texts under a network."""

from collections.abc import Sequence
import functools
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.adapt import batch
from jaxseq.generation import _drawing
from jaxseq.generation import _prompts
from jaxseq.generation import _row_states
from jaxseq.generation.requests import Tops
from jaxseq.types import PyTree
from jaxseq.types import TokenNetwork


class Scores(NamedTuple):
  """Log probabilities of all tokens of a text except the first.

  Attributes:
    log_probs: (time - 1,), of each token given the tokens before it.
    tops: (time - 1, k), the most probable tokens there; None unless requested.
  """

  log_probs: np.ndarray
  tops: Tops | None


def score(
  network: TokenNetwork,
  variables: PyTree,
  prompts: Sequence[Any],
  *,
  tops: int = 0,
  adapter: int = 0,
  rows: int = 4,
  chunk: int = 64,
) -> list[Scores]:
  """Computes log probabilities of texts in batches of one fixed shape.

  Args:
    network: as in `generate`.
    variables: variables of the network, with or without `adapt.batch.attach`.
    prompts: int tokens (time,) each, of any lengths.
    tops: number of the most probable tokens to return.
    adapter: number of the rows' adapter; 0 for no adapter.
    rows: number of texts per call.
    chunk: number of tokens of each text per call.

  Returns:
    Scores of each text.

  Raises:
    ValueError: if a text has tokens that the network does not know.
  """
  scores = []
  variables = batch.at_rows(variables, np.full(rows, adapter, np.int32))
  for first in range(0, len(prompts), rows):
    texts = [np.asarray(each) for each in prompts[first : first + rows]]
    for text in texts:
      _prompts.check_tokens(network, text)
    count = max(map(len, texts)) - 1
    # Padding after a text does not change its scores.
    tokens = np.zeros((rows, -(-count // chunk) * chunk + 1), np.int32)
    for i, text in enumerate(texts):
      tokens[i, : len(text)] = text
    states = _row_states.fresh_states(network, variables, rows)
    parts = []
    for place in range(0, count, chunk):
      piece = tokens[:, place : place + chunk + 1]
      found, states = _read(network, tops, variables, piece, states)
      parts.append(jax.device_get(found))
    for i, text in enumerate(texts):
      row = [jax.tree.map(lambda leaf, i=i: leaf[i], part) for part in parts]
      scores.append(_joined(row, len(text) - 1, tops))
  return scores


def _joined(parts, count, tops):
  """Joins the scores of one text, which may be a single token."""
  none = np.zeros(0, np.float32), Tops(*(np.zeros((0, tops), int),) * 2)
  parts = parts or [none if tops else (none[0], None)]
  return Scores(
    *jax.tree.map(lambda *leaves: np.concatenate(leaves)[:count], *parts)
  )


@functools.partial(jax.jit, static_argnums=(0, 1))
def _read(network, tops, variables, tokens, states):
  """Returns the tokens' log probabilities, except the first's, and states."""
  logits, states = network.apply(variables, tokens[:, :-1], states)
  logs = jax.nn.log_softmax(logits, axis=-1)
  chosen = jnp.take_along_axis(logs, tokens[:, 1:, None], axis=-1)[..., 0]
  best = _drawing.tops(logs, tops) if tops else None
  return (chosen, best), states
