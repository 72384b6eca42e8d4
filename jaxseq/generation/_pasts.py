"""Token histories and constraint states of rows."""

from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.generation import _row_states
from jaxseq.generation import token_sampling
from jaxseq.recurrence import tree as trees
from jaxseq.types import PyTree


class Past(NamedTuple):
  """Carry from token to token."""

  history: token_sampling.History | None = None  # For penalties.
  constraint: PyTree = None  # The state of the constraint.


def begin(
  constraint: Any,
  history: token_sampling.History | None,
  batch_shape: tuple[int, ...],
  state: PyTree = None,
) -> Past:
  """Returns the initial token counts and constraint states of new rows."""
  if constraint is not None and state is None:
    state = constraint.initial(batch_shape)
  return Past(history, state)


def extend(constraint: Any, past: Past, token: jax.Array) -> Past:
  """Returns the past after a token (*batch,) more."""
  history, state = past
  if history is not None:
    history = token_sampling.extend_history(history, token)
  if constraint is not None:
    state = constraint.advance(state, token)
  return Past(history, state)


def allowed(constraint: Any, past: Past) -> jax.Array | None:
  """Returns a mask of the next tokens, (*batch, vocab) bool; None for all."""
  return None if constraint is None else constraint.allowed(past.constraint)


def at_nodes(
  constraint: object, past: Past, ids: jax.Array, tree: trees.Tree
) -> Past:
  """Returns the past after each node of a tree, leaves (rows, nodes, ...)."""

  def step(carry, token):
    past, is_root = carry
    after = extend(constraint, past, token)
    after = _row_states.where(is_root, past, after)
    return (after, jnp.zeros_like(is_root)), None

  init = past, jnp.ones(len(ids), bool)
  _, (past, _) = trees.tree_fold(step, init, ids, tree)
  return past


def after_nodes(past: Past, nodes: jax.Array) -> Past:
  """Selects the past after some nodes (rows, n) from that after all of them."""
  take = jax.vmap(lambda leaf, places: leaf[places])
  return jax.tree.map(lambda leaf: take(leaf, nodes), past)
