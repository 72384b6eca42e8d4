"""The page on in-context RL runs, and its agent learns."""

import pathlib
import re

import pytest

from jaxseq.rl import rl_arms
from jaxseq.training import configuration

_PAGE = (
  pathlib.Path(__file__).resolve().parents[2] / "docs" / "in_context_rl.md"
)


# A run compiles for half a minute.
@pytest.mark.slow
def test_the_agent_of_the_page_remembers_and_its_config_is_one():
  code, experiment = re.findall(
    r"```python\n(.*?)```", _PAGE.read_text(), re.DOTALL
  )
  names = {}
  exec(compile(code, _PAGE.name, "exec"), names)
  # 1.0 as written; without memory 0.5, with a deviation of 0.04 of 128 games.
  assert names["scores"]["mean_return"] > 0.8
  exec(compile(experiment, _PAGE.name, "exec"), names)
  config = configuration.parse(names["get_config"](), rl_arms.Config)
  for arm in config.arms:
    assert rl_arms.agent_config(config, arm).env_id == "RecallBit"
