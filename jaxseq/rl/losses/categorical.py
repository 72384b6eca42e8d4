"""Distributional Q-learning: projected targets and bounded divergences.

Bellemare et al., "A Distributional Perspective on Reinforcement Learning",
arXiv:1707.06887 (C51). The cross-entropy is
`optax.losses.softmax_cross_entropy`.
"""

import chex
import jax
import jax.numpy as jnp
import optax

Array = jax.Array

# Bounds on probabilities and divergences in priorities, as in SPR's code.
_SMALL = 1e-6
_LARGE = 1e6


def project(
  probs: Array, r_t: Array, discount_t: Array, v_min: float, v_max: float
) -> Array:
  """Distributes r_t + discount_t * Z onto the atoms of Z.

  Mass between two atoms is split between them in proportion to proximity; mass
  outside goes to the first or last one.

      >>> categorical.project(
      ...   jnp.array([[0., 1., 0.]]), jnp.array([0.5]), jnp.ones(1), -1, 1
      ... )
      Array([[0. , 0.5, 0.5]], dtype=float32)

  Args:
    probs: (batch, atoms) probabilities of evenly spaced returns.
    r_t: (batch,), rewards or n-step returns.
    discount_t: (batch,), 0 at the end of an episode.
    v_min: return of the first atom.
    v_max: return of the last atom.

  Returns:
    Probabilities (batch, atoms).
  """
  chex.assert_rank(probs, 2)
  chex.assert_shape([r_t, discount_t], probs.shape[:1])
  z = jnp.linspace(v_min, v_max, probs.shape[-1], dtype=probs.dtype)
  return spread(probs, r_t[:, None] + discount_t[:, None] * z, v_min, v_max)


def spread(probs: Array, moved: Array, v_min: float, v_max: float) -> Array:
  """Distributes probabilities of any returns onto evenly spaced atoms.

  Args:
    probs: (batch, atoms).
    moved: (batch, atoms), the returns of these probabilities.
    v_min: return of the first atom.
    v_max: return of the last atom.

  Returns:
    Probabilities (batch, atoms), see `project`.
  """
  chex.assert_equal_shape([probs, moved])
  atoms = probs.shape[-1]
  place = (jnp.clip(moved, v_min, v_max) - v_min) * (
    (atoms - 1) / (v_max - v_min)
  )
  # The last atom is only ever an upper neighbor, so that an upper neighbor
  # always exists.
  lower = jnp.clip(jnp.floor(place), 0, atoms - 2)
  share = jnp.clip(place - lower, 0, 1)

  def add(lower, below, above):
    out = jnp.zeros(atoms, probs.dtype)
    return out.at[lower].add(below).at[lower + 1].add(above)

  return jax.vmap(add)(
    lower.astype(jnp.int32), probs * (1 - share), probs * share
  )


def bounded_kl(target: Array, log_probs: Array) -> Array:
  """Returns KL(target || prediction), a priority, with the bounds of SPR.

  Args:
    target: (..., atoms) probabilities, which are raised to 1e-6 first.
    log_probs: (..., atoms), log-probabilities of the prediction.

  Returns:
    (...), within [1e-6, 1e6].
  """
  chex.assert_equal_shape([target, log_probs])
  divergence = optax.losses.kl_divergence(
    log_probs, jnp.clip(target, _SMALL, 1)
  )
  return jnp.clip(divergence, _SMALL, _LARGE)
