"""Errors of set-up, in one sentence."""

import pytest

from jaxseq.training import errors


@pytest.mark.parametrize(
  ("package", "message"),
  [
    ("configs", "set PYTHONPATH to the clone, or leave --config out"),
    ("some_package", "'some_package' is needed here and is not installed"),
  ],
)
def test_a_package_that_lacks_is_named_with_what_to_do(package, message):
  with pytest.raises(errors.UserError, match=message):
    with errors.setup():
      raise ModuleNotFoundError(f"No module named {package!r}", name=package)
