"""Decays and shares on Hopper, interpreted, in float32 against float64."""

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.kernels.softmax_outer import _gpu_decay as _softmax_decay_gpu
from jaxseq.recurrence.platform import support
from tests.kernels.outer import outer_gpu_test

pytestmark = outer_gpu_test.pytestmark
N, TIME = _softmax_decay_gpu.CHANNELS, _softmax_decay_gpu.TILE
FORM = support.Form("gpu", True)


def problem(scale, copies):
  """Logits, keys, m and u in float64, and flags."""
  rng = np.random.default_rng(0)
  logits = scale * rng.normal(size=(1, TIME, N))
  logits[0, 3:8, 0] = -np.inf
  k = rng.normal(size=(1, TIME, copies * N))
  m, u = rng.normal(size=(1, N)), rng.uniform(1, 2, (1, N))
  return (logits, k, m, u), rng.uniform(size=(1, TIME)) < 0.1


def narrow(*arrays):
  return [jnp.asarray(x, jnp.float32) for x in arrays]


def flags(reset):
  return None if reset is None else jnp.asarray(~reset, jnp.int32)


def check_forward(scale, sink, copies, with_flags=True):
  (logits, k, m, u), reset = problem(scale, copies)
  reset = reset if with_flags else None
  with jax.enable_x64(True):
    _, share, last = recurrence.softmax_decay(
      logits, m, u, reset=reset, sink=sink
    )
    share = np.asarray(share)
  expected = 1 - share, np.concatenate([share] * copies, -1) * k, *last
  plan = _softmax_decay_gpu.Plan(copies, sink, FORM)
  logits, k, *state = narrow(logits, k, m, u)
  a, *others = _softmax_decay_gpu.forward(
    plan, logits, k, flags(reset), *state, jnp.float32
  )
  # float32 rounding, of logits of up to 4 * scale.
  tolerance = 1e-6 * max(1, 4 * scale)
  for x, exact in zip((np.exp(a), *others), expected, strict=True):
    np.testing.assert_allclose(x, exact, rtol=tolerance, atol=tolerance)


@pytest.mark.slow
def test_decays_and_shares():
  check_forward(1.0, 0.5, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("scale", "sink", "copies", "with_flags"),
  [
    (1.0, None, 1, True),
    (1.0, 0.5, 2, True),
    (100.0, 0.5, 1, True),
    (100.0, None, 1, False),
  ],
)
def test_decays_and_shares_of(scale, sink, copies, with_flags):
  check_forward(scale, sink, copies, with_flags)


@pytest.mark.slow
def test_weak_decays_keep_their_digits():
  """Logarithms of what is nearly 1, after a million elements as large."""
  logits = jnp.zeros((1, TIME, N))
  m, u = jnp.zeros((1, N)), jnp.full((1, N), 1e6)
  plan = _softmax_decay_gpu.Plan(1, None, FORM)
  a, _, _, _ = _softmax_decay_gpu.forward(
    plan, logits, None, None, m, u, jnp.float32
  )
  total = 1e6 + np.arange(TIME)
  # Two roundings, of the sum and of the share.
  np.testing.assert_allclose(a[0, :, 0], np.log(total / (total + 1)), rtol=3e-7)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("copies", "with_flags"), [(1, True), (2, True), (1, False)]
)
def test_cotangents(copies, with_flags):
  """Of shares exp(g - z) and of logarithms z of the sums, by JAX."""
  (logits, k, m, u), reset = problem(1.0, copies)
  logits = np.maximum(logits, -1e30)
  rng = np.random.default_rng(1)
  q, dq, d_shared = rng.normal(size=(3, *k.shape))
  d_last = rng.normal(size=m.shape)
  sink = 0.5
  fresh = reset if with_flags else np.zeros_like(reset)

  def spread(x):
    return jnp.concatenate([x] * copies, -1)

  def loss(logits, k, first):
    def step(z, element):
      g, starts = element
      z = jnp.logaddexp(jnp.where(starts, sink, z), g)
      return z, z

    last, z = lax.scan(step, first, (logits[0], fresh[0]))
    share = jnp.exp(logits[0] - lax.stop_gradient(z))
    by_keys = jnp.sum(spread(share) * k[0] * d_shared[0])
    return by_keys - jnp.sum(q[0] * dq[0] * spread(z)) + jnp.sum(d_last * last)

  with jax.enable_x64(True):
    gradient = jax.jit(jax.grad(loss, (0, 1, 2)))
    d_logits, dk, d_first = map(
      np.asarray, gradient(logits, k, (m + np.log(u))[0])
    )
  plan, keep = _softmax_decay_gpu.Plan(copies, sink, FORM), flags(reset)
  keep = keep if with_flags else None
  logits, k, m, u, *given = narrow(logits, k, m, u, q, dq, d_shared, d_last)
  a, *_ = _softmax_decay_gpu.forward(plan, logits, k, keep, m, u, jnp.float32)
  q, dq, d_shared, d_last = given
  got = _softmax_decay_gpu.backward(
    plan, q, dq, k, d_shared, a, keep, d_last, jnp.float32
  )
  for x, exact in zip(got, (d_logits, dk, d_first[None]), strict=True):
    # float32 rounding of sums of up to a hundred.
    np.testing.assert_allclose(x, exact, rtol=1e-5, atol=2e-5)
