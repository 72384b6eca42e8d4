"""The value loss, as an option of value-based agents."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import optax

from jaxseq import validate
from jaxseq.rl.losses import histogram

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Options:
  """Fields of agents whose values may be learned as histograms.

  Attributes:
    value_loss: "squared", half the squared error of the values. "hl_gauss": the
      network predicts a histogram of each value, and learns the cross-entropy
      to a Gaussian around the target, see `losses.histogram`; the value is the
      mean. "c51": the target is the distribution of returns that the target
      network predicts, see `losses.categorical`; only R2D2 supports it.
    value_bins: bins of a histogram.
    value_range: centers of the first and the last bin, in the units of the
      network's values: returns times `reward_scale`. Normalized returns have a
      size of about 1; with rare rewards they are larger. Targets outside are
      clipped; the metric `value_clipped` is their share.
    value_symlog: whether the bins and `value_range` are of sign(x) log(1 + |x|)
      of values, which fits rewards of any size: 10 on this scale is the value
      22,025.
  """

  value_loss: Literal["squared", "hl_gauss", "c51"] = "squared"
  value_bins: int = 101
  value_range: tuple[float, float] = (-10.0, 10.0)
  value_symlog: bool = False

  def __post_init__(self):
    pair = self.value_range
    if not isinstance(pair, list | tuple) or len(pair) != 2:
      raise validate.error("value_range", pair, "two numbers: (low, high)")
    low, high = (validate.number("value_range", x) for x in pair)
    object.__setattr__(self, "value_range", (low, high))
    if not low < high:
      raise validate.error("value_range", (low, high), "low < high")
    validate.integer("value_bins", self.value_bins, 2)
    if self.value_symlog and self.value_loss == "squared":
      expected = "False with value_loss='squared', which has no bins"
      raise validate.error("value_symlog", True, expected)

  @property
  def support(self) -> histogram.Support | None:
    """The bins of the values; None if the loss is the squared error."""
    if self.value_loss == "squared":
      return None
    return histogram.Support(
      *self.value_range, self.value_bins, symlog=self.value_symlog
    )


def step_losses(
  support: histogram.Support | None,
  error: Array,
  logits: Array | None,
  target: Array,
  distribution: Array | None = None,
) -> tuple[Array, dict[str, Array]]:
  """Returns the value loss and metrics of each step.

  Args:
    support: bins of the histograms; None for the squared error.
    error: (...), targets minus values.
    logits: (..., bins) of the histograms; None without histograms.
    target: (...), value targets.
    distribution: (..., bins), target distribution; HL-Gauss if None.

  Returns:
    Losses (...), and metrics (...) by name.
  """
  if support is None:
    return 0.5 * jnp.square(error), {}
  if distribution is None:
    distribution = histogram.hl_gauss(support, target)
  losses = optax.losses.softmax_cross_entropy(logits, distribution)
  return losses, {"value_clipped": histogram.outside(support, target)}
