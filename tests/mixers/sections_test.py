"""Long sequences without a gradient: sections in turn, with equal numbers."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import mixers
from jaxseq.mixers import contract
from tests.mixers import cases

_NAMES = (
  *("mamba2", "gated_deltanet", "gla", "linear_attention", "mamba", "mamba3"),
  *("mlstm", "mlstm_large", "mom", "rglru", "rwkv7"),
)


def _quick(*names):
  return [
    pytest.param(name, marks=() if name in names else pytest.mark.slow)
    for name in _NAMES
  ]


@pytest.mark.slow
@pytest.mark.parametrize("name", _quick("mamba2", "gated_deltanet"))
def test_temporaries_do_not_grow_with_time(name):
  """A float32 gradient would hold hundreds of MiB here."""
  module = mixers.get(name)
  config = mixers.make_config(name, d_model=16)
  params = jax.eval_shape(lambda: module.init(jax.random.key(0), config))

  def temporary(time):
    x = jax.ShapeDtypeStruct((1, time, 16), jnp.float32)
    run = jax.jit(lambda params, x: module.apply(config, params, x)[0])
    compiled = run.lower(params, x).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  short, long = temporary(2**12), temporary(2**15)
  assert long < 1.1 * short + 2**15  # A bool for each element, at most.


@pytest.mark.slow
@pytest.mark.parametrize("name", _quick("mamba2"))
def test_sections_are_the_whole(x64, monkeypatch, name):
  """Values, states and gradients, with resets and a remainder."""
  del x64
  mixer = cases.bind((name, ()))
  params = jax.tree.map(lambda a: np.asarray(a, np.float64), mixer.params)
  x = np.asarray(cases.sequence(2, 37))
  reset = np.random.default_rng(1).random((2, 37)) < 0.1
  state = cases.used_state(mixer, params, (2,))

  def run(params, x, state):
    return mixer.module.apply(mixer.config, params, x, state, reset)

  def gradient(params, x, state):
    return jax.vjp(run, params, x, state)[1](run(params, x, state))

  whole = jax.jit(run)(params, x, state)
  slopes = jax.jit(gradient)(params, x, state)
  monkeypatch.setattr(contract, "_SECTION", 16)
  monkeypatch.setattr(contract, "_CHUNKS", 8)
  both = functools.partial(chex.assert_trees_all_close, rtol=1e-9, atol=1e-10)
  both(jax.jit(lambda *a: run(*a))(params, x, state), whole)
  both(jax.jit(lambda *a: gradient(*a))(params, x, state), slopes)


@pytest.mark.parametrize("name", _quick("mamba2"))
def test_states_of_another_dtype(x64, monkeypatch, name):
  """A float32 state in front of float64 elements, as that of short ones."""
  del x64
  mixer = cases.bind((name, ()))
  x = np.asarray(cases.sequence(2, 37))
  state = cases.fresh(mixer, (2,))
  whole = jax.jit(lambda *a: mixer.apply(*a))(mixer.params, x, state)
  monkeypatch.setattr(contract, "_SECTION", 16)
  monkeypatch.setattr(contract, "_CHUNKS", 8)
  run = jax.jit(lambda *a: mixer.module.apply(mixer.config, *a))
  parts = run(mixer.params, x, state)
  chex.assert_trees_all_equal_dtypes(parts, whole)
  chex.assert_trees_all_close(parts, whole, rtol=1e-9, atol=1e-10)
