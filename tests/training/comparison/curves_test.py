import math

import numpy as np
import pytest

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
