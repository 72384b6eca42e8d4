"""States of rows: fresh ones, those after prompts, some rows replaced."""

from collections.abc import Mapping
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import nn
from jaxseq.nn import sequence_model
from jaxseq.types import PyTree
from jaxseq.types import TokenNetwork


def fresh_states(
  network: TokenNetwork, variables: PyTree, *rows: int
) -> PyTree:
  """Returns the fresh states of rows, at least float32."""
  if not isinstance(network, nn.SequenceNetwork):
    return network.initial_state(rows, jnp.float32)
  dtype = jnp.promote_types(network.config.stack.dtype, jnp.float32)
  return network.initial_state(rows, dtype, variables)


def are_tuned(variables: PyTree) -> bool:
  """Returns whether initial states of sequences are tuned."""
  return isinstance(variables, Mapping) and sequence_model.TUNED in variables


def read(
  network: TokenNetwork,
  variables: PyTree,
  tokens: jax.Array,
  states: PyTree,
  reset: jax.Array | None,
  **options: Any,
) -> tuple[jax.Array, PyTree]:
  """Reads tokens (*rows, time); with resets and tuned states one by one.

  Args:
    network: network with `apply`.
    variables: of the network.
    tokens: (*rows, time).
    states: states before them; fresh ones if None.
    reset: (*rows, time) bool, or None.
    **options: of `apply`; "at" is the last token of each row, for which alone
      logits are computed.

  Returns:
    Logits (*rows, time, vocab), or (*rows, 1, vocab), and the states after all.
  """
  if reset is None:
    return network.apply(variables, tokens, states, **options)
  if not are_tuned(variables):
    return network.apply(variables, tokens, states, reset=reset, **options)
  if states is None:
    states = fresh_states(network, variables, *tokens.shape[:-1])

  def step(states, element):
    token, flag = element
    logits, states = network.apply(
      variables, token, states, flag, method="step"
    )
    return states, logits

  elements = jnp.moveaxis(tokens, -1, 0), jnp.moveaxis(reset, -1, 0)
  states, logits = lax.scan(step, states, elements)
  logits = logits[-1:] if "at" in options else logits
  return jnp.moveaxis(logits, 0, -2), states


def where(flags: jax.Array, new: PyTree, old: PyTree) -> PyTree:
  """Selects `new` in the rows whose flag (*rows,) is set."""

  def leaf(new, old):
    wide = flags.reshape(*flags.shape, *[1] * (old.ndim - flags.ndim))
    return jnp.where(wide, new, old)

  return jax.tree.map(leaf, new, old)
