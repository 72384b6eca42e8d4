"""Classifiers on two segments of the code, for learning across domains.

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

Reversed ones learn to predict while the encoder learns to prevent it. Training
windows are those of the source domains, with their classes, and those of the
target domains, which have `data.domains.UNLABELED` for one: their labels are
never used.
"""

from collections.abc import Callable
import dataclasses
from typing import Literal
from typing import NamedTuple

from flax import linen
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxseq import data
from jaxseq import nn
from jaxseq import validate
from jaxseq.data import domains
from jaxseq.dts import schedules
from jaxseq.types import PyTree

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of the supervision and of its classifiers.

  Attributes:
    class_size: coordinates of g_y, the first ones.
    domain_size: coordinates of g_d, the rest.
    w_yy: weight of the class from g_y.
    w_yd: weight of the adversary on g_y.
    w_dd: weight of the domain from g_d.
    w_dy: weight of the adversary on g_d.
    adversary: loss of the class from g_d: "cross_entropy", or "entropy" as in
      DSR, where the classifier is to be certain and the encoder prevents it.
    widths: hidden widths of the classifiers.
  """

  class_size: int = 12
  domain_size: int = 4
  w_yy: float = 1.0
  w_yd: float = 2.0
  w_dd: float = 1.0
  w_dy: float = 2.0
  adversary: Literal["cross_entropy", "entropy"] = "cross_entropy"
  widths: tuple[int, ...] = (128,)

  def __post_init__(self):
    validate.literals(self)
    validate.fields(
      self,
      positive=("class_size", "domain_size"),
      not_negative=("w_yy", "w_yd", "w_dd", "w_dy"),
    )


class PerHead(NamedTuple):
  """One array for each of the four classifiers: inputs, logits or losses."""

  yy: Array
  yd: Array
  dd: Array
  dy: Array


def reverse(x: Array, coefficient: Array | float) -> Array:
  """Returns x; the gradient behind it is multiplied by -coefficient.

  What comes after, such as a domain classifier, learns to minimize its loss;
  what comes before learns to maximize it. Ganin et al., "Domain-Adversarial
  Training of Neural Networks", arXiv:1505.07818, section 4.2.

  Args:
    x: (...), floating.
    coefficient: () strength. It may be traced, so that a schedule compiles
      once, and has no gradient itself.
  """
  return _reverse(x, jnp.asarray(coefficient, x.dtype))


@jax.custom_vjp
def _reverse(x, coefficient):
  del coefficient
  return x


_reverse.defvjp(
  lambda x, coefficient: (x, coefficient),
  lambda coefficient, y: (-coefficient * y, jnp.zeros_like(coefficient)),
)


def inputs(config: Config, mu: Array, strength: Array | float) -> PerHead:
  """Cuts means (batch, D) into segments, reversed for the adversaries.

  The coefficient of the reversal () may be traced. Returns what each classifier
  sees, (batch, class_size) or (batch, domain_size).

  Raises:
    ValueError: if D is not the sum of the two sizes.
  """
  size = config.class_size + config.domain_size
  if mu.ndim != 2 or mu.shape[-1] != size:
    expected = f"(batch, {size}), which is class_size + domain_size"
    raise validate.error("mu", f"shape {mu.shape}", expected)
  g_y, g_d = mu[:, : config.class_size], mu[:, config.class_size :]
  return PerHead(
    yy=g_y, yd=reverse(g_y, strength), dd=g_d, dy=reverse(g_d, strength)
  )


def losses(
  config: Config, logits: PerHead, labels: Array, domain: Array, source: Array
) -> PerHead:
  """Returns the loss of each classifier.

  Args:
    config: options.
    logits: of the classifiers on `inputs`: yy and dy (batch, classes), yd and
      dd (batch, domains).
    labels: (batch,) int classes. Those of target windows may be anything.
    domain: (batch,) int domains.
    source: (batch,) bool, True for source windows.

  Returns:
    Means (), nats: over source windows, or over all. Zero if there are none.

  Raises:
    ValueError: for arrays whose shapes do not fit.
  """
  shape = logits.yy.shape[:1]
  for name, x, kind, expected in (
    ("labels", labels, jnp.integer, "integers"),
    ("domain", domain, jnp.integer, "integers"),
    ("source", source, jnp.bool_, "a bool array"),
  ):
    if x.shape != shape or not jnp.issubdtype(x.dtype, kind):
      got = f"dtype {x.dtype}, shape {x.shape}"
      raise validate.error(name, got, f"{expected} of shape {shape}")
  cross_entropy = optax.softmax_cross_entropy_with_integer_labels

  def of_class(logits):
    each = cross_entropy(logits, jnp.where(source, labels, 0))
    total = jnp.where(source, each, 0).sum()
    return total / jnp.maximum(source.sum(), 1)

  if config.adversary == "cross_entropy":
    loss_dy = of_class(logits.dy)
  else:
    log_probs = jax.nn.log_softmax(logits.dy)
    loss_dy = -(jnp.exp(log_probs) * log_probs).sum(axis=-1).mean()
  return PerHead(
    yy=of_class(logits.yy),
    yd=cross_entropy(logits.yd, domain).mean(),
    dd=cross_entropy(logits.dd, domain).mean(),
    dy=loss_dy,
  )


def total(config: Config, loss: PerHead) -> Array:
  """Returns the weighted sum of the losses: ()."""
  return (
    config.w_yy * loss.yy
    + config.w_yd * loss.yd
    + config.w_dd * loss.dd
    + config.w_dy * loss.dy
  )


class Heads(linen.Module):
  """The four classifiers.

  Attributes:
    config: options.
    classes: number of classes.
    domains: number of domains.
  """

  config: Config
  classes: int
  domains: int

  @linen.compact
  def __call__(self, mu: Array, strength: Array | float = 1.0) -> PerHead:
    """Returns the logits of all classifiers.

    Args:
      mu: (batch, D) means of the code.
      strength: () coefficient of the reversal.
    """
    seen = inputs(self.config, mu, strength)
    sizes = self.classes, self.domains, self.domains, self.classes
    logits = []
    for name, x, size in zip(PerHead._fields, seen, sizes):
      widths = (*self.config.widths, size)
      logits.append(nn.MLP(widths, activation="relu", name=name)(x))
    return PerHead(*logits)


def make_heads(config: Config, splits: data.Splits) -> Heads:
  """Returns the classifiers for a set of two domains.

  Raises:
    ValueError: if the windows have no classes or no domains, there are no
      validation windows, or no training windows of the target.
  """
  domain, of_each = splits.train.extras.domain, "that of each window"
  for name, value, expected in (
    ("extras.domain", domain, f"{of_each}, as `data.domains` gives it"),
    ("splits.valid", splits.valid, "validation windows of the source"),
    ("info.num_classes", splits.info.num_classes, "windows with classes"),
  ):
    if value is None:
      raise validate.error(name, None, expected)
  if not np.any(np.asarray(splits.train.targets) == domains.UNLABELED):
    expected = "some, without classes (unlabeled=False leaves them out)"
    raise validate.error("splits.train", "no windows of the target", expected)
  return Heads(config, splits.info.num_classes, int(domain.max()) + 1)


def loss(
  config: Config,
  heads: Heads,
  params: PyTree,
  mu: Array,
  batch: data.ArrayDataset,
  progress: Array,
) -> tuple[Array, dict[str, Array]]:
  """Returns the weighted sum of the classifiers' losses, and each of them.

  Args:
    config: options.
    heads: the classifiers.
    params: theirs.
    mu: (batch, D).
    batch: windows, with their domain in the extras.
    progress: () part of the training that is done.
  """
  strength = schedules.dann_lambda(progress, 1.0)
  logits = heads.apply({"params": params}, mu, strength)
  source = batch.targets != domains.UNLABELED
  each = losses(config, logits, batch.targets, batch.extras.domain, source)
  return total(config, each), each._asdict()


def evaluate(
  heads: Heads,
  params: PyTree,
  encode: Callable[[data.ArrayDataset], Array],
  parts: dict[str, data.ArrayDataset],
) -> dict[str, Array]:
  """Returns "NAME_accuracy" of each part: accuracy of its class probe.

  The probe sees the class's segment of the means (n, D) that `encode` returns.
  """
  metrics = {}
  for name, part in parts.items():
    logits = heads.apply({"params": params}, encode(part))
    right = jnp.argmax(logits.yy, axis=-1) == part.targets
    metrics[f"{name}_accuracy"] = right.mean()
  return metrics
