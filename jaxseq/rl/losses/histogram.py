"""Values as histograms, learned by cross-entropy instead of squared errors.

HL-Gauss: Farebrother et al., "Stop Regressing: Training Value Functions via
Classification for Scalable Deep RL", arXiv:2403.03950, after Imani and White,
arXiv:1806.04613. The target of a value is a Gaussian around it, in bins. The
loss is `optax.losses.softmax_cross_entropy`, whose gradient has the same size
for targets of any size, and the value is the mean of the predicted histogram.

    support = histogram.Support(-10, 10, bins=51)
    loss = optax.losses.softmax_cross_entropy(
      logits, histogram.hl_gauss(support, target)
    )
    value = histogram.mean(support, logits)

The centers of the bins are the atoms of `categorical`: its `project`, of the
bounds `low` and `high`, makes targets on the same support.
"""

import dataclasses

import chex
import jax
import jax.numpy as jnp

from jaxseq import validate

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Support:
  """Bins of equal width, with centers from `low` to `high`.

  Attributes:
    low: center of the first bin.
    high: center of the last bin.
    bins: number of bins, at least 2.
    sigma: standard deviation of the target's Gaussian, in bin widths.
    symlog: whether `low`, `high` and the bins refer to sign(x) log(1 + |x|) of
      values x, so that few bins hold values of any size (arXiv:2301.04104).
  """

  low: float = -10.0
  high: float = 10.0
  bins: int = 51
  sigma: float = 0.75
  symlog: bool = False

  def __post_init__(self):
    validate.integer("bins", self.bins, 2)
    validate.above_zero("sigma", self.sigma)
    validate.number("low", self.low)
    validate.number("high", self.high)
    if not self.low < self.high:
      raise validate.error("low", self.low, f"less than high = {self.high}")

  @property
  def width(self) -> float:
    """Width of a bin."""
    return (self.high - self.low) / (self.bins - 1)

  def place(self, value: Array) -> Array:
    """Maps values to the scale of the bins."""
    if not self.symlog:
      return value
    return jnp.sign(value) * jnp.log1p(jnp.abs(value))

  def value(self, place: Array) -> Array:
    """Maps places on the scale of the bins to values."""
    if not self.symlog:
      return place
    return jnp.sign(place) * jnp.expm1(jnp.abs(place))


def hl_gauss(support: Support, target: Array) -> Array:
  """Returns the histogram of a Gaussian around each target.

      p_i = (F(e_{i+1}) - F(e_i)) / (F(e_n) - F(e_0))

  F is the distribution function of a normal variable around the target, and e
  are the edges of the n bins. The mean of the histogram is the target to within
  a hundredth of a bin's width if the target is at least three widths away from
  both ends of the support. At an end it is 0.37 widths too far inside.

      >>> histogram.hl_gauss(
      ...   histogram.Support(0, 4, bins=5), jnp.array(2.)
      ... ).round(1)
      Array([0. , 0.2, 0.5, 0.2, 0. ], dtype=float32)

  Args:
    support: the bins.
    target: (...), clipped to the bins; see `outside`.

  Returns:
    Probabilities (..., bins).
  """
  place = jnp.clip(support.place(target), support.low, support.high)
  place = (place - support.low) / support.width
  edges = jnp.arange(support.bins + 1, dtype=place.dtype) - 0.5
  below = jax.scipy.stats.norm.cdf((edges - place[..., None]) / support.sigma)
  return jnp.diff(below, axis=-1) / (below[..., -1:] - below[..., :1])


def mean(support: Support, logits: Array) -> Array:
  """Returns the values (...) of the logits (..., bins) of histograms."""
  chex.assert_axis_dimension(logits, -1, support.bins)
  probs = jax.nn.softmax(logits, axis=-1)
  centers = jnp.linspace(
    support.low, support.high, support.bins, dtype=probs.dtype
  )
  return support.value((probs * centers).sum(axis=-1))


def outside(support: Support, target: Array) -> Array:
  """Returns whether targets (...) are outside the support: (...) bool."""
  place = support.place(target)
  return (place < support.low) | (place > support.high)
