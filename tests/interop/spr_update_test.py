"""SPR's update in PyTorch is the original's; run by `make test-interop`.

With the flag "any" it gives the original's golden updates, where every return
is cut; the targets of returns that are not cut are compared on their own. With
"first" it gives the numbers that `tests/spr/update_test.py` holds jaxseq to.
"""

import numpy as np
import pytest

pytestmark = [
  pytest.mark.interop,
  # The other library's own business.
  pytest.mark.filterwarnings("default"),
]

TOLERANCE = {"rtol": 1e-10, "atol": 1e-12}


@pytest.fixture(scope="module")
def updates():
  from tests.interop import spr_updates

  return spr_updates


@pytest.mark.parametrize("name", ["c51_A4_n10_double", "c51_A6_n10_single"])
def test_the_golden_targets(updates, golden, name):
  arrays = golden(f"spr/{name}")
  assert not arrays["done_n"].all()
  np.testing.assert_allclose(
    updates.value_target(arrays), arrays["projected_target"], **TOLERANCE
  )


@pytest.mark.parametrize("done_n", ["any", "first"])
@pytest.mark.parametrize("name", ["tau1", "tau001"])
def test_the_golden_updates(updates, golden, name, done_n):
  arrays = golden(f"spr/full_update_{name}")
  results = updates.run(arrays, done_n)
  want = arrays
  if done_n == "first":
    want = golden(f"spr/full_update_{name}_first")
  for key, value in results.items():
    difference = np.max(np.abs(value - want[key]))
    print(f"{name} {done_n} {key}: largest difference {difference:.1e}")
  for key, value in results.items():
    tolerance = TOLERANCE
    if key == "after_sum":
      # Up to 800,000 parameters cancel.
      tolerance = {"rtol": 1e-10, "atol": 1e-10}
    np.testing.assert_allclose(value, want[key], **tolerance, err_msg=key)
