"""Constraints on decoding: which tokens may come next.

A constraint has a state of its own, which is carried from token to token as
those of a network are: it is gathered with beams, and put back with resets.

    state = constraint.initial(batch_shape)
    mask = constraint.allowed(state)  # (*batch, vocab) bool
    state = constraint.advance(state, token)

All three are pure and run inside compiled programs. A constraint is a pytree of
its tables, so that programs are not compiled anew for others of the same
shapes: one of your own is a dataclass registered by
`jax.tree_util.register_dataclass`, or by `register_static` if it has no arrays.

`automaton.compile_pattern` makes one of a regular expression, `tries.build` one
of a list of identifiers, `substrings.within` one of an index of a corpus.
"""

from typing import Protocol
from typing import runtime_checkable

import jax
import jax.numpy as jnp

from jaxseq import _validate
from jaxseq._types import PyTree


@runtime_checkable
class Constraint(Protocol):
  """Three pure functions that say which tokens may come next."""

  def initial(self, batch_shape: tuple[int, ...] = ()) -> PyTree:
    """Returns the state before the first token, with these leading axes."""
    ...

  def allowed(self, state: PyTree) -> jax.Array:
    """Returns which tokens may come next, (*batch, vocab) bool."""
    ...

  def advance(self, state: PyTree, token: jax.Array) -> PyTree:
    """Returns the state after a token, (*batch,) integers."""
    ...


def check(constraint: Constraint | None, vocab_size: int) -> None:
  """Checks that a constraint can be compiled, and speaks of so many tokens.

  Raises:
    ValueError: if it cannot, or does not.
  """
  if constraint is None:
    return
  for leaf in jax.tree.leaves(constraint):
    if not hasattr(leaf, "dtype"):
      raise _validate.error(
        "constraint",
        type(constraint),
        "a constraint, as of automaton.compile_pattern, or one of your own as "
        "a pytree of arrays: its class registered by "
        "jax.tree_util.register_dataclass or register_static",
      )
  mask = jax.eval_shape(lambda x: x.allowed(x.initial(())), constraint)
  if mask.shape != (vocab_size,) or mask.dtype != jnp.bool_:
    raise _validate.error(
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
      not, they keep that which they have among all, as in SEAL's code.

  Returns:
    (*batch, vocab) of the dtype of `logits`; all -inf where nothing is allowed.
  """
  if allowed is None:
    return jax.nn.log_softmax(logits)
  if renormalize:
    logits = jnp.where(allowed, logits, -jnp.inf)
    some = jnp.any(logits > -jnp.inf, axis=-1, keepdims=True)
    logits = jnp.where(some, logits, 0)
  return jnp.where(allowed, jax.nn.log_softmax(logits), -jnp.inf)
