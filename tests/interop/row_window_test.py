"""The window of rows, beside golden slots and beside plain sets."""

import pathlib

import numpy as np
import pytest

from jaxseq.interop import _row_window

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden/flash_window"


@pytest.mark.parametrize("name", ["relu_w1", "relu_w4"])
@pytest.mark.parametrize("sets", ["active", "predicted"])
def test_golden_loads_evictions_and_slots(name, sets):
  with np.load(GOLDEN / f"{name}.npz") as golden:
    golden = dict(golden)
  needed, neurons = golden[sets], golden["up"].shape[0]
  capacity = golden["slots"].shape[1] if sets == "active" else neurons
  window = _row_window.RowWindow(neurons, capacity, int(golden["window"]))
  prefix = "" if sets == "active" else "predicted_"
  for t in range(len(needed)):
    changes = window.update(needed[t])
    assert len(changes.loads) == golden[f"{prefix}loads"][t]
    assert window.used == golden[f"{prefix}resident"][t]
    if sets == "active":
      assert changes.evictions == golden["evictions"][t]
      np.testing.assert_array_equal(window.slots, golden["slots"][t])


@pytest.mark.parametrize("capacity", [3, 8, 40])
def test_moved_rows_are_those_of_their_slots(capacity):
  rng = np.random.default_rng(capacity)
  window = _row_window.RowWindow(40, capacity, 3)
  buffer = np.full(capacity, -1)
  recent = []
  for _ in range(60):
    needed = rng.random(40) < rng.random()
    resident = window.resident(np.arange(40))
    changes = window.update(needed)
    for source, target in changes.moves:
      buffer[target] = buffer[source]
    buffer[window.used - len(changes.loads) : window.used] = changes.loads
    used = buffer[: window.used]
    np.testing.assert_array_equal(used, window.slots[: window.used])
    assert len(set(used)) == window.used <= capacity
    # What is needed and was there is there still.
    assert {*np.flatnonzero(needed & resident)} <= {*used}
    recent = [*recent[-2:], needed]
    union = np.any(recent, 0)
    assert {*used} <= {*np.flatnonzero(union)}
    if union.sum() <= capacity:
      assert {*np.flatnonzero(needed)} <= {*used}
    else:
      assert window.used == capacity or needed.sum() > window.used
