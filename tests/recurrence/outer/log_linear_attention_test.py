"""Log-linear attention: the original's numbers, steps, chunks and borders."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.recurrence.outer import log_linear_attention

EXACT = {"rtol": 1e-11, "atol": 1e-12}
_NAMES = "q", "k", "v", "decay", "level_scales"


def _arrays(golden):
  """Arrays of the original, with heads in front of time."""
  data = golden("log_linear/log_linear")
  decay = data["decay"][..., None]
  arrays = data["q"], data["k"], data["v"], decay, data["level_scales"]
  return data, [np.moveaxis(x, 2, 1) for x in arrays]


@pytest.mark.parametrize("chunk_size", [5, 64])
def test_golden(x64, golden, chunk_size):
  """Outputs, states and gradients of sum(o * w)."""
  del x64
  data, arrays = _arrays(golden)
  weights = np.moveaxis(data["w"], 2, 1)

  def loss(*arrays):
    o, state = recurrence.log_linear_scan(*arrays, chunk_size=chunk_size)
    return jnp.sum(o * weights), (o, state)

  gradient = jax.jit(jax.grad(loss, (0, 1, 2, 3, 4), has_aux=True))
  grads, (o, state) = gradient(*arrays)
  np.testing.assert_allclose(np.moveaxis(o, 1, 2), data["o"], **EXACT)
  S = np.moveaxis(state.S, 2, 1)
  np.testing.assert_allclose(S, data["state"], **EXACT)
  np.testing.assert_array_equal(state.count[:, 0], data["count"])
  for name, grad in zip(_NAMES, grads):
    grad = np.moveaxis(grad, 1, 2).reshape(data[f"grad_{name}"].shape)
    np.testing.assert_allclose(grad, data[f"grad_{name}"], **EXACT)


def _problem(time, levels=5):
  rng = np.random.default_rng(0)
  q, k = rng.normal(size=(2, 3, time, 4))
  v, scales = rng.normal(size=(3, time, 2)), rng.normal(size=(3, time, levels))
  decay = -rng.exponential(0.3, size=(3, time, 1))
  return q, k, v, decay, scales


def _by_steps(arrays, state, reset):
  step = jax.jit(recurrence.log_linear_step)
  outputs = []
  for t in range(arrays[0].shape[1]):
    here = (x[:, t] for x in arrays)
    o, state = step(*here, state, reset=reset[:, t])
    outputs.append(o)
  return np.stack(outputs, 1), state


@pytest.mark.parametrize("size", [1, 3, 8, 64])
def test_chunks_of_any_phase_are_the_steps(x64, size):
  """With resets, counts at and beside powers of 2, and levels that are full."""
  del x64
  arrays = _problem(37)
  reset = np.random.default_rng(1).random((3, 37)) < 0.1
  counts = jnp.array([7, 8, 9], jnp.float64)
  S = np.random.default_rng(2).normal(size=(3, 5, 4, 2))
  state = recurrence.LogLinearState(jnp.asarray(S), counts)
  expected, end = _by_steps(arrays, state, reset)
  o, last = recurrence.log_linear_scan(
    *arrays, state, reset=reset, chunk_size=size
  )
  np.testing.assert_allclose(o, expected, **EXACT)
  np.testing.assert_allclose(last.S, end.S, **EXACT)
  np.testing.assert_array_equal(last.count, end.count)


def test_levels_are_those_of_pairs(x64):
  """By the definition, one pair after the other, without decays."""
  del x64
  q, k, v, decay, scales = _problem(21)
  o, _ = recurrence.log_linear_scan(q, k, v, 0 * decay, scales)
  expected = np.zeros_like(v)
  for t in range(21):
    for s in range(t + 1):
      level = min((t ^ s).bit_length(), scales.shape[-1] - 1)
      score = np.sum(q[:, t] * k[:, s], axis=-1, keepdims=True)
      expected[:, t] += scales[:, t, level, None] * score * v[:, s]
  np.testing.assert_allclose(o, expected, **EXACT)


def test_scales_of_one_are_linear_attention(x64):
  del x64
  q, k, v, decay, scales = _problem(33)
  o, _ = recurrence.log_linear_scan(q, k, v, decay, np.ones_like(scales))
  expected, _ = recurrence.outer_scan(q, k, v, decay)
  np.testing.assert_allclose(o, expected, **EXACT)


def test_a_count_that_begins_again_keeps_the_past_in_the_last_level(x64):
  """At the largest count all of the past is there, in chunks as in steps."""
  del x64
  arrays = _problem(12)
  most = log_linear_attention._MOST
  S = np.zeros((3, 5, 4, 2))
  S[:, 4] = np.random.default_rng(2).normal(size=(3, 4, 2))
  counts = jnp.array([most - 3, most - 8, 0], jnp.float64)
  state = recurrence.LogLinearState(jnp.asarray(S), counts)
  never = np.zeros((3, 12), bool)
  expected, end = _by_steps(arrays, state, never)
  run = functools.partial(recurrence.log_linear_scan, chunk_size=5)
  o, last = run(*arrays, state)
  np.testing.assert_allclose(o, expected, **EXACT)
  np.testing.assert_allclose(last.S, end.S, **EXACT)
  np.testing.assert_array_equal(last.count, [9, 4, 12])


def test_too_many_levels_are_refused():
  q, k, v, decay, scales = _problem(3, levels=24)
  with pytest.raises(ValueError, match="levels of scales: got 24, expected 2"):
    recurrence.log_linear_scan(q, k, v, decay, scales)
