"""Temporal-difference targets and errors of action values.

Names hold the time, as in rlax: action a_tm1 was taken at action values q_tm1,
r_t and discount_t followed, and v_t is the value of the next observation.
Discounts are 0 if an episode ended. Axes are (*batch, time).

Kapturowski et al., "Recurrent Experience Replay in Distributed Reinforcement
Learning", ICLR 2019 (R2D2): double Q-learning, n-step targets, rescaled
values. Peng's Q(lambda) is the other target: Kozuno et al., "Revisiting
Peng's Q(lambda) for Modern Reinforcement Learning", arXiv:2103.00107. Neither
is corrected for off-policy actions.
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
  # z = 2 (size + 1 + epsilon) / (root + 1) solves h(z^2 - 1) = size. The
  # textbook's root - 1 and z^2 - 1 would lose half the digits in float32.
  z = 2 * (size + 1 + epsilon) / (root + 1)
  above = 2 * (size + epsilon - 2 * epsilon * (size + 1 + epsilon) / (root + 1))
  return jnp.sign(x) * (z + 1) * above / (root + 1)


def take_action(x: Array, action: Array) -> Array:
  """Picks the entries (*batch, ...) of actions, which are (*batch) integers.

  x, (*batch, n, ...), holds values or logits of all actions.
  """
  chex.assert_equal_shape_prefix([x, action], action.ndim)
  index = action.reshape(*action.shape, *[1] * (x.ndim - action.ndim))
  return jnp.take_along_axis(x, index, axis=action.ndim).squeeze(action.ndim)


def dueling(value: Array, advantages: Array, axis: int = -1) -> Array:
  """Combines state values and advantages into action values.

  Wang et al., arXiv:1511.06581, equation 9.

  Args:
    value: like the advantages, with length 1 along `axis`.
    advantages: of all actions, along `axis`.
    axis: axis of the actions.

  Returns:
    value + advantages - mean advantage, like `advantages`.
  """
  return value + advantages - advantages.mean(axis=axis, keepdims=True)


def double_q(q_t_selector: Array, q_t: Array) -> Array:
  """Returns one network's values of another network's best actions.

  Van Hasselt et al., "Deep Reinforcement Learning with Double Q-learning",
  arXiv:1509.06461, equation 4.

      >>> q_t_selector, q_t = jnp.array([[1., 3.]]), jnp.array([[7., -1.]])
      >>> td.double_q(q_t_selector, q_t)
      Array([-1.], dtype=float32)

  Args:
    q_t_selector: (*batch, n) action values, of the online network.
    q_t: (*batch, n) action values, or (*batch, n, ...) logits, of the target
      network.

  Returns:
    (*batch), or (*batch, ...).
  """
  chex.assert_equal_shape_prefix([q_t_selector, q_t], q_t_selector.ndim)
  return take_action(q_t, jnp.argmax(q_t_selector, axis=-1))


def n_step_returns(
  r_t: Array,
  discount_t: Array,
  num_steps: int | Array,
  max_steps: int | None = None,
) -> tuple[Array, Array]:
  """Sums the rewards of the next n steps, and multiplies their discounts.

      R_t = r_t + discount_t (r_{t+1} + discount_{t+1} (... r_{t+n-1}))
      D_t = discount_t discount_{t+1} ... discount_{t+n-1}

  so that R_t + D_t V_{t+n} is the n-step target.

      >>> td.n_step_returns(jnp.array([1., 2., 4.]), jnp.array([.5, .5, 0.]), 2)
      (Array([2., 4.], dtype=float32), Array([0.25, 0.  ], dtype=float32))

  Args:
    r_t: (*batch, time).
    discount_t: (*batch, time), 0 if the episode ended with that step.
    num_steps: n, at least 1. With max_steps it may be a traced integer.
    max_steps: the largest possible n; n itself if None.

  Returns:
    R and D, both (*batch, time - max_steps + 1).
  """
  chex.assert_equal_shape([r_t, discount_t])
  max_steps = num_steps if max_steps is None else max_steps
  length = r_t.shape[-1] - max_steps + 1
  returns = jnp.zeros_like(r_t[..., :length])
  discounts = jnp.ones_like(returns)
  for i in range(max_steps):
    counts = i < num_steps
    returns += jnp.where(counts, discounts * r_t[..., i : i + length], 0)
    discounts *= jnp.where(counts, discount_t[..., i : i + length], 1)
  return returns, discounts


def n_step_targets(
  r_t: Array,
  v: Array,
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

  sums up rewards until an episode's end; it bootstraps with the value at a
  cut, and at the end of the sequence with the last value, so that the last
  targets look fewer than n steps ahead. No gradient flows through the result.

  Args:
    r_t: (*batch, time), of the transition that starts at each step.
    v: (*batch, time + 1), of the observation each step starts from, and of
      the one after the last step.
    terminated: (*batch, time) bool; the episode ended after the step.
    cut: (*batch, time) bool; the observation was the last of a truncated
      episode: no action was taken there, and the next one is of another
      episode. Its own target is its value.
    gamma: discount, in [0, 1].
    num_steps: n.

  Returns:
    Targets (*batch, time).
  """
  r_t, v, discount_t = _prepare(r_t, v, terminated, cut, gamma)
  ahead = [(0, 0)] * (r_t.ndim - 1) + [(0, num_steps - 1)]
  discount_t = jnp.pad(discount_t, ahead, constant_values=1)
  returns, discounts = n_step_returns(
    jnp.pad(r_t, ahead), discount_t, num_steps
  )
  v_tpn = jnp.pad(v, ahead, mode="edge")[..., num_steps:]
  return returns + discounts * v_tpn


def lambda_targets(
  r_t: Array,
  v: Array,
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

  with the last value as the target after the end. No gradient flows through
  the result. The other arguments and the targets (*batch, time) are as in
  `n_step_targets`; q_lambda is in [0, 1]: 0 gives one-step targets, 1 whole
  returns.
  """
  r_t, v, discount_t = _prepare(r_t, v, terminated, cut, gamma)
  one_step = r_t + (1 - q_lambda) * discount_t * v[..., 1:]
  decay, last = q_lambda * discount_t[..., None], v[..., -1:]
  targets, _ = linear.linear_scan(
    decay, one_step[..., None], last, reverse=True
  )
  return targets[..., 0]


def _prepare(r_t, v, terminated, cut, gamma):
  """Returns rewards, values and discounts; a cut pays its value and ends."""
  chex.assert_equal_shape([r_t, terminated, cut])
  chex.assert_shape(v, (*r_t.shape[:-1], r_t.shape[-1] + 1))
  chex.assert_type([terminated, cut], bool)
  v = jax.lax.stop_gradient(v)
  r_t = jnp.where(cut, v[..., :-1], r_t)
  return r_t, v, jnp.where(terminated | cut, 0, jnp.asarray(gamma, v.dtype))


def td_errors(
  q_tm1: Array, a_tm1: Array, target_tm1: Array, mask_t: Array
) -> tuple[Array, Array]:
  """Returns the TD errors of taken actions.

  Args:
    q_tm1: (*batch, time, n) action values.
    a_tm1: (*batch, time) int32, the taken actions.
    target_tm1: (*batch, time).
    mask_t: (*batch, time) bool; whether an action was taken.

  Returns:
    The errors target - value, 0 outside the mask, and the values of the taken
    actions, both (*batch, time).
  """
  chex.assert_equal_shape([a_tm1, target_tm1, mask_t])
  q_a_tm1 = take_action(q_tm1, a_tm1)
  return jnp.where(mask_t, target_tm1 - q_a_tm1, 0), q_a_tm1


def squared_loss(td_error: Array, weight: Array, mask_t: Array) -> Array:
  """Returns half the weighted mean squared error, see `weighted_mean`."""
  return weighted_mean(0.5 * jnp.square(td_error), weight, mask_t)


def weighted_mean(losses: Array, weight: Array, mask_t: Array) -> Array:
  """Returns the sum of weighted losses over the size of the mask.

  Args:
    losses: (batch, time).
    weight: (batch,), weights of the sequences.
    mask_t: (batch, time) bool, the steps that count.

  Returns:
    A scalar; 0 if the mask is empty.
  """
  chex.assert_equal_shape([losses, mask_t])
  chex.assert_shape(weight, losses.shape[:1])
  total = jnp.where(mask_t, weight[:, None] * losses, 0).sum()
  return total / jnp.maximum(mask_t.sum(), 1)
