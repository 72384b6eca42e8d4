"""scikit-learn's own checks of estimators."""

import pytest
from sklearn.utils import estimator_checks

from jaxseq import estimators

_SMALL = {"mixer": "gru", "d_model": 8, "num_layers": 1, "random_state": 0}
_ESTIMATORS = [
  estimators.SequenceClassifier(num_updates=150, learning_rate=2e-2, **_SMALL),
  # The checks ask how well it fits its training data, whose columns are no
  # series and teach a network little of other rows: it rightly stops early.
  estimators.SequenceRegressor(
    early_stopping=0,
    num_updates=1000,
    learning_rate=1e-2,
    pooling="last",
    **_SMALL | {"d_model": 16},
  ),
  estimators.DisentangledEncoder(
    latent=2, num_updates=4, batch_size=8, random_state=0
  ),
]


def _expected_failures(estimator):
  """Checks of equality to 1e-7: float32 sums depend on the batch's size.

  On some processors the sums happen to be equal.
  """
  if not isinstance(estimator, estimators.SequenceRegressor):
    return {}
  reason = "numbers in float32 are rounded to 1e-7 of their size, and more"
  names = "subset_invariance", "sample_order_invariance"
  return {f"check_methods_{name}": reason for name in names}


@pytest.mark.slow
@pytest.mark.timeout(600)
@estimator_checks.parametrize_with_checks(
  _ESTIMATORS,
  expected_failed_checks=_expected_failures,
  xfail_strict=False,
)
def test_scikit_learn(estimator, check):
  check(estimator)
