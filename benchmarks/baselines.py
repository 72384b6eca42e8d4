"""Formulations in common use, written here to be measured against.

`s5_reset_apply` is the S5 layer of the public in-context RL code (Lu et al.,
"Structured State Space Models for In-Context Reinforcement Learning",
arXiv:2303.03982, section 3.2): complex projections, and the reset flag carried
as a third element of the operator of `jax.lax.associative_scan`.
"""

import jax
import jax.numpy as jnp


def _combine(left, right):
  """Associative operator on (a, b, reset); `left` is the earlier element."""
  a_i, b_i, c_i = left
  a_j, b_j, c_j = right
  return (
    (a_j * a_i) * (1 - c_j) + a_j * c_j,
    (a_j * b_i + b_j) * (1 - c_j) + b_j * c_j,
    c_i * (1 - c_j) + c_j,
  )


def reset_scan(Lambda_bar, Bu, hidden, resets):
  """States of one sequence: Lambda_bar [P], Bu [T, P], resets [T] floats."""
  T = Bu.shape[0]
  a = jnp.broadcast_to(Lambda_bar, (T,) + Lambda_bar.shape)
  a = jnp.concatenate([jnp.ones_like(a[:1]), a])
  b = jnp.concatenate([hidden[None], Bu])
  c = jnp.concatenate([jnp.zeros((1,)), resets])[:, None]
  _, states, _ = jax.lax.associative_scan(_combine, (a, b, c))
  return states[1:]


def s5_reset_apply(Lambda_bar, B_bar, C, D, u, hidden, resets):
  """Runs the layer on a batch.

  Args:
    Lambda_bar: [P] complex64, discretized eigenvalues.
    B_bar: [P, H] complex64.
    C: [H, P] complex64.
    D: [H] float32.
    u: [batch, T, H] float32.
    hidden: [batch, P] complex64.
    resets: [batch, T] float32, 1 at the first element of an episode.

  Returns:
    Outputs [batch, T, H] and the final states [batch, P].
  """

  def one(u, hidden, resets):
    Bu = jax.vmap(lambda x: B_bar @ x)(u)
    states = reset_scan(Lambda_bar, Bu, hidden, resets)
    y = jax.vmap(lambda x: 2 * (C @ x).real)(states) + D * u
    return y, states[-1]

  return jax.vmap(one)(u, hidden, resets)
