"""Policy gradients from groups of answers to a prompt: GRPO and variants.

  advantages = group_policy.advantages(rewards, group=8)
  loss, metrics = group_policy.loss(
    log_probs, old_log_probs, advantages, mask, group_policy.Config()
  )

Shao et al., "DeepSeekMath", arXiv:2402.03300; `dr_grpo`: arXiv:2503.20783;
`dapo`: arXiv:2503.14476; `cispo`: arXiv:2506.13585; ratios of whole answers:
arXiv:2507.18071. All are computed as in the TRL library.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from jaxseq import validate

# Added to the deviation of the rewards.
_EPSILON = 1e-4

Scale = Literal["group", "batch", "none"]


@dataclasses.dataclass(frozen=True)
class Config:
  """The loss of answers with advantages.

  Attributes:
    kind: the averaging: "grpo" over the tokens of each answer, then over
      answers; "bnpo" over all tokens; "dr_grpo": the sum divided by answers
      times `max_length`; "dapo" over the tokens of the global batch. "cispo":
      as "dapo", of log-probabilities weighted by the ratio, which is at most
      `clip_high` and has no gradient.
    level: ratios of single tokens ("token"), or geometric means over an
      answer's tokens ("sequence").
    beta: weight of the divergence from the reference.
    clip_low: largest deviation of a ratio below 1.
    clip_high: largest deviation above 1; for "cispo" the largest ratio itself.
    max_length: largest number of tokens of an answer, for "dr_grpo"; 0 for the
      width of the arrays.
  """

  kind: Literal["grpo", "bnpo", "dr_grpo", "dapo", "cispo"] = "dapo"
  level: Literal["token", "sequence"] = "token"
  beta: float = 0.0
  clip_low: float = 0.2
  clip_high: float = 0.2
  max_length: int = 0

  def __post_init__(self):
    validate.literals(self)
    validate.fields(
      self, not_negative=("beta",), above_zero=("clip_low", "clip_high")
    )
    validate.integer("max_length", self.max_length, 0)


def advantages(
  rewards: jax.Array, group: int, scale: Scale = "group"
) -> jax.Array:
  """Returns the advantage of each answer within its group.

  It is the reward minus the mean of the group, divided by the sum of the
  deviation (with n - 1) and 1e-4. A group with equal rewards has advantages 0
  and no gradient.

  Args:
    rewards: (groups * group,), those of a group side by side.
    group: answers to a prompt, at least 2.
    scale: whether to divide by the deviation of the group, of the batch, or not
      at all.
  """
  spread = _groups(rewards, group)
  validate.choice("scale", scale, ("group", "batch", "none"))
  centered = spread - spread.mean(axis=1, keepdims=True)
  # Rounding of equal rewards may leave a difference, which 1e-4 would amplify.
  centered = jnp.where(_flat(spread)[:, None], 0, centered)
  if scale == "group":
    centered /= spread.std(axis=1, ddof=1, keepdims=True) + _EPSILON
  elif scale == "batch":
    centered /= rewards.std(ddof=1) + _EPSILON
  return centered.reshape(-1)


def flat_groups(rewards: jax.Array, group: int) -> jax.Array:
  """Returns the number of groups with equal rewards.

  Args:
    rewards: (groups * group,).
    group: answers to a prompt.
  """
  return _flat(_groups(rewards, group)).sum()


def loss(
  log_probs: jax.Array,
  old_log_probs: jax.Array,
  advantages: jax.Array,
  mask: jax.Array,
  config: Config = Config(),
  *,
  ref_log_probs: jax.Array | None = None,
  num_tokens: jax.Array | int | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Returns the loss of answers.

  The loss of a token is -min(r A, clip(r, 1 - clip_low, 1 + clip_high) A) with
  the ratio r = exp(log_probs - old_log_probs), plus beta times the estimator
  exp(q) - q - 1 of the divergence, where q = ref_log_probs - log_probs.

  Args:
    log_probs: (rows, time) of each token, by the network.
    old_log_probs: (rows, time), by the network that sampled them.
    advantages: (rows,).
    mask: (rows, time) bool, the tokens of the answers; other values are
      ignored.
    config: the loss.
    ref_log_probs: (rows, time), by the network before training; needed if
      `beta` is not 0.
    num_tokens: number of answer tokens of the global batch, if these rows are a
      part of it; for "dapo" and "cispo".

  Returns:
    The loss, and a dict of scalars, which are means over tokens: `approx_kl`
    (r - 1 - log r), `clip_fraction` (ratios out of their range), and `kl`, the
    divergence from the reference, if there is one.
  """
  rows, time = validate.shape("log_probs", log_probs, ("rows", "time"))
  validate.shape("old_log_probs", old_log_probs, (rows, time))
  validate.shape("advantages", advantages, (rows,))
  validate.shape("mask", mask, (rows, time))
  log_probs = jnp.where(mask, log_probs, 0)
  log_ratio = jnp.where(mask, log_probs - old_log_probs, 0)
  counts = jnp.maximum(mask.sum(axis=1), 1)
  tokens = jnp.maximum(mask.sum(), 1)
  if config.level == "sequence":
    log_ratio = (log_ratio.sum(axis=1) / counts)[:, None]
  ratio, gain = jnp.exp(log_ratio), advantages[:, None]
  low, high = 1 - config.clip_low, 1 + config.clip_high
  if config.kind == "cispo":
    low, high = 0, config.clip_high
    weight = jax.lax.stop_gradient(jnp.minimum(ratio, high))
    values = -weight * gain * log_probs
  else:
    clipped = jnp.clip(ratio, low, high)
    values = -jnp.minimum(ratio * gain, clipped * gain)
  outside = jnp.broadcast_to((ratio < low) | (ratio > high), mask.shape)
  metrics = {
    "approx_kl": ratio - 1 - log_ratio,
    "clip_fraction": outside.astype(values.dtype),
  }
  if ref_log_probs is not None:
    validate.shape("ref_log_probs", ref_log_probs, (rows, time))
    q = jnp.where(mask, ref_log_probs - log_probs, 0)
    metrics["kl"] = jnp.exp(q) - q - 1
    if config.beta:
      values = values + config.beta * metrics["kl"]
  elif config.beta:
    expected = "those of the reference, as config.beta is not 0"
    raise validate.error("ref_log_probs", None, expected)
  values = jnp.where(mask, values, 0)
  means = {
    name: jax.lax.stop_gradient(jnp.where(mask, x, 0).sum() / tokens)
    for name, x in metrics.items()
  }
  match config.kind:
    case "grpo":
      value = (values.sum(axis=1) / counts).mean()
    case "bnpo":
      value = values.sum() / tokens
    case "dr_grpo":
      value = values.sum() / (rows * (config.max_length or time))
    case "dapo" | "cispo":
      value = values.sum() / (tokens if num_tokens is None else num_tokens)
  return value, means


def _groups(rewards, group):
  """Reshapes rewards to (groups, group)."""
  validate.integer("group", group, 2)
  (rows,) = validate.shape("rewards", rewards, ("rows",))
  if rows % group:
    expected = f"a multiple of {group} rewards, the size of a group"
    raise validate.error("rewards", f"shape {rewards.shape}", expected)
  return jnp.reshape(rewards, (-1, group))


def _flat(spread):
  """Marks groups with equal rewards, (groups,) bool."""
  return spread.max(axis=1) == spread.min(axis=1)
