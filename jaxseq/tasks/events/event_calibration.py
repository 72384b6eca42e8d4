"""A goodness-of-fit test of a model's intensities on observed events.

If rescaled by the integral of the total intensity, the gaps of a process are
independent and exponential with mean 1 (the time change of Papangelou and
Meyer; Ogata, "Statistical models for earthquake occurrences", 1988).
"""

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array
# Terms of the series of the p-value, which fall faster than exponentially.
_TERMS = 100


def joined_gaps(totals: Array, lengths: np.ndarray) -> Array:
  """Returns rescaled gaps, (all events,), of concatenated sequences.

  The rest at the end of a sequence is added to the first gap of the next one:
  only gaps that end within their sequence would be too short on average.

  Args:
    totals: (n, events + 1), integrals of the total intensity over the gap
      before each event, and from the last one to the horizon.
    lengths: (n,), numbers of events.
  """
  row, place = np.nonzero(np.arange(totals.shape[1] - 1) < lengths[:, None])
  gaps = totals[row, place]
  # Index of each row's first event, or of the next row that has one.
  first = np.cumsum(lengths) - lengths
  left = totals[np.arange(len(lengths)), lengths]
  inside = first + lengths < len(row)
  target = (first + lengths)[inside]
  return gaps.at[target].add(left[inside])


def exponential_p(gaps: Array) -> Array:
  """Returns the p-value of a test that numbers (n,) are exponential.

  It is the Kolmogorov-Smirnov test, by its asymptotic distribution with the
  correction of Stephens (1970).
  """
  count = gaps.shape[0]
  levels = -jnp.expm1(-jnp.sort(gaps))
  above = jnp.arange(1, count + 1) / count - levels
  below = levels - jnp.arange(count) / count
  root = count**0.5
  distance = jnp.maximum(above.max(), below.max())
  distance = distance * (root + 0.12 + 0.11 / root)
  k = jnp.arange(1, _TERMS + 1)
  terms = (-1.0) ** (k - 1) * jnp.exp(-2 * (k * distance) ** 2)
  # The series does not converge for distances near 0, where the value is 1.
  return jnp.where(distance < 0.2, 1.0, jnp.clip(2 * terms.sum(), 0, 1))
