"""Set-up of the tests of metrics: what the reference gave."""

import pytest

from tests.dts.metrics import cases


@pytest.fixture(params=cases.SETS)
def recorded(golden, request):
  """Arrays; codes, factors, and both for testing, as (examples, columns)."""
  arrays = golden(f"dts/metrics_{request.param}")
  return arrays, cases.recorded(arrays)
