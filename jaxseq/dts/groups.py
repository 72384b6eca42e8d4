"""Supervision that makes one segment of the latent differ from the other.

z = [g_y, g_d]: the class segment g_y is to tell the class (the activity) and
not the domain (the subject, the device), the domain segment g_d the domain and
not the class. Four classifiers see the means of the segments, as in Cai et
al., "Learning Disentangled Semantic Representation for Domain Adaptation",
IJCAI 2019 (DSR), arXiv:2012.11807:

    yy   class from g_y                of source windows alone
    yd   domain from g_y, reversed     of all windows
    dd   domain from g_d               of all windows
    dy   class from g_d, reversed      of source windows alone, or the entropy
                                       of the prediction, of all windows

Reversed ones learn to predict while the encoder learns to prevent it (see
`reversal`). Labels of target windows are never used.
"""

import dataclasses
from typing import Literal
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxseq import _validate
from jaxseq.dts import masked
from jaxseq.dts import reversal

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of the supervision.

  Attributes:
    class_size: coordinates of g_y, the first ones.
    domain_size: coordinates of g_d, the rest.
    w_yy: weight of the class from g_y.
    w_yd: weight of the adversary on g_y.
    w_dd: weight of the domain from g_d.
    w_dy: weight of the adversary on g_d.
    adversary: loss of the class from g_d: "cross_entropy", or "entropy" as in
      DSR, where the classifier is to be certain and the encoder prevents it.
  """

  class_size: int = 12
  domain_size: int = 4
  w_yy: float = 1.0
  w_yd: float = 2.0
  w_dd: float = 1.0
  w_dy: float = 2.0
  adversary: Literal["cross_entropy", "entropy"] = "cross_entropy"

  def __post_init__(self):
    _validate.literals(self)
    _validate.fields(
      self,
      positive=("class_size", "domain_size"),
      not_negative=("w_yy", "w_yd", "w_dd", "w_dy"),
    )

  @property
  def groups(self) -> tuple[tuple[int, int], ...]:
    """Ranges of g_y and g_d, as `estimators.log_densities` takes them."""
    end = self.class_size + self.domain_size
    return ((0, self.class_size), (self.class_size, end))


class Heads(NamedTuple):
  """One array for each of the four classifiers: inputs, logits or losses."""

  yy: Array
  yd: Array
  dd: Array
  dy: Array


def inputs(config: Config, mu: Array, strength: Array | float) -> Heads:
  """Cuts means into segments, reversed where a classifier is an adversary.

  Args:
    config: options.
    mu: (batch, D) means of q(z | x).
    strength: () coefficient of the reversal; may be traced.

  Returns:
    What each classifier sees, (batch, class_size) or (batch, domain_size).

  Raises:
    ValueError: if D is not the sum of the two sizes.
  """
  size = config.class_size + config.domain_size
  if mu.ndim != 2 or mu.shape[-1] != size:
    raise ValueError(
      f"mu: got {mu.shape}, expected (batch, {size}), which is class_size + "
      "domain_size."
    )
  g_y, g_d = mu[:, : config.class_size], mu[:, config.class_size :]
  return Heads(
    yy=g_y,
    yd=reversal.reverse(g_y, strength),
    dd=g_d,
    dy=reversal.reverse(g_d, strength),
  )


def losses(
  config: Config,
  logits: Heads,
  labels: Array,
  domains: Array,
  source: Array,
  mask: Array | None = None,
  axis_name: str | None = None,
) -> Heads:
  """Returns the loss of each classifier.

  Args:
    config: options.
    logits: of the classifiers on `inputs`: yy and dy (batch, classes), yd and
      dd (batch, domains).
    labels: (batch,) int classes. Those of target windows may be anything.
    domains: (batch,) int domains.
    source: (batch,) bool, True for source windows.
    mask: (batch,) bool, False where a row is padding.
    axis_name: mapped axis that shares the batch.

  Returns:
    Means (), nats: over source windows, or over all. Zero if there are none.

  Raises:
    ValueError: for arrays whose shapes do not fit.
  """
  rows = logits.yy.shape[0]
  for name, x in (("labels", labels), ("domains", domains)):
    if x.shape != (rows,) or not jnp.issubdtype(x.dtype, jnp.integer):
      raise ValueError(
        f"{name}: got {x.dtype} {x.shape}, expected integers of shape "
        f"{(rows,)}."
      )
  masked.check_mask(source, rows, "source")
  masked.check_mask(mask, rows)
  labeled = source if mask is None else source & mask
  labels = jnp.where(labeled, labels, 0)
  domains = masked.hide(domains, mask)

  def cross_entropy(logits, target, counts):
    logits = masked.hide(logits, counts)
    each = optax.softmax_cross_entropy_with_integer_labels(logits, target)
    return masked.mean(each, counts, axis_name)

  if config.adversary == "cross_entropy":
    loss_dy = cross_entropy(logits.dy, labels, labeled)
  else:
    log_probs = jax.nn.log_softmax(masked.hide(logits.dy, mask))
    entropy = -(jnp.exp(log_probs) * log_probs).sum(axis=-1)
    loss_dy = masked.mean(entropy, mask, axis_name)
  return Heads(
    yy=cross_entropy(logits.yy, labels, labeled),
    yd=cross_entropy(logits.yd, domains, mask),
    dd=cross_entropy(logits.dd, domains, mask),
    dy=loss_dy,
  )


def total(config: Config, loss: Heads) -> Array:
  """Returns the weighted sum of the losses: ()."""
  return (
    config.w_yy * loss.yy
    + config.w_yd * loss.yd
    + config.w_dd * loss.dd
    + config.w_dy * loss.dy
  )
