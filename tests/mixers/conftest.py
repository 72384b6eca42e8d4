"""The mixers under test, one configuration at a time."""

import pytest

from tests.mixers import cases


@pytest.fixture(params=cases.cases())
def mixer(request):
  return cases.bind(request.param)
