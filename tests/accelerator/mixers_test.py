"""The contract of every mixer, on the device there is, against float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.accelerators import correctness
from jaxseq import mixers
from tests.mixers import cases

pytestmark = pytest.mark.accelerator

ROWS, TIME = 2, 37
DTYPES = ("float32", "bfloat16")


def problem(dtype):
  """Inputs of a dtype, and flags at which each row begins anew."""
  x = cases.sequence(ROWS, TIME, dtype=jnp.float32).astype(dtype)
  reset = np.zeros((ROWS, TIME), bool)
  reset[0, 2] = reset[0, 20] = reset[1, 30] = True
  return np.asarray(x), reset


def results(apply, params, x, reset):
  """Outputs and last state, and the gradient of their weighted sum."""

  def weighted(params, x):
    y, state = apply(params, x, None, reset)
    leaves = [y, *jax.tree.leaves(state)]
    rng = np.random.default_rng(0)
    total = sum(
      jnp.sum(jnp.real(leaf * rng.standard_normal(leaf.shape)))
      for leaf in leaves
    )
    return total, leaves

  run = jax.jit(jax.grad(weighted, argnums=(0, 1), has_aux=True))
  gradient, leaves = run(params, x)
  return [*leaves, *jax.tree.leaves(gradient)]


@functools.cache
def expected(name, dtype):
  """The results in float64, on the CPU, of inputs as they are rounded."""
  mixer = cases.bind((name, ()))
  x, reset = problem(dtype)
  with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
    params = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), mixer.params)
    apply = functools.partial(mixer.module.apply, mixer.config)
    found = results(apply, params, jnp.asarray(x, jnp.float64), reset)
    return jax.tree.map(np.asarray, found)


def assert_near(got, wanted, dtype):
  allowed = correctness.tolerance(jax.default_backend(), dtype)
  errors = [correctness.error(a, b) for a, b in zip(got, wanted, strict=True)]
  assert all(error <= allowed for error in errors), errors


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", mixers.names())
def test_outputs_states_and_gradients(name, dtype):
  mixer = cases.bind((name, ()))
  x, reset = problem(dtype)
  apply = functools.partial(mixer.module.apply, mixer.config)
  got = results(apply, mixer.params, jnp.asarray(x), reset)
  assert got[0].dtype == dtype
  assert_near(got, expected(name, dtype), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", mixers.names())
def test_steps_and_pieces_are_the_whole(name, dtype):
  mixer = cases.bind((name, ()))
  x, reset = problem(dtype)
  whole = mixer.apply(mixer.params, x, None, reset)
  y, state = mixer.apply(mixer.params, x[:, :24], None, reset[:, :24])
  parts = [y]
  for t in range(24, TIME):
    y, state = mixer.step(mixer.params, x[:, t], state, reset[:, t])
    parts.append(y[:, None])
  got = [np.concatenate(parts, 1), *jax.tree.leaves(state)]
  assert_near(got, jax.device_get(jax.tree.leaves(whole)), dtype)


@pytest.mark.parametrize("name", mixers.names())
def test_nothing_undefined_passes_a_reset(name):
  mixer = cases.bind((name, ()))
  x, _ = problem("float32")
  reset = np.zeros((ROWS, TIME), bool)
  reset[:, 3] = True
  wanted, _ = mixer.apply(mixer.params, x, None, reset)
  bad = x.copy()
  bad[:, :3] = np.nan
  got, state = mixer.apply(mixer.params, bad, None, reset)
  assert_near([got[:, 3:]], [np.asarray(wanted[:, 3:])], "float32")
  for leaf in jax.tree.leaves(state):
    assert np.isfinite(leaf).all()
