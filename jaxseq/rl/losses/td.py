"""Targets and losses of recurrent Q-learning as small functions of arrays.

Kapturowski et al., "Recurrent Experience Replay in Distributed Reinforcement
Learning", ICLR 2019 (R2D2): double Q-learning, n-step targets, values on
another scale, priorities of sequences. Peng's Q(lambda) is the other target:
Kozuno et al., "Revisiting Peng's Q(lambda) for Modern Reinforcement Learning",
arXiv:2103.00107. Neither corrects for what was done by another policy.
"""

import chex
import jax
import jax.numpy as jnp

from jaxseq.recurrence import linear

Array = jax.Array


def rescale(x: Array, epsilon: float = 1e-3) -> Array:
  """Returns sign(x) (sqrt(|x| + 1) - 1) + epsilon x, of any shape.

  Pohlen et al., "Observe and Look Further", arXiv:1805.11593, section 3.2.
  """
  return jnp.sign(x) * (jnp.sqrt(jnp.abs(x) + 1) - 1) + epsilon * x


def unrescale(x: Array, epsilon: float = 1e-3) -> Array:
  """Returns the inverse of `rescale`, of any shape."""
  size = jnp.abs(x)
  root = jnp.sqrt(1 + 4 * epsilon * (size + 1 + epsilon))
  # z = 2 (size + 1 + epsilon) / (root + 1) solves h(z^2 - 1) = size. Of the
  # textbook's root - 1 and z^2 - 1, float32 would lose half the digits.
  z = 2 * (size + 1 + epsilon) / (root + 1)
  above = 2 * (size + epsilon - 2 * epsilon * (size + 1 + epsilon) / (root + 1))
  return jnp.sign(x) * (z + 1) * above / (root + 1)


def double_q(online: Array, target: Array) -> Array:
  """Returns the target network's values of the online network's best actions.

  Van Hasselt et al., "Deep Reinforcement Learning with Double Q-learning",
  arXiv:1509.06461, equation 4.

  Args:
    online: (..., n) action values.
    target: (..., n) action values.

  Returns:
    Values (...).
  """
  chex.assert_equal_shape([online, target])
  best = jnp.argmax(online, axis=-1, keepdims=True)
  return jnp.take_along_axis(target, best, axis=-1)[..., 0]


def n_step_targets(
  reward: Array,
  value: Array,
  terminated: Array,
  cut: Array,
  *,
  gamma: float,
  num_steps: int,
) -> Array:
  """Returns n-step targets of a sequence that may hold several episodes.

  With G^0 = V, the recursion

      G^k_t = V_t  where cut_t, else
              r_t + gamma * (1 - terminated_t) * G^{k-1}_{t+1}

  sums up rewards until an episode's end; at a cut it goes on with the value
  there, and at the end of the sequence with the last value, so that the last
  targets look fewer than n steps ahead. No gradient flows through the result.

  Args:
    reward: (*batch, time), of the transition that starts at each step.
    value: (*batch, time + 1), of the observation each step starts from, and of
      the one after the last step.
    terminated: (*batch, time) bool; the episode ended after the step.
    cut: (*batch, time) bool; the observation was the last of an episode that
      was cut off: nothing was done there, and the next one is that of another
      episode. Its own target is its value.
    gamma: discount, in [0, 1].
    num_steps: n.

  Returns:
    Targets (*batch, time).
  """
  reward, value, discount = _prepare(reward, value, terminated, cut, gamma)
  target = value
  for _ in range(num_steps):
    ahead = jnp.where(cut, value[..., :-1], reward + discount * target[..., 1:])
    target = jnp.concatenate([ahead, value[..., -1:]], axis=-1)
  return target[..., :-1]


def lambda_targets(
  reward: Array,
  value: Array,
  terminated: Array,
  cut: Array,
  *,
  gamma: float,
  q_lambda: float,
) -> Array:
  """Returns the targets of Peng's Q(lambda).

      G_t = V_t  where cut_t, else
            r_t + gamma * (1 - terminated_t)
                * ((1 - lambda) * V_{t+1} + lambda * G_{t+1})

  with the last value for the target after the end. No gradient flows through
  the result.

  Args:
    reward: as in `n_step_targets`, and so are value, terminated and cut.
    value: (*batch, time + 1).
    terminated: (*batch, time) bool.
    cut: (*batch, time) bool.
    gamma: discount, in [0, 1].
    q_lambda: in [0, 1]; 0 gives one-step targets, 1 whole returns.

  Returns:
    Targets (*batch, time).
  """
  reward, value, discount = _prepare(reward, value, terminated, cut, gamma)
  one_step = reward + (1 - q_lambda) * discount * value[..., 1:]
  target, _ = linear.linear_scan(
    jnp.where(cut, 0, q_lambda * discount)[..., None],
    jnp.where(cut, value[..., :-1], one_step)[..., None],
    value[..., -1:],
    reverse=True,
  )
  return target[..., 0]


def _prepare(reward, value, terminated, cut, gamma):
  chex.assert_equal_shape([reward, terminated, cut])
  chex.assert_shape(value, (*reward.shape[:-1], reward.shape[-1] + 1))
  chex.assert_type([terminated, cut], bool)
  discount = jnp.where(terminated, 0, jnp.asarray(gamma, value.dtype))
  return reward, jax.lax.stop_gradient(value), discount


def errors(
  values: Array, action: Array, target: Array, counts: Array
) -> tuple[Array, Array]:
  """Returns how far action values are from their targets.

  Args:
    values: (*batch, time, n) action values.
    action: (*batch, time) int32, what was done.
    target: (*batch, time).
    counts: (*batch, time) bool; whether anything was done.

  Returns:
    The errors target - value, 0 where nothing counts, and the values of what
    was done, both (*batch, time).
  """
  chex.assert_equal_shape([action, target, counts])
  chex.assert_equal_shape_prefix([values, action], action.ndim)
  chosen = jnp.take_along_axis(values, action[..., None], axis=-1)[..., 0]
  return jnp.where(counts, target - chosen, 0), chosen


def squared_loss(error: Array, weight: Array, counts: Array) -> Array:
  """Returns half the weighted mean squared error over what counts.

  Args:
    error: (batch, time), 0 where nothing counts.
    weight: (batch,), of the sequences.
    counts: (batch, time) bool.

  Returns:
    A scalar; 0 if nothing counts.
  """
  chex.assert_equal_shape([error, counts])
  chex.assert_shape(weight, error.shape[:1])
  total = (weight[:, None] * jnp.square(error)).sum()
  return 0.5 * total / jnp.maximum(counts.sum(), 1)


def priority(error: Array, counts: Array, max_share: float) -> Array:
  """Returns how much there is to learn from sequences: (*batch,).

      max_share * max_t |error_t| + (1 - max_share) * mean_t |error_t|

  Args:
    error: (*batch, time), 0 where nothing counts.
    counts: (*batch, time) bool.
    max_share: in [0, 1]; 0.9 in the paper.
  """
  chex.assert_equal_shape([error, counts])
  size = jnp.abs(error)
  mean = size.sum(axis=-1) / jnp.maximum(counts.sum(axis=-1), 1)
  return max_share * size.max(axis=-1) + (1 - max_share) * mean
