"""Preference losses of pairs of answers: DPO and its relatives.

  log_probs = losses.token_log_probs(logits, targets, mask)
  loss, metrics = preference.loss(
    log_probs.sum(-1), reference, mask.sum(-1), preference.Config(beta=0.1)
  )

Rafailov et al., "Direct Preference Optimization", arXiv:2305.18290; `robust`:
arXiv:2403.00409; `hinge`: arXiv:2305.10425; `ipo`: arXiv:2310.12036;
`sigmoid_norm`: arXiv:2411.15124; `cdpo`: Mitchell, "A note on DPO with noisy
preferences". `simpo`, `cpo` and `orpo` have no reference: arXiv:2405.14734;
arXiv:2401.08417; arXiv:2403.07691. The pair terms are those of the library
TRL. In `cpo` and `orpo` the term of the preferred answer counts only tokens of
answers, and `simpo` has no such term, but TRL counts prompts in `orpo` and adds
the term to `simpo` by default.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from jaxseq import validate

Kind = Literal[
  "sigmoid",
  "robust",
  "cdpo",
  "hinge",
  "ipo",
  "sigmoid_norm",
  "simpo",
  "cpo",
  "orpo",
]
# Kinds without a reference network.
_ALONE = ("simpo", "cpo", "orpo")


@dataclasses.dataclass(frozen=True)
class Config:
  """The loss of pairs.

  Let d be the log-probability ratio of network and reference for the preferred
  answer, less that for the other answer; without a reference, the difference of
  the log-probabilities themselves.

  Attributes:
    kind: "sigmoid": -log sigmoid(beta d); "robust": the same made unbiased for
      pairs with a share of flipped labels; "cdpo": the same averaged over both
      labels; "hinge": max(0, 1 - beta d); "ipo": (d - 1 / (2 beta))^2 and
      "sigmoid_norm": as "sigmoid", both with the log-probabilities divided by
      the answers' numbers of tokens. Without a reference, "simpo": -log
      sigmoid(beta d - gamma), divided in the same way; "cpo": "sigmoid" plus
      `sft` times the mean loss of the preferred answers' tokens; "orpo": that
      mean loss plus beta times -log sigmoid of the log odds ratio of answers,
      whose probabilities are the geometric means of their tokens'.
    beta: strength of the reference penalty; about 2 for "simpo".
    smoothing: share of the pairs with flipped labels, below one half; only for
      "robust" and "cdpo".
    gamma: margin of "simpo".
    sft: weight of the preferred answers' loss, for "cpo" and "orpo".
  """

  kind: Kind = "sigmoid"
  beta: float = 0.1
  smoothing: float = 0.1
  gamma: float = 0.5
  sft: float = 1.0

  def __post_init__(self):
    validate.literals(self)
    not_negative = "smoothing", "gamma", "sft"
    validate.fields(self, above_zero=("beta",), not_negative=not_negative)
    if self.smoothing >= 0.5:
      expected = "less than 0.5, with which pairs say nothing"
      raise validate.error("smoothing", self.smoothing, expected)

  @property
  def has_reference(self) -> bool:
    """True if the loss reads log-probabilities of a reference network."""
    return self.kind not in _ALONE


def loss(
  log_probs: jax.Array,
  ref_log_probs: jax.Array,
  counts: jax.Array,
  config: Config = Config(),
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Returns the mean loss of pairs.

  Rows are the preferred answers, then the others in the same order.

    >>> import jax.numpy as jnp
    >>> value, _ = loss(-jnp.ones(2), -jnp.ones(2), jnp.ones(2))
    >>> round(float(value), 4)  # log 2: nothing has been learned yet
    0.6931

  Args:
    log_probs: (2 pairs,) of the whole answers, by the network.
    ref_log_probs: (2 pairs,), by the reference, the network before training;
      ignored by kinds without a reference.
    counts: (2 pairs,) tokens of each answer.
    config: the loss.

  Returns:
    The loss, and a dict of scalars: `accuracy`, the share of the pairs with
    d > 0, and `margin`, the mean of beta d; for "simpo" and "orpo" d is divided
    by the numbers of tokens.
  """
  (rows,) = validate.shape("log_probs", log_probs, ("rows",))
  validate.shape("ref_log_probs", ref_log_probs, (rows,))
  validate.shape("counts", counts, (rows,))
  if rows % 2:
    expected = "an even number of rows, the preferred answers first"
    raise validate.error("log_probs", f"shape {log_probs.shape}", expected)

  def ahead(x):
    return x[: rows // 2] - x[rows // 2 :]

  kind, beta, wrong = config.kind, config.beta, config.smoothing
  rise = log_probs - ref_log_probs if config.has_reference else log_probs
  d = ahead(rise)
  mean_d = ahead(rise / jnp.maximum(counts, 1))
  match kind:
    case "sigmoid" | "cpo":
      values = -jax.nn.log_sigmoid(beta * d)
    case "robust" | "cdpo":
      right = -(1 - wrong) * jax.nn.log_sigmoid(beta * d)
      other = -wrong * jax.nn.log_sigmoid(-beta * d)
      values = right + other
      if kind == "robust":
        values = (right - other) / (1 - 2 * wrong)
    case "hinge":
      values = jax.nn.relu(1 - beta * d)
    case "ipo":
      values = jnp.square(mean_d - 1 / (2 * beta))
    case "sigmoid_norm":
      values = -jax.nn.log_sigmoid(beta * mean_d)
    case "simpo":
      values = -jax.nn.log_sigmoid(beta * mean_d - config.gamma)
    case "orpo":
      values = -beta * jax.nn.log_sigmoid(ahead(_log_odds(log_probs, counts)))
  value = values.mean()
  if kind in ("cpo", "orpo"):
    tokens = jnp.maximum(counts[: rows // 2].sum(), 1)
    value -= config.sft * log_probs[: rows // 2].sum() / tokens
  measured = mean_d if kind in ("simpo", "orpo") else d
  metrics = {
    "accuracy": (measured > 0).mean(dtype=d.dtype),
    "margin": jax.lax.stop_gradient(beta * measured).mean(),
  }
  return value, metrics


def _log_odds(log_probs, counts):
  """Log odds of answers, of the geometric means of their tokens."""
  mean = log_probs / jnp.maximum(counts, 1)
  # An answer of probability 1 has infinite odds.
  mean = jnp.minimum(mean, -jnp.finfo(mean.dtype).eps)
  return mean - jax.nn.log1mexp(-mean)
