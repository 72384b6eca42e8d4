"""The event simulation on plans small enough to follow by hand."""

import numpy as np
import pytest

from jaxseq import planner
from tests.planner import simulation

COSTS = planner.CostModel("recurrent", token_seconds=1.0, row_overhead=1.0)


def row(doc, degree, first_device):
  return planner.Row((doc,), (0,), degree, first_device, 0.0)


def test_rows_wait_for_all_devices_of_their_group():
  # Documents of 3, 7 and 4 tokens; rows take 4, 8 and 1 + 4 / 2 seconds.
  rows = [row(0, 1, 0), row(1, 1, 1), row(2, 2, 0)]
  result = simulation.simulate(rows, [3, 7, 4], 2, COSTS)
  np.testing.assert_array_equal(result.start_times, [0, 0, 8])
  np.testing.assert_array_equal(result.loads, [11, 11])
  np.testing.assert_array_equal(result.idle, [4, 0])
  assert result.makespan == 11


def test_larger_blocks_first_leave_no_gap():
  rows = [row(2, 2, 0), row(0, 1, 0), row(1, 1, 1)]
  result = simulation.simulate(rows, [3, 7, 4], 2, COSTS)
  np.testing.assert_array_equal(result.start_times, [0, 3, 3])
  np.testing.assert_array_equal(result.loads, [7, 11])
  np.testing.assert_array_equal(result.idle, 0)


def test_devices_that_are_not_there_are_named():
  with pytest.raises(ValueError, match="devices 1 to 2; there are 2"):
    simulation.simulate([row(0, 2, 1)], [4], 2, COSTS)
