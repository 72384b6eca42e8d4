"""Recipes by name: which groups of parameters an arm's optimizer has."""

import dataclasses

import pytest

from jaxseq.training import optimizers
from jaxseq.training import recipes

SSM = ("Lambda_re", "Lambda_im", "B", "log_step")
RECIPE = recipes.Recipe(
  learning_rate=4e-3,
  ssm_learning_rate=1e-3,
  weight_decay=0.05,
  warmup_steps=5,
  final_fraction=0.1,
  max_grad_norm=None,
)


def _make(name, ssm=SSM, **changes):
  recipe = dataclasses.replace(RECIPE, name=name, **changes)
  return recipes.make(recipe, ssm, 100)


@pytest.mark.parametrize("name", ["plain", "ssm", "s4", "s5"])
def test_what_all_recipes_share(name):
  config = _make(name)
  assert config.learning_rate == pytest.approx(4e-3)
  assert config.weight_decay == 0.05
  assert (config.schedule, config.warmup_steps) == ("cosine", 5)
  assert (config.total_steps, config.final_fraction) == (100, 0.1)
  assert config.max_grad_norm is None


def test_groups():
  assert _make("plain").groups == ()
  (group,) = _make("ssm").groups
  assert group.multiplier == pytest.approx(0.25)
  assert group.weight_decay == 0
  assert _make("s5") == recipes.s5(
    "standard",
    ssm_learning_rate=1e-3,
    factor=4.0,
    weight_decay=0.05,
    schedule="cosine",
    warmup_steps=5,
    total_steps=100,
    final_fraction=0.1,
    max_grad_norm=None,
  )
  s4 = _make("s4", slow_c=True, dt_global=True)
  names = [group.name for group in s4.groups]
  assert names == ["ssm", "dt", "C"]
  assert s4.groups[1].learning_rate is None


def test_a_mixer_without_parameters_of_its_own():
  for name in ("ssm", "s4", "s5"):
    config = _make(name, ssm=())
    assert config.groups == ()
    assert isinstance(config, optimizers.Config)
  # Nor has one of another kind what S4 and S5 have.
  for name in ("s4", "s5"):
    assert _make(name, ssm=("A_log", "D", "dt_bias")).groups == ()
  (group,) = _make("ssm", ssm=("A_log", "D", "dt_bias")).groups
  assert group.name == "ssm"


def test_the_rate_of_the_mixer_is_the_global_one_unless_told():
  (group,) = _make("ssm", ssm_learning_rate=None).groups
  assert group.multiplier == 1
