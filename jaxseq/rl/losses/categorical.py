"""Targets and losses as small functions of arrays.

Categorical double Q-learning with n-step returns (Bellemare et al.,
arXiv:1707.06887; van Hasselt et al., arXiv:1509.06461; Hessel et al.,
arXiv:1710.02298), its version without distributions, and the loss of
self-prediction (Schwarzer et al., arXiv:2007.05929, equation 3).
"""

import chex
import jax
import jax.numpy as jnp

Array = jax.Array

# Bounds on probabilities and divergences in priorities, as in SPR's code.
_SMALL = 1e-6
_LARGE = 1e6

# Vectors shorter than this are not stretched to length 1, as in SPR's code.
_MIN_NORM = 1e-3


def n_step_returns(
  reward: Array,
  done: Array,
  gamma: float | Array,
  num_steps: int | Array,
  max_steps: int | None = None,
) -> tuple[Array, Array]:
  """Sums rewards up to n steps ahead, or to the end of the episode.

      R_t = sum_{i<n} gamma^i r_{t+i}, cut after the first done

  Args:
    reward: (time, *batch).
    done: (time, *batch) bool, whether the episode ended with that step.
    gamma: discount.
    num_steps: n, at least 1. With max_steps it may be a traced integer.
    max_steps: the most that n can be; n itself if None.

  Returns:
    R and whether the episode ended within n steps, both
    (time - max_steps + 1, *batch).
  """
  chex.assert_equal_shape([reward, done])
  chex.assert_type(done, bool)
  max_steps = num_steps if max_steps is None else max_steps
  length = reward.shape[0] - max_steps + 1
  returns = jnp.zeros_like(reward[:length])
  done_n = jnp.zeros_like(done[:length])
  for i in range(max_steps):
    counts = ~done_n & (i < num_steps)
    returns += jnp.where(counts, gamma**i * reward[i : i + length], 0)
    done_n |= counts & done[i : i + length]
  return returns, done_n


def project_categorical(
  probs: Array, reward: Array, discount: Array, v_min: float, v_max: float
) -> Array:
  """Distributes reward + discount * Z onto the atoms of Z.

  What falls between two atoms is split between them in proportion to how near
  they are; what falls outside goes to the first or last one.

  Args:
    probs: (batch, atoms) probabilities of evenly spaced returns.
    reward: (batch,).
    discount: (batch,), 0 at the end of an episode.
    v_min: return of the first atom.
    v_max: return of the last atom.

  Returns:
    Probabilities (batch, atoms).
  """
  chex.assert_rank(probs, 2)
  chex.assert_shape([reward, discount], probs.shape[:1])
  atoms = probs.shape[-1]
  z = jnp.linspace(v_min, v_max, atoms, dtype=probs.dtype)
  moved = reward[:, None] + discount[:, None] * z
  place = (jnp.clip(moved, v_min, v_max) - v_min) * (
    (atoms - 1) / (v_max - v_min)
  )
  # The last atom is the upper neighbour of the one before it, never a lower
  # one, so that there always is an upper neighbour.
  lower = jnp.clip(jnp.floor(place), 0, atoms - 2)
  share = jnp.clip(place - lower, 0, 1)

  def spread(lower, below, above):
    out = jnp.zeros(atoms, probs.dtype)
    return out.at[lower].add(below).at[lower + 1].add(above)

  return jax.vmap(spread)(
    lower.astype(jnp.int32), probs * (1 - share), probs * share
  )


def take_action(x: Array, action: Array) -> Array:
  """Picks one action's entry: (batch, n, ...) and (batch,) to (batch, ...)."""
  return jax.vmap(lambda row, index: row[index])(x, action)


def cross_entropy(target: Array, log_probs: Array) -> Array:
  """Returns -sum target * log_probs over the last axis: (...)."""
  chex.assert_equal_shape([target, log_probs])
  return -(target * log_probs).sum(axis=-1)


def kl_divergence(target: Array, log_probs: Array) -> Array:
  """Returns KL(target || prediction) with the bounds of SPR's code.

  Args:
    target: (..., atoms) probabilities, which are raised to 1e-6 first.
    log_probs: (..., atoms), of the prediction.

  Returns:
    (...), within [1e-6, 1e6]. To the power of the priority exponent it is the
    priority of the transition.
  """
  chex.assert_equal_shape([target, log_probs])
  target = jnp.clip(target, _SMALL, 1)
  divergence = (target * (jnp.log(target) - log_probs)).sum(axis=-1)
  return jnp.clip(divergence, _SMALL, _LARGE)


def huber(error: Array, delta: float = 1.0) -> tuple[Array, Array]:
  """Returns the Huber loss, and the error as it counts for priorities.

  Args:
    error: (...), target minus value.
    delta: where the loss turns from a parabola to a line.

  Returns:
    The loss and min(|error|, delta), both (...).
  """
  size = jnp.abs(error)
  linear = delta * (size - delta / 2)
  loss = jnp.where(size <= delta, jnp.square(error) / 2, linear)
  return loss, jnp.minimum(size, delta)


def spr_distance(prediction: Array, target: Array) -> Array:
  """Returns the squared distance of two vectors that are made length 1.

  That is 2 - 2 cos of the angle between them. Vectors shorter than 1e-3 are
  divided by 1e-3.

  Args:
    prediction: (..., d).
    target: (..., d).

  Returns:
    (...), in [0, 4].
  """
  chex.assert_equal_shape([prediction, target])
  return jnp.square(_normalize(prediction) - _normalize(target)).sum(axis=-1)


def _normalize(x):
  # The maximum is taken under the root: at a zero vector the root of the sum
  # has no derivative.
  squares = jnp.square(x).sum(axis=-1, keepdims=True)
  return x * jax.lax.rsqrt(jnp.maximum(squares, _MIN_NORM**2))


def episode_mask(done: Array) -> Array:
  """Returns which predictions stay within the episode of the first step.

  Args:
    done: (K + 1, *batch) bool, of the transitions taken at t .. t + K.

  Returns:
    (K + 1, *batch) bool; False at k if an episode ended at t + k or before.
  """
  chex.assert_type(done, bool)
  return jnp.cumsum(done, axis=0) == 0


def importance_weights(
  priority: Array, beta: float | Array, epsilon: float = 1e-5
) -> Array:
  """Returns (1 / (priority + epsilon))^beta over its maximum: (batch,)."""
  weights = (priority + epsilon) ** -beta
  return weights / weights.max()
