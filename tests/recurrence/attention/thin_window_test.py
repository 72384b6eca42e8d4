"""Thin keys of a window, beside ThinK's code and whole keys."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence

step = jax.jit(recurrence.thin_window_step)


def window(data, count):
  """The golden prompt as the state of a window of `count` more elements."""
  keys, values = (np.swapaxes(data[name], 0, 1) for name in "kv")
  pad = [(count, 0), (0, 0), (0, 0)]
  length = np.float64(len(keys))
  return recurrence.WindowState(np.pad(keys, pad), np.pad(values, pad), length)


@pytest.mark.parametrize("name", ["think_gauss", "think_outliers"])
def test_channels_keys_and_outputs_of_the_authors_code(x64, golden, name):
  del x64
  data = golden(f"think/{name}")
  _, time, width = data["k"].shape
  recent, count = int(data["recent"]), data["k_new"].shape[1]
  squares = np.swapaxes(data["q"] ** 2, 0, 1)[-int(data["observed"]) :]
  for kept, expected in (
    (width - int(float(data["ratio"]) * width), data["output_pruned"]),
    (width, data["output_full"]),
  ):
    # Room for all that come: what the paper keeps whole.
    state = recurrence.thin_window(
      window(data, count), squares, kept, recent + count, recent
    )
    if kept < width:
      channels = np.flatnonzero(data["kept"]) % width
      np.testing.assert_array_equal(state.channels.ravel(), channels)
      keys = np.swapaxes(data["pruned_keys"], 0, 1)
      np.testing.assert_array_equal(
        state.thin_keys[count:], keys[: time - recent - count]
      )
      np.testing.assert_array_equal(
        np.swapaxes(state.keys[-recent:], 0, 1), data["recent_keys"]
      )
    for t in range(count):
      new = (data[f"{name}_new"][:, t] for name in "qkv")
      got, state = step(*new, state)
      # Pure arithmetic in float64.
      np.testing.assert_allclose(got, expected[:, t], rtol=1e-10, atol=1e-12)


def problem(window, time):
  rng = np.random.default_rng(0)
  q = rng.normal(size=(2, time, 4, 6))
  k, v = rng.normal(size=(2, 2, time, 2, 6))
  reset = np.zeros((2, time), bool)
  reset[1, 4] = True
  _, state = recurrence.window_attention(
    q, k, v, window, reset=jnp.asarray(reset)
  )
  squares = np.sum(q.reshape(2, time, 2, 2, 6) ** 2, axis=-2)[:, -3:]
  return state, squares


@pytest.mark.parametrize("kept", [4, 6])
def test_steps_are_those_of_a_window_with_zeros(x64, kept):
  """For more steps than the window is long, with a reset."""
  del x64
  size, whole, recent, steps = 9, 4, 2, 25
  before, squares = problem(size, 12)
  state = recurrence.thin_window(before, squares, kept, whole, recent)
  rng = np.random.default_rng(1)
  q = rng.normal(size=(steps, 2, 4, 6))
  k, v = rng.normal(size=(2, steps, 2, 2, 6))
  flags = np.zeros((steps, 2), bool)
  flags[14, 0] = True
  stays = (np.asarray(state.channels)[..., None] == np.arange(6)).any(axis=-2)
  keys = [list(np.asarray(before.keys)[row]) for row in range(2)]
  values = [list(np.asarray(before.values)[row]) for row in range(2)]
  counts = [int(n) for n in before.length]
  for row in range(2):
    for i in range(size - recent):
      keys[row][i] = keys[row][i] * stays[row]
  for t in range(steps):
    got, state = step(q[t], k[t], v[t], state, flags[t])
    for row in range(2):
      counts[row] = 0 if flags[t, row] else counts[row]
      keys[row].append(k[t, row])
      values[row].append(v[t, row])
      # The key that the new one pushes out of the whole ones.
      old = len(keys[row]) - 1 - whole
      keys[row][old] = keys[row][old] * stays[row]
      counts[row] += 1
      seen = min(size + 1, counts[row])
      for head in range(4):
        past = np.stack(keys[row][-seen:])[:, head // 2]
        logits = past @ q[t, row, head] / np.sqrt(6)
        weights = np.exp(logits - logits.max())
        average = weights @ np.stack(values[row][-seen:])[:, head // 2]
        np.testing.assert_allclose(
          got[row, head], average / weights.sum(), rtol=1e-10, atol=1e-12
        )
  assert state.thin_keys.shape == (2, size - whole, 2, kept)


def test_channels_of_no_query_go_first_however_large_the_keys(x64):
  del x64
  rng = np.random.default_rng(0)
  squares, keys = rng.normal(size=(2, 7, 2, 5)) ** 2
  squares[:, 0, 1] = squares[:, 1, 3] = 0
  keys[:, 0, 1] = keys[:, 1, 3] = 100
  channels = recurrence.important_channels(squares, keys, 4)
  np.testing.assert_array_equal(channels, [[0, 2, 3, 4], [0, 1, 2, 4]])


def test_sizes_that_do_not_fit(x64):
  del x64
  state, squares = problem(9, 12)
  for sizes, message in (
    ((3, 9, 2), "whole: got 9, expected an integer from 1 to 8"),
    ((3, 4, 5), "recent: got 5, expected an integer from 0 to 4"),
    ((7, 4, 2), "kept: got 7, expected an integer from 1 to 6"),
  ):
    with pytest.raises(ValueError, match=message):
      recurrence.thin_window(state, squares, *sizes)
