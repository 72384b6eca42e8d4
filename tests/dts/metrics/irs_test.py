import numpy as np
import pytest

from jaxseq.dts import metrics
from tests.dts.metrics import cases


def test_golden(recorded):
  arrays, (codes, factors, _, _) = recorded
  result = metrics.irs(codes, factors)
  np.testing.assert_array_equal(
    codes[:, result.active], arrays["irs_active_mus"].T
  )
  for seen, expected in (
    (result.score, "irs"),
    (result.matrix, "irs_matrix"),
    (result.per_code, "irs_per_code"),
    (result.deviations, "irs_max_deviations"),
  ):
    np.testing.assert_allclose(
      seen, arrays[expected], atol=1e-10, err_msg=expected
    )


def test_wrong_arguments():
  factors = cases.grid((2, 2))
  with pytest.raises(ValueError, match="codes: got .constants."):
    metrics.irs(np.ones((4, 2)), factors)
  with pytest.raises(ValueError, match="quantile: got 99, .* at most 1"):
    metrics.irs(factors, factors, quantile=99)
