"""One function for `apply` and `step`: which recurrences it can run."""

import dataclasses
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import mixers
from jaxseq import recurrence
from jaxseq._registry import Registry
from jaxseq.mixers import contract
from jaxseq.mixers import head_parts
from jaxseq.mixers import passes
from jaxseq.mixers import registry
from tests.mixers import cases


@dataclasses.dataclass(frozen=True)
class Config(contract.Options):
  """Options of a sum."""


def init(key, config):
  """Draws nothing."""
  return {"scale": contract.ones(config.d_model)}


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns zeros."""
  return jnp.zeros((*batch_shape, config.d_model), dtype)


def _scan(x, state, *, reset=None, axis=None):
  return recurrence.linear_scan(1.0, x, state, reset=reset, axis=axis)


def _step(x, state, *, reset=None):
  state = recurrence.linear_step(1.0, x, state, reset=reset)
  return state, state


def _made(**options):
  def run(over, config, params, x, state, reset):
    return over(_scan, params["scale"] * x, state, reset=reset, **options)

  return passes.make(Config, init, initial_state, run)


def test_a_scan_without_its_step_is_refused_with_the_remedy():
  config = Config(d_model=3)
  params = init(jax.random.key(0), config)
  apply, step = _made()
  x = jnp.ones((2, 4, 3))
  apply(config, params, x)
  message = (
    r"scan: got _scan, .* linear_scan, .*over\(_scan, ..., step=function"
  )
  with pytest.raises(ValueError, match=message):
    step(config, params, x[:, 0], initial_state(config, (2,)))


def test_a_scan_with_its_step_runs_both_ways():
  config = Config(d_model=3)
  params = init(jax.random.key(0), config)
  apply, step = _made(step=_step)
  x = jnp.ones((2, 4, 3))
  y, final = apply(config, params, x)
  np.testing.assert_array_equal(
    y, np.arange(1, 5)[:, None] * np.ones((2, 1, 3))
  )
  y, _ = step(config, params, x[:, 0], final)
  np.testing.assert_array_equal(y, np.full((2, 3), 5))


def test_contract_tests_say_that_defaults_take_any_width(monkeypatch):
  def run(over, config, params, x, state, reset):
    head_parts.split(x, 4)
    return over(_scan, x, state, reset=reset, step=_step)

  module = types.ModuleType("four_heads")
  apply, step = passes.make(Config, init, initial_state, run)
  vars(module).update(
    Config=Config,
    init=init,
    initial_state=initial_state,
    apply=apply,
    step=step,
  )
  entries = {name: registry._MIXERS.path(name) for name in mixers.names()}
  monkeypatch.setattr(registry, "_MIXERS", Registry("mixer", entries))
  monkeypatch.setitem(sys.modules, "four_heads", module)
  mixers.register("four_heads", "four_heads")
  with pytest.raises(
    ValueError, match="heads: got 4, expected a div"
  ) as caught:
    cases.bind(("four_heads", ()))
  assert "here 6. Choose what has to divide it" in caught.value.__notes__[-1]
