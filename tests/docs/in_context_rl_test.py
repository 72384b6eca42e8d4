"""The pages on in-context RL and environments run, and the agent learns."""

import pathlib
import re

import jax
import pytest

from jaxseq.rl import rl_arms
from jaxseq.training import configuration

_DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"


def _blocks(page):
  """The blocks of Python of a page, compiled."""
  text = (_DOCS / page).read_text()
  blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
  return [compile(block, page, "exec") for block in blocks]


def _reset(names):
  key = jax.random.key(0)
  _, state = names["env"].reset(key, names["env_params"])
  return key, state, 0, names["env_params"]


# A run compiles for half a minute.
@pytest.mark.slow
def test_the_agent_of_the_page_remembers_and_its_config_is_one():
  *blocks, experiment = _blocks("in_context_rl.md")
  names = {}
  for block in blocks:
    exec(block, names)
  # 1.0 as written; without memory 0.5, with a deviation of 0.04 of 128 games.
  assert names["scores"]["mean_return"] > 0.8
  assert names["again"]["mean_return"] == names["scores"]["mean_return"]
  assert names["metrics"]["loss"].shape == (3, 2)
  assert [step for step, _ in names["returns"]] == [2048, 4096, 6144, 8192]
  assert pathlib.Path(names["film"]).stat().st_size > 1000
  assert names["saved"].directory.is_dir()
  assert names["seeds"].num_updates.tolist() == [4, 4]
  exec(experiment, names)
  config = configuration.from_config_dict(rl_arms.Config, names["get_config"]())
  for arm in config.arms:
    assert rl_arms.agent_config(config, arm).env_id == "RecallBit"


def test_the_page_on_environments_runs():
  names = {}
  for block in _blocks("environments.md"):
    exec(block, names)
  assert names["shown"].shape == (4, 4)
  assert names["observations"].shape == (60, 9)
  assert len(names["env"].step(*_reset(names))) == 5
  assert names["first"]["action_mask"].shape == (64,)
  env, params = names["envs"].make("OpenCells")
  shown, state = env.reset(jax.random.key(0), params)
  assert int(shown["action_mask"].sum()) == 4
  action = shown["action_mask"].argmax()
  _, _, reward, *_ = env.step(jax.random.key(1), state, action, params)
  assert reward == 1
