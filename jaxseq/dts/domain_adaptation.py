"""Classifiers on two segments of the code, for learning across domains.

Training windows are those of the source domains, with their classes, and those
of the target domains, which have `data.domains.UNLABELED` for one. The losses
are those of `groups`.
"""

from collections.abc import Callable
import dataclasses
from typing import Any

from flax import linen
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import data
from jaxseq import nn
from jaxseq.data import domains
from jaxseq.dts import groups
from jaxseq.dts import schedules


@dataclasses.dataclass(frozen=True)
class Config(groups.Config):
  """Options: those of the losses, and these.

  Attributes:
    widths: hidden widths of the classifiers.
  """

  _: dataclasses.KW_ONLY
  widths: tuple[int, ...] = (128,)


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
  def __call__(self, mu: jax.Array, strength: jax.Array | float = 1.0) -> Any:
    """Returns the logits of all classifiers.

    Args:
      mu: (batch, D) means of the code.
      strength: () coefficient of the reversal.
    """
    outputs = {
      "yy": self.classes,
      "yd": self.domains,
      "dd": self.domains,
      "dy": self.classes,
    }
    seen = groups.inputs(self.config, mu, strength)
    return groups.Heads(
      **{
        name: nn.MLP((*self.config.widths, size), activation="relu", name=name)(
          getattr(seen, name)
        )
        for name, size in outputs.items()
      }
    )


def make_heads(config: Config, splits: data.Splits) -> Heads:
  """Returns the classifiers for a set of two domains.

  Raises:
    ValueError: if the windows have no classes or no domains, none are held out
      for validation, or none of the target are among those for training.
  """
  if splits.train.extras.domain is None:
    raise ValueError(
      "extras.domain: got None, expected the domain of each window, as of the "
      "sets that `data.domains` makes: adaptation needs several domains."
    )
  if splits.valid is None:
    raise ValueError(
      "splits.valid: got None, expected validation windows of the source."
    )
  if splits.info.num_classes is None:
    raise ValueError(
      "splits.train: got no classes, expected windows with classes."
    )
  if not np.any(np.asarray(splits.train.targets) == domains.UNLABELED):
    raise ValueError(
      "splits.train: got no windows of the target, expected some, without "
      "classes (unlabeled=False leaves them out)."
    )
  count = int(splits.train.extras.domain.max()) + 1
  return Heads(config, splits.info.num_classes, count)


def loss(
  config: Config,
  heads: Heads,
  params: Any,
  mu: jax.Array,
  batch: data.ArrayDataset,
  progress: jax.Array,
) -> tuple[jax.Array, dict[str, jax.Array]]:
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
  losses = groups.losses(
    config,
    logits,
    batch.targets,
    batch.extras.domain,
    batch.targets != domains.UNLABELED,
  )
  return groups.total(config, losses), losses._asdict()


def evaluate(
  heads: Heads,
  params: Any,
  encode: Callable[[data.ArrayDataset], jax.Array],
  parts: dict[str, data.ArrayDataset],
) -> dict[str, jax.Array]:
  """Returns how often the class is told right from its own segment.

  Args:
    heads: the classifiers.
    params: theirs.
    encode: from windows to means (n, D).
    parts: windows by name.

  Returns:
    "NAME_accuracy" for each part.
  """
  metrics = {}
  for name, part in parts.items():
    logits = heads.apply({"params": params}, encode(part))
    right = jnp.argmax(logits.yy, axis=-1) == part.targets
    metrics[f"{name}_accuracy"] = right.mean()
  return metrics
