"""The methods of the scans, as parameters of tests."""

import pytest

METHODS = ("sequential", "associative", "chunked")


def quick(*names):
  """Returns all methods, those that are not named as slow tests."""
  return [
    pytest.param(name, marks=() if name in names else pytest.mark.slow)
    for name in METHODS
  ]
