"""Decisions for a whole batch, taken inside a function of one element."""

import jax


@jax.custom_batching.custom_vmap
def any_of_batch(flag: jax.Array) -> jax.Array:
  """Returns, () bool, whether a flag of any member of the batch is set.

  Under `vmap` a `cond` on a batched predicate runs both branches. The answer
  here is one for all members, however many `vmap` there are, so that a `cond`
  on it stays a branch: rare work costs nothing while no member asks for it.
  The branch has to select by the flag itself.
  """
  return flag.any()


@any_of_batch.def_vmap
def _any_of_all(axis_size, in_batched, flags):
  del axis_size, in_batched
  return any_of_batch(flags), False
