"""One drawn token for each row, and the state between tokens."""

from typing import Any
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq.generation import _pasts
from jaxseq.generation import requests
from jaxseq.generation import token_sampling
from jaxseq.types import PyTree


class Rows(NamedTuple):
  """Carry of the drawing of tokens, arrays with (*batch,) in front."""

  keys: jax.Array  # Random keys, see `token_sampling.row_keys`.
  length: jax.Array  # int32, number of drawn tokens.
  token: jax.Array  # int32, the last of them.
  # bool, whether that was one of the row's stop tokens, or the constraint
  # allows no token after it.
  ended: jax.Array
  past: _pasts.Past  # The state of penalties and constraints.
  allowed: jax.Array | None  # (*batch, vocab) bool, tokens that may come next.


def start(
  keys: jax.Array,
  history: token_sampling.History | None,
  constraint: Any,
  state: PyTree = None,
) -> Rows:
  """Returns rows without drawn tokens."""
  past = _pasts.begin(constraint, history, keys.shape, state)
  return Rows(
    keys=keys,
    length=jnp.zeros(keys.shape, jnp.int32),
    token=jnp.zeros(keys.shape, jnp.int32),
    ended=jnp.zeros(keys.shape, bool),
    past=past,
    allowed=_pasts.allowed(constraint, past),
  )


def tops(log_probs: jax.Array, count: int) -> requests.Tops:
  """Returns the most probable tokens by log-probabilities (*places, vocab)."""
  values, tokens = lax.top_k(log_probs, min(count, log_probs.shape[-1]))
  return requests.Tops(tokens.astype(jnp.int32), values)


def next_token(
  constraint: object,
  controls: token_sampling.Controls,
  rows: Rows,
  logits: jax.Array,
) -> tuple[Rows, jax.Array]:
  """Draws a token of each row, and its log probability by the network."""
  allowed = rows.allowed
  if allowed is not None:
    # Tokens after an end are not used.
    allowed = allowed | rows.ended[..., None]
  processed = token_sampling.process_logits(
    logits,
    controls,
    length=rows.length,
    history=rows.past.history,
    allowed=allowed,
  )
  keys = token_sampling.fold(rows.keys, rows.length)
  token = token_sampling.draw(keys, processed, controls.temperature)
  token = jnp.where(rows.ended, rows.token, token)
  logs = jax.nn.log_softmax(logits, axis=-1)
  log_prob = jnp.take_along_axis(logs, token[..., None], axis=-1)[..., 0]
  stop = jnp.broadcast_to(controls.stop, logits.shape)
  stops = jnp.take_along_axis(stop, token[..., None], axis=-1)[..., 0]
  past = _pasts.extend(constraint, rows.past, token)
  allowed = _pasts.allowed(constraint, past)
  ended = rows.ended | stops
  if allowed is not None:
    ended = ended | ~jnp.any(allowed, axis=-1)
  length = rows.length + 1
  return Rows(rows.keys, length, token, ended, past, allowed), log_prob
