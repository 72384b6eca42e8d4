"""Signatures and docstrings of the mixers' functions, and what they declare."""

import dataclasses
import inspect
import sys
import types

import jax
import jax.numpy as jnp
import pytest

from jaxseq import mixers
from jaxseq import nn
from jaxseq.mixers import contract
from tests.mixers import checks


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
  split = ["axis"] if mixers.traits(name).splits_time else []
  assert list(apply.parameters)[: 5 + len(split)] == [*shared, *split]
  assert list(step.parameters)[:5] == shared
  for signature in (apply, step):
    for option in list(signature.parameters.values())[5:]:
      assert option.kind == inspect.Parameter.KEYWORD_ONLY
  assert ("scheme" in apply.parameters) == bool(mixers.traits(name).schemes)


@pytest.mark.parametrize("name", mixers.names())
def test_traits_fit_the_mixer(name):
  traits, module = mixers.traits(name), mixers.get(name)
  own = checks.of(name)
  config = mixers.make_config(name, d_model=6)
  params = jax.eval_shape(lambda: module.init(jax.random.key(0), config))
  assert set(traits.ssm_parameters) <= set(params)
  assert set(own.optional_parameters) < set(params)
  for options in own.cases:
    mixers.make_config(name, d_model=6, **options)
  fields = {field.name for field in dataclasses.fields(nn.StackConfig)}
  assert set(traits.block) <= fields
  assert own.like is None or own.like in mixers.names()
  for key in own.temporary:
    assert key.removesuffix(" without resets") in ("tpu", "cuda")


# Windows of elements, which nothing of their own stands before, and states that
# are learned anyway.
_NO_MEMORY = {
  *("attention", "fox", "latent_attention", "nsa", "path_attention"),
  "routing",
  *("short_conv", "ttt"),
}


@pytest.mark.parametrize("name", mixers.names())
def test_memories_are_fields_of_states(name):
  traits = mixers.traits(name)
  assert bool(traits.memory) == (name not in _NO_MEMORY)
  rule = {"rule": "linear_attention", "feature_map": "elu"}
  options = {
    "linear_attention": {"normalization": "sum"},
    "mom": {"normalize": True, **rule},
  }.get(name, {})
  config = mixers.make_config(name, d_model=6, **options)
  module = mixers.get(name)
  params = jax.eval_shape(lambda: module.init(jax.random.key(0), config))
  state = jax.eval_shape(
    lambda params: mixers.fresh_state(config, params=params), params
  )
  flat, _ = jax.tree_util.tree_flatten_with_path(state)
  fields = {
    jax.tree_util.keystr(path[-1:], simple=True): leaf for path, leaf in flat
  }
  declared = (*traits.memory, *traits.norms, *traits.exponents)
  assert len(set(declared)) == len(declared)
  assert set(declared) <= fields.keys()
  assert all(
    jnp.issubdtype(fields[field].dtype, jnp.inexact) for field in declared
  )


def test_a_mixer_may_refuse_split_time(monkeypatch):
  module = types.ModuleType("whole_time")

  @dataclasses.dataclass(frozen=True)
  class Config:
    d_model: int

  Config.__module__ = module.__name__
  module.Config, module.TRAITS = Config, contract.Traits(splits_time=False)
  monkeypatch.setitem(sys.modules, module.__name__, module)

  def init(key, config):
    return {"scale": jnp.ones(config.d_model)}

  def initial_state(config, batch_shape=(), dtype=jnp.float32):
    return jnp.zeros(batch_shape, dtype)

  @contract.apply(Config, init, initial_state)
  def apply(config, params, x, state=None, reset=None):
    """Scales."""
    return params["scale"] * x, state

  config, x = Config(2), jnp.ones((1, 3, 2))
  params = init(None, config)
  assert apply(config, params, x, axis=None)[0].shape == x.shape
  with pytest.raises(
    ValueError,
    match="axis: got 'sp', expected None: whole_time does not split time",
  ):
    apply(config, params, x, axis="sp")
