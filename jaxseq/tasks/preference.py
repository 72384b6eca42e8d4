"""Losses of pairs of answers of which one is preferred: DPO and its relatives.

  log_probs = losses.token_log_probs(logits, targets, mask)
  loss, metrics = preference.loss(
    log_probs.sum(-1), reference, mask.sum(-1), preference.Config(beta=0.1)
  )

Rafailov et al., "Direct Preference Optimization", arXiv:2305.18290; `robust`:
arXiv:2403.00409; `hinge`: arXiv:2305.10425; `ipo`: arXiv:2310.12036;
`sigmoid_norm`: arXiv:2411.15124. All are as the library TRL computes them.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from jaxseq import _validate


@dataclasses.dataclass(frozen=True)
class Config:
  """The loss of pairs.

  Let d be how far the network's log-probability of the preferred answer has
  risen above that of the reference, less the same of the other answer.

  Attributes:
    kind: "sigmoid": -log sigmoid(beta d); "robust": the same made unbiased for
      pairs of which a share is the wrong way round; "hinge": max(0, 1 - beta
      d); "ipo": (d - 1 / (2 beta))^2 and "sigmoid_norm": as "sigmoid", both
      with the log-probabilities divided by the answers' numbers of tokens.
    beta: how dear it is to leave the reference.
    smoothing: share of the pairs that are the wrong way round, below one half;
      "robust" alone reads it.
  """

  kind: Literal["sigmoid", "robust", "hinge", "ipo", "sigmoid_norm"] = "sigmoid"
  beta: float = 0.1
  smoothing: float = 0.1

  def __post_init__(self):
    _validate.literals(self)
    _validate.fields(self, above_zero=("beta",), not_negative=("smoothing",))
    if self.smoothing >= 0.5:
      expected = "less than 0.5, with which pairs say nothing"
      raise _validate.error("smoothing", self.smoothing, expected)


def loss(
  log_probs: jax.Array,
  ref_log_probs: jax.Array,
  counts: jax.Array,
  config: Config = Config(),
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Returns the mean loss of pairs.

  Rows are the preferred answers, and then the others in the same order.

    >>> import jax.numpy as jnp
    >>> value, _ = loss(-jnp.ones(2), -jnp.ones(2), jnp.ones(2))
    >>> round(float(value), 4)  # log 2: nothing has been learnt yet
    0.6931

  Args:
    log_probs: (2 pairs,) of the whole answers, by the network.
    ref_log_probs: (2 pairs,), by the network before it was trained.
    counts: (2 pairs,) tokens of each answer.
    config: the loss.

  Returns:
    The loss, and a dict of scalars: `accuracy`, the share of the pairs whose
    preferred answer has risen more, and `margin`, the mean of beta d.
  """
  (rows,) = _validate.shape("log_probs", log_probs, ("rows",))
  _validate.shape("ref_log_probs", ref_log_probs, (rows,))
  _validate.shape("counts", counts, (rows,))
  if rows % 2:
    expected = "an even number of rows, the preferred answers first"
    raise _validate.error("log_probs", f"shape {log_probs.shape}", expected)

  def ahead(x):
    return x[: rows // 2] - x[rows // 2 :]

  rise = log_probs - ref_log_probs
  d = ahead(rise)
  mean_d = ahead(rise / jnp.maximum(counts, 1))
  beta, wrong = config.beta, config.smoothing
  match config.kind:
    case "sigmoid":
      values = -jax.nn.log_sigmoid(beta * d)
    case "robust":
      right = (1 - wrong) * jax.nn.log_sigmoid(beta * d)
      values = wrong * jax.nn.log_sigmoid(-beta * d) - right
      values = values / (1 - 2 * wrong)
    case "hinge":
      values = jax.nn.relu(1 - beta * d)
    case "ipo":
      values = jnp.square(mean_d - 1 / (2 * beta))
    case "sigmoid_norm":
      values = -jax.nn.log_sigmoid(beta * mean_d)
  metrics = {
    "accuracy": (d > 0).mean(dtype=d.dtype),
    "margin": jax.lax.stop_gradient(beta * d).mean(),
  }
  return values.mean(), metrics
