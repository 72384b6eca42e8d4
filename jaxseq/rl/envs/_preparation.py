"""Preparing the next episode while the current one is played.

An auto-reset is computed at every step, whether it is needed or not, so a
reset that takes many sequential random draws is costly. Such work is
spread over the episode instead: the state carries a plan of the next episode,
every step does a little work on it, and the reset uses the finished plan. Only
if an episode ends before that, the reset does the rest in a loop, which a batch
of environments runs for as long as one of them needs it.
"""

from typing import TypeVar

import jax
import jax.numpy as jnp

Plan = TypeVar("Plan")

# Number of random words that `finish` uses.
SEED_WORDS = 2


def finish(words, plan, is_wanted, is_ready, work, work_words):
  """Works on a plan, if it `is_wanted`, until it is ready.

  All random words are derived from (SEED_WORDS,) uint32; a unit of work takes
  (work_words,) of them and the plan.
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
