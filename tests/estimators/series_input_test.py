"""Series as they are handed to an estimator, and later ones like them."""

import numpy as np
import pandas as pd
import pytest

from jaxseq import estimators
from jaxseq.estimators import series_input


def nested(**columns):
  return pd.DataFrame(
    {
      name: [pd.Series(np.full(length, value)) for length in (3, 4)]
      for name, value in columns.items()
    }
  )


def test_later_frames_have_the_columns_of_training():
  estimator = estimators.SequenceClassifier()
  series_input.read(estimator, nested(x=1.0, y=2.0), reset=True)
  found = series_input.read(estimator, nested(x=3.0, y=4.0), reset=False)
  np.testing.assert_array_equal(found.values[0], [[3.0, 4.0]] * 3)
  for other in (nested(y=4.0, x=3.0), nested(x=3.0, z=4.0)):
    with pytest.raises(
      ValueError, match=r"X: columns: got .*, expected \['x', 'y'\], as in tr"
    ):
      series_input.read(estimator, other, reset=False)
  # Arrays have no names, and are in the same order.
  array = np.zeros((2, 3, 2))
  assert series_input.read(estimator, array, reset=False).channels is None
