"""Structures of RNA from probabilities of pairs: maximum expected accuracy.

In a structure every base has at most one partner, pairs do not cross, and there
are three bases or more between two paired ones. `decode` finds the structure
that maximizes

    sum of 2 gamma p_ij over pairs + sum of q_i over bases without a partner,

where q_i = 1 - sum_j p_ij, at least 0, is the probability that base i has no
partner (Do, Woods & Batzoglou, Bioinformatics 22:e90, 2006). The recursion over
intervals is that of Nussinov & Jacobson, PNAS 77:6309, 1980, in n^3 steps.
"""

import jax
from jax import lax
import jax.numpy as jnp

from experiments.masked_language import rna
from jaxseq import validate

# As in CONTRAfold, and near the best on validation sequences, see
# docs/results/masked_language.md.
GAMMA = 6.0


def decode(
  probabilities: jax.Array, inside: jax.Array, gamma: float = GAMMA
) -> jax.Array:
  """Finds the structures of maximum expected accuracy.

  Args:
    probabilities: (*batch, time, time) of pairs; read above the diagonal.
    inside: (*batch, time) bool, elements that are bases; others are not paired.
    gamma: weight of pairs: a larger one gives more pairs. A pair without
      competitors is chosen if its probability is above 1 / (1 + gamma).

  Returns:
    (*batch, time) int32 partners, -1 for bases without one.

  Raises:
    ValueError: if a shape does not fit, or gamma is not above 0.
  """
  *batch, time, _ = validate.shape(
    "probabilities", probabilities, ("*batch", "time", "time")
  )
  validate.shape("inside", inside, (*batch, time))
  if not isinstance(gamma, jax.core.Tracer):
    validate.above_zero("gamma", gamma)
  flat = probabilities.reshape(-1, time, time), inside.reshape(-1, time)
  found = jax.vmap(_decode, in_axes=(0, 0, None))(*flat, gamma)
  return found.reshape(*batch, time)


def _decode(probabilities, inside, gamma):
  """The partners (time,) of one sequence."""
  time = inside.shape[0]
  place = jnp.arange(time)
  possible = place[:, None] + rna.LOOP < place
  possible &= inside[:, None] & inside
  likely = jnp.where(possible, probabilities, 0)
  alone = jnp.maximum(1 - likely.sum(axis=0) - likely.sum(axis=1), 0)
  # The gain of a pair over leaving both bases unpaired.
  gain = 2 * gamma * likely - alone[:, None] - alone
  gain = jnp.where(possible & (gain > 0), gain, -jnp.inf)
  return _traced(_best_splits(gain), time)


def _best_splits(gain):
  """Returns the splits of the best structure of each interval [i, j)."""
  # From the gains (time, time) of pairs i < j, -inf for impossible pairs, to
  # (time + 1, time + 1) int32: -1 if the first and the last base are paired.
  size = gain.shape[0] + 1
  start = jnp.arange(size, dtype=jnp.int32)
  # Values of intervals [i, j); empty ones do not split any other.
  values = jnp.where(start[:, None] < start, 0, -jnp.inf).astype(gain.dtype)
  splits = start[:, None] + jnp.ones((size, size), jnp.int32)
  # Row i has the pair of i with each base, in the column after that base.
  pairs = jnp.full_like(values, -jnp.inf).at[:-1, 1:].set(gain)

  def longer(length, loop):
    values, splits = loop
    end = start + jnp.int32(length)
    at = jnp.minimum(end, size - 1)
    parts = values + values[:, at].T
    split = jnp.argmax(parts, axis=1).astype(jnp.int32)
    divided = jnp.take_along_axis(parts, split[:, None], axis=1)[:, 0]
    inner = jnp.minimum(start + 1, size - 1), jnp.minimum(at - 1, size - 1)
    paired = values[inner] + pairs[start, at]
    value = jnp.maximum(divided, paired)
    # An interval that would end after the last base is not written.
    where = start, end
    splits = splits.at[where].set(
      jnp.where(paired > divided, -1, split), mode="drop"
    )
    return values.at[where].set(value, mode="drop"), splits

  return lax.fori_loop(2, size, longer, (values, splits))[1]


def _traced(splits, time):
  """Returns the partners (time,) by tracing back `_best_splits`."""
  size = time + 1
  start = jnp.arange(size, dtype=jnp.int32)

  def shorter(step, loop):
    wanted, partners = loop
    end = start + jnp.int32(time - step)
    at = jnp.minimum(end, size - 1)
    split = splits[start, at]
    here = wanted[start, at] & (end < size)
    pair, divided = here & (split < 0), here & (split >= 0)

    def marked(wanted, rows, columns, where):
      return wanted.at[rows, jnp.where(where, columns, size)].set(
        True, mode="drop"
      )

    wanted = marked(wanted, start + 1, at - 1, pair)
    wanted = marked(wanted, start, split, divided)
    wanted = marked(wanted, split, at, divided)
    first, last = jnp.where(pair, start, size), jnp.where(pair, at - 1, size)
    partners = partners.at[first].set(last, mode="drop")
    return wanted, partners.at[last].set(first, mode="drop")

  wanted = jnp.zeros((size, size), bool).at[0, -1].set(True)
  partners = jnp.full(time, -1, jnp.int32)
  # Down to two bases; a single one has no partner.
  return lax.fori_loop(0, time - 1, shorter, (wanted, partners))[1]
