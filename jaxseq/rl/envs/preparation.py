"""Preparing the next episode while this one is played.

An auto-reset is computed at every step, whether it is needed or not, so a
reset that takes many random draws one after the other is costly. Such work is
spread over the episode instead: the state carries a plan of the next episode,
every step does a little work on it, and the reset finds it ready. Only if an
episode ends before that, the reset does the rest in a loop, which a batch of
environments runs for as long as one of them needs it.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

Plan = TypeVar("Plan")

# Random words that `finish` takes.
SEED_WORDS = 2


def finish(
  words: jax.Array,
  plan: Plan,
  is_wanted: jax.Array | bool,
  is_ready: Callable[[Plan], jax.Array],
  work: Callable[[jax.Array, Plan], Plan],
  work_words: int,
) -> Plan:
  """Works on a plan until it is ready.

  Args:
    words: (SEED_WORDS,) uint32; all further random words follow from them.
    plan: the plan, a pytree of arrays.
    is_wanted: () bool, whether the plan is needed at all; if not it is
      returned as it is.
    is_ready: tells whether a plan is ready, () bool.
    work: does a piece of work, from (work_words,) uint32 and a plan.
    work_words: number of random words for a piece of work.

  Returns:
    The plan.
  """
  key = jax.random.wrap_key_data(words, impl="threefry2x32")

  def is_unfinished(carry):
    return is_wanted & ~is_ready(carry[1])

  def go_on(carry):
    pieces, plan = carry
    piece = jax.random.fold_in(key, pieces)
    fresh = jax.random.bits(piece, (work_words,), jnp.uint32)
    return pieces + 1, work(fresh, plan)

  return jax.lax.while_loop(is_unfinished, go_on, (jnp.int32(0), plan))[1]
