"""Signatures and docstrings of the mixers' functions, and what they declare."""

import dataclasses
import inspect

import jax
import pytest

from jaxseq import mixers
from jaxseq import nn


@pytest.mark.parametrize("name", mixers.names())
def test_functions_are_those_of_the_module(name):
  module = mixers.get(name)
  for function in ("init", "initial_state", "apply", "step"):
    found = getattr(module, function)
    assert (found.__module__, found.__name__) == (module.__name__, function)
    text = inspect.getdoc(found)
    assert text.index("Args:") < text.index("Returns:")
    for argument in inspect.signature(found).parameters:
      assert f"\n  {argument}: " in text, argument
  apply, step = (inspect.signature(f) for f in (module.apply, module.step))
  shared = ["config", "params", "x", "state", "reset"]
  assert list(apply.parameters)[:6] == [*shared, "axis"]
  assert list(step.parameters)[:5] == shared
  for signature in (apply, step):
    for option in list(signature.parameters.values())[5:]:
      assert option.kind == inspect.Parameter.KEYWORD_ONLY
  assert ("scheme" in apply.parameters) == bool(mixers.traits(name).schemes)


@pytest.mark.parametrize("name", mixers.names())
def test_traits_fit_the_mixer(name):
  traits, module = mixers.traits(name), mixers.get(name)
  config = mixers.make_config(name, d_model=6)
  params = jax.eval_shape(lambda: module.init(jax.random.key(0), config))
  assert set(traits.ssm_parameters) <= set(params)
  assert set(traits.optional_parameters) < set(params)
  for options in traits.cases:
    mixers.make_config(name, d_model=6, **options)
  fields = {field.name for field in dataclasses.fields(nn.StackConfig)}
  assert set(traits.block) <= fields
  for key in traits.temporary:
    assert key.removesuffix(" without resets") in ("tpu", "cuda")
