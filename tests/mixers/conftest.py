"""The mixers under test, one configuration at a time."""

import pytest

from tests.mixers import cases


@pytest.fixture(scope="module", params=cases.cases(marks=pytest.mark.slow))
def mixer(request):
  """Every mixer; options other than the defaults belong to the slow tests.

  The tests of one follow each other and share its compiled programs.
  """
  return cases.bind(request.param)


@pytest.fixture(params=cases.plain_cases(marks=pytest.mark.slow))
def common_mixer(request):
  """Every mixer with its defaults; those like others are slow tests."""
  return cases.bind(request.param)
