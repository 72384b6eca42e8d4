"""Constraints on decoding: masks of the next tokens.

A constraint has its own state, which is carried from token to token like those
of a network: it is gathered with beams, and reset with resets.

    state = constraint.initial(batch_shape)
    mask = constraint.allowed(state)  # (*batch, vocab) bool
    state = constraint.advance(state, token)

All three are pure and run inside compiled programs. A constraint is a pytree of
its tables, so that programs are not recompiled for others of the same shapes:
your own one is a dataclass registered by `jax.tree_util.register_dataclass`, or
by `register_static` if it has no arrays.

`automaton.compile_pattern` makes one from a regular expression, `tries.build`
one from a list of identifiers, `substrings.within` one from an index of a
corpus.
"""

from typing import Protocol
from typing import runtime_checkable

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.types import PyTree


@runtime_checkable
class Constraint(Protocol):
  """Three pure functions that mask the next tokens."""

  def initial(self, batch_shape: tuple[int, ...] = ()) -> PyTree:
    """Returns the state before the first token, with these leading axes."""
    ...

  def allowed(self, state: PyTree) -> jax.Array:
    """Returns the tokens that may come next, (*batch, vocab) bool."""
    ...

  def advance(self, state: PyTree, token: jax.Array) -> PyTree:
    """Returns the state after a token, (*batch,) integers."""
    ...


def check(constraint: Constraint | None, vocab_size: int) -> None:
  """Checks that a constraint is a valid pytree, for so many tokens.

  Raises:
    ValueError: if it is not.
  """
  if constraint is None:
    return
  for leaf in jax.tree.leaves(constraint):
    if not hasattr(leaf, "dtype"):
      raise validate.error(
        "constraint",
        type(constraint),
        "a constraint, as of automaton.compile_pattern, or one of your own as "
        "a pytree of arrays: its class registered by "
        "jax.tree_util.register_dataclass or register_static",
      )
  mask = jax.eval_shape(lambda x: x.allowed(x.initial(())), constraint)
  if mask.shape != (vocab_size,) or mask.dtype != jnp.bool_:
    raise validate.error(
      "constraint",
      f"shape {mask.shape} of {mask.dtype} from `allowed`",
      f"({vocab_size},) of bool, an entry for each token of the network",
    )


def masked_log_probs(
  logits: jax.Array, allowed: jax.Array | None, *, renormalize: bool = True
) -> jax.Array:
  """Returns log probabilities of the allowed tokens, -inf for the others.

  Args:
    logits: (*batch, vocab).
    allowed: (*batch, vocab) bool; None for all.
    renormalize: whether the allowed tokens share all of the probability. If
      not, they keep their probabilities among all tokens, as in SEAL's code.

  Returns:
    (*batch, vocab) of the dtype of `logits`; all -inf if no token is allowed.
  """
  if allowed is None:
    return jax.nn.log_softmax(logits)
  if renormalize:
    logits = jnp.where(allowed, logits, -jnp.inf)
    some = jnp.any(logits > -jnp.inf, axis=-1, keepdims=True)
    logits = jnp.where(some, logits, 0)
  return jnp.where(allowed, jax.nn.log_softmax(logits), -jnp.inf)
