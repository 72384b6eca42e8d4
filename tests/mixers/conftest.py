"""The mixers under test, one configuration at a time."""

import pytest

from tests.mixers import cases


@pytest.fixture(params=cases.cases(marks=pytest.mark.slow))
def mixer(request):
  """Every mixer; options other than the defaults belong to the slow tests."""
  return cases.bind(request.param)


@pytest.fixture(params=cases.cases())
def any_mixer(request):
  """Every mixer under every set of options."""
  return cases.bind(request.param)
