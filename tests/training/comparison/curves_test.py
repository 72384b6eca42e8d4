import math

import numpy as np
import pytest

from jaxseq.training import scalars
from jaxseq.training.comparison import curves

NAN = math.nan


@pytest.mark.parametrize(
  ("values", "span", "expected"),
  [
    ([1.0, 3.0, 2.0], 1, 3.0),
    ([1.0, 3.0, 2.0], 2, 2.5),
    ([1.0, 3.0, 2.0], 3, 2.0),
    # At first no episode ends.
    ([NAN, NAN, 1.0, 2.0], 1, 2.0),
    ([NAN, NAN, 1.0, 2.0], 2, 1.5),
    ([3.0, NAN, 1.0], 2, 3.0),
    ([NAN, NAN], 1, NAN),
  ],
)
def test_highest_mean_leaves_out_what_is_not_finite(values, span, expected):
  found = curves.highest_mean(np.array(values), span)
  np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_what_was_reached_after_so_many_seconds(tmp_path):
  # Two seeds; 10 steps a row at 20 and 30 steps per second: 25 by the median.
  with scalars.MetricWriter(tmp_path, tensorboard=False) as writer:
    for i, speed in enumerate([None, 20.0, 30.0]):
      row = {"episode_return": np.array([i, 10.0 * i])}
      if speed:
        row["steps_per_second"] = speed
      writer.write(10 * (i + 1), row)
  for seconds, expected in (
    (1.2, [2, 20]),
    (0.8, [1, 10]),
    (99, [2, 20]),
    (0.1, [NAN, NAN]),
  ):
    reached = curves.after(tmp_path, seconds)
    np.testing.assert_array_equal(reached, expected, err_msg=str(seconds))
