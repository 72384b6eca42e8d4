"""Values and temperature of policies with an entropy bonus.

Haarnoja et al., "Soft Actor-Critic Algorithms and Applications",
arXiv:1812.05905; for one choice Christodoulou, "Soft Actor-Critic for Discrete
Action Settings", arXiv:1910.07207. Targets are those of `td.n_step_targets`
with the values of this module.
"""

from typing import Literal

import jax
import jax.numpy as jnp

Array = jax.Array


def value(q: Array, log_prob: Array, alpha: float | Array) -> Array:
  """Returns min(Q_1, Q_2) - alpha log pi of a sampled action.

      >>> soft.value(jnp.array([[3.0], [2.0]]), jnp.array([-1.0]), 0.5)
      Array([2.5], dtype=float32)

  Args:
    q: (2, *batch), of the action.
    log_prob: (*batch), of the action.
    alpha: the temperature.

  Returns:
    (*batch). Its negative mean is the loss of the actor.
  """
  return q.min(axis=0) - alpha * log_prob


def expected_value(q: Array, log_prob: Array, alpha: float | Array) -> Array:
  """Returns sum_a pi(a) (min(Q_1, Q_2)(a) - alpha log pi(a)) of one choice.

  Args:
    q: (2, *batch, n), of all actions.
    log_prob: (*batch, n), of all actions; -inf for forbidden ones.
    alpha: the temperature.

  Returns:
    (*batch).
  """
  # 0 log 0 = 0, also in the gradient.
  finite = jnp.where(jnp.isneginf(log_prob), 0, log_prob)
  return (jnp.exp(log_prob) * value(q, finite, alpha)).sum(axis=-1)


def mean(x: Array, mask: Array) -> Array:
  """Returns the mean of x over a mask of its shape; 0 if the mask is empty."""
  return jnp.where(mask, x, 0).sum() / jnp.maximum(mask.sum(), 1)


def temperature_loss(
  log_alpha: Array,
  entropy: Array,
  target_entropy: float | Array,
  form: Literal["alpha", "log_alpha"] = "alpha",
) -> Array:
  """Returns the loss of the temperature, to be minimized over log alpha.

  The temperature falls while the policy's entropy is above the target, and
  rises while it is below. With the form "alpha" the loss is

      alpha (entropy - target_entropy)

  as in the paper and in the code of Ni et al., arXiv:2110.05038: the step is
  proportional to alpha. With "log_alpha", log alpha replaces alpha in the loss,
  as in much published code: the step is then the same at all temperatures.

  Args:
    log_alpha: () logarithm of the temperature.
    entropy: () mean of -log pi.
    target_entropy: target of the entropy.
    form: see above.
  """
  scale = log_alpha if form == "log_alpha" else jnp.exp(log_alpha)
  return scale * (jax.lax.stop_gradient(entropy) - target_entropy)
