"""The recurrence of Mamba-2 as one `associative_scan` over all states.

This is how a linear recurrence is usually written in JAX: the states are one
array of shape (B, T, H, N, P). The decays stay (B, T, H, 1, 1), which makes
this form as fast as it can be.
"""

import jax
import jax.numpy as jnp


def _combine(left, right):
  a_left, S_left = left
  a_right, S_right = right
  return a_right * a_left, a_right * S_left + S_right


def ssd(X, log_decay, B, C, init):
  """Returns y (B, T, H, P) and the last state (B, H, N, P).

  X is (B, T, H, P), log_decay (B, T, H); B and C, of one group, are (B, T, N).
  """
  a = jnp.exp(log_decay)[..., None, None]
  S = B[:, :, None, :, None] * X[:, :, :, None]
  S = S.at[:, 0].add(a[:, 0] * init)
  _, S = jax.lax.associative_scan(_combine, (a, S), axis=1)
  return jnp.einsum("bthnp,btn->bthp", S, C), S[:, -1]
