"""Rows of a feed-forward layer from a file, beside all of them at once."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.interop import streamed


@pytest.mark.parametrize("name", ["relu_w1", "relu_w4"])
def test_rows_places_and_outputs(x64, golden, tmp_path, name):
  """With exact units, and with those that a predictor guesses."""
  del x64
  data = golden(f"flash_window/{name}")
  path = tmp_path / "rows.npy"
  streamed.write(path, data["up"], data["down"], data["bias"])
  guess = streamed.predicted(
    data["x"],
    data["predictor_in"],
    data["predictor_out"],
    data["bias"],
    float(data["threshold"]),
  )
  np.testing.assert_array_equal(guess, data["predicted"])
  whole = np.eye(len(data["up"]))
  exact = streamed.predicted(data["x"], data["up"].T, whole, data["bias"])
  np.testing.assert_array_equal(exact, data["active"])
  size, window = data["slots"].shape[1], int(data["window"])
  store = streamed.RowStore(path, size, window)
  for t, active in enumerate(data["active"]):
    counts = store.advance(active)
    assert counts.loads == data["loads"][t]
    assert counts.evictions == data["evictions"][t]
    assert counts.resident == data["resident"][t]
    # Two vectors and a bias of float64 for each row.
    width = data["x"].shape[1]
    assert counts.bytes_read == counts.loads * (2 * width + 1) * 8
    np.testing.assert_array_equal(store.slots, data["slots"][t])
    got = store(jnp.asarray(data["x"][t]), active)
    # Pure arithmetic in float64.
    np.testing.assert_allclose(got, data["output"][t], rtol=1e-10, atol=1e-12)
  store = streamed.RowStore(path, len(data["up"]), window)
  for t, active in enumerate(data["predicted"]):
    counts = store.advance(active)
    assert counts.loads == data["predicted_loads"][t]
    assert counts.resident == data["predicted_resident"][t]
    got = store(jnp.asarray(data["x"][t]), active)
    np.testing.assert_allclose(
      got, data["predicted_output"][t], rtol=1e-10, atol=1e-12
    )


def test_a_buffer_that_is_too_small_is_said(tmp_path):
  path = tmp_path / "rows.npy"
  rows = np.arange(8.0, dtype=np.float32).reshape(4, 2)
  streamed.write(path, rows, rows)
  store = streamed.RowStore(path, 2, 2)
  store.advance(np.array([True, False, True, False]))
  before = store.slots
  with pytest.raises(ValueError, match="capacity: got 2, expected at least 3"):
    store.advance(np.array([False, True, False, False]))
  np.testing.assert_array_equal(store.slots, before)
  with pytest.raises(ValueError, match=r"active: got shape \(3,\)"):
    store.advance(np.zeros(3, bool))
  with pytest.raises(ValueError, match=r"down: got shape \(3, 2\)"):
    streamed.write(path, rows, rows[:3])
