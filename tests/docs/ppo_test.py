"""The page with PPO on one screen runs, and its agent learns."""

import pathlib
import re

import numpy as np
import pytest

_PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "ppo.md"


@pytest.mark.slow
def test_the_program_of_the_page_learns():
  (block,) = re.findall(r"```python\n(.*?)```", _PAGE.read_text(), re.DOTALL)
  # Every second line of a screen would be too many.
  assert block.count("\n") < 100
  names = {}
  exec(compile(block, _PAGE.name, "exec"), names)
  returns = np.asarray(names["returns"])
  # Chance gets -0.5, what does not remember no more.
  np.testing.assert_allclose(np.nanmean(returns[:3]), -0.5, atol=0.25)
  assert np.nanmean(returns[-5:]) > 0.5
