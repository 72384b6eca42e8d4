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
  seen = {
    "irs": result.score,
    "irs_matrix": result.matrix,
    "irs_per_code": result.per_code,
    "irs_max_deviations": result.deviations,
  }
  cases.assert_golden(seen, arrays, atol=1e-10)


def test_wrong_arguments():
  factors = cases.grid((2, 2))
  with pytest.raises(ValueError, match="codes: got .constants."):
    metrics.irs(np.ones((4, 2)), factors)
  with pytest.raises(ValueError, match="quantile: got 99, .* at most 1"):
    metrics.irs(factors, factors, quantile=99)
