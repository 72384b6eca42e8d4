"""The causal convolution against numpy, with windows and resets."""

import chex
import jax
import jax.numpy as jnp
from jax.test_util import check_grads
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.recurrence import reference
from tests.recurrence import narrow

CHANNELS = 3


def problem(time, width, batch=(2,), seed=0):
  rng = np.random.default_rng(seed)
  x = rng.normal(size=(*batch, time, CHANNELS))
  weight = rng.normal(size=(width, CHANNELS))
  bias = rng.normal(size=CHANNELS)
  window = rng.normal(size=(*batch, width - 1, CHANNELS))
  reset = rng.uniform(size=(*batch, time)) < 0.3
  return x, weight, bias, window, reset


@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize("time", [1, 2, 9])
@pytest.mark.parametrize("options", ["all", "no_reset", "no_bias"])
def test_equals_the_loop(x64, width, time, options):
  del x64
  x, weight, bias, window, reset = problem(time, width)
  reset = None if options == "no_reset" else reset
  bias = None if options == "no_bias" else bias
  expected = reference.causal_conv(x, weight, bias, window, reset)
  got = jax.jit(recurrence.causal_conv)(x, weight, bias, window, reset)
  # float64 rounding, here and below.
  chex.assert_trees_all_close(got, expected, rtol=1e-12, atol=1e-14)


def test_steps_equal_the_sequence(x64):
  del x64
  x, weight, bias, window, reset = problem(7, 4, (2, 3))
  expected = jax.jit(recurrence.causal_conv)(x, weight, bias, window, reset)
  step, ys = jax.jit(recurrence.causal_conv_step), []
  for t in range(7):
    y, window = step(x[..., t, :], weight, bias, window, reset[..., t])
    ys.append(y)
  chex.assert_trees_all_close(
    (jnp.stack(ys, -2), window), expected, rtol=1e-12, atol=1e-14
  )


def test_gradients(x64):
  """Both orders, through the outputs and through the last window."""
  del x64
  x, weight, bias, window, reset = problem(5, 4)
  reset[0, 3] = True
  check_grads(
    jax.jit(lambda *arguments: recurrence.causal_conv(*arguments, reset)),
    (x, weight, bias, window),
    order=2,
    modes=["rev"],
  )


@pytest.mark.parametrize("time", [2, 8])
def test_a_reset_forgets_inf_and_nan(time):
  x, weight, bias, window, _ = problem(time, 4, (1,))
  window[0, 1], x[0, 0] = np.inf, np.nan
  reset = jnp.zeros((1, time), bool).at[0, 1].set(True)

  def loss(x, window):
    y, last = recurrence.causal_conv(x, weight, bias, window, reset)
    return jnp.sum(y[:, 1:]) + jnp.sum(last)

  value, grads = jax.jit(jax.value_and_grad(loss, (0, 1)))(x, window)
  chex.assert_tree_all_finite((value, grads))
  # What lies before the reset has no influence.
  assert not grads[0][0, 0].any()
  assert not grads[1].any()


def test_bfloat16_is_accumulated_in_float32():
  x, weight, bias, window, reset = problem(9, 4)
  arguments = [jnp.asarray(a, jnp.float32) for a in (weight, bias, window)]
  x = jnp.asarray(x, jnp.bfloat16)
  got = recurrence.causal_conv(x, *arguments, reset)
  expected = recurrence.causal_conv(x.astype(jnp.float32), *arguments, reset)
  chex.assert_trees_all_equal(got, expected)
  chex.assert_trees_all_equal_dtypes(got, expected)


@pytest.mark.parametrize(("time", "width"), [(2, 4), (9, 4), (9, 1)])
def test_gradients_of_bfloat16_inputs(time, width):
  *arguments, reset = problem(time, width)
  x, weight, bias, window = (jnp.asarray(a, jnp.float32) for a in arguments)
  rng = np.random.default_rng(1)
  weights = narrow.rounded(rng.normal(size=x.shape))
  narrow_x = narrow.rounded(x)

  def loss(x, weight, bias, window):
    y, last = recurrence.causal_conv(x, weight, bias, window, reset)
    return jnp.sum(y * weights.astype(y.dtype)) + jnp.sum(jnp.sin(last))

  gradient = jax.jit(jax.grad(loss, (0, 1, 2, 3)))
  got = gradient(narrow_x, weight, bias, window)
  wide = narrow_x.astype(jnp.float32)
  expected = gradient(wide, weight, bias, window)
  # The cotangents are bfloat16 numbers: only that of x is rounded, of which
  # there are two of about 1, from the outputs and from the window.
  chex.assert_trees_all_close(got[1:], expected[1:], rtol=1e-5, atol=1e-5)
  assert got[0].dtype == jnp.bfloat16
  np.testing.assert_allclose(
    got[0].astype("f4"), expected[0], rtol=narrow.UNIT, atol=narrow.UNIT
  )


@pytest.mark.parametrize(
  ("kwargs", "message"),
  [
    (
      {"x": jnp.ones(3)},
      r"x: got shape .*, expected \(\*batch, time, channels\)",
    ),
    ({"x": jnp.ones((2, 5, 3), int)}, "x: got dtype .*, expected a floating"),
    ({"weight": jnp.ones((4, 2))}, r"weight: got shape \(4, 2\), expected .*"),
    ({"bias": jnp.ones(2)}, r"bias: got shape \(2,\), expected \(3,\)"),
    (
      {"window": jnp.ones((2, 4, 3))},
      r"window: got shape .*, expected \(2, 3, 3\)",
    ),
    (
      {"reset": jnp.ones((2, 4), bool)},
      r"reset: got shape .*, expected \(2, 5\)",
    ),
  ],
)
def test_bad_arguments_are_named(kwargs, message):
  arguments = {
    "x": jnp.ones((2, 5, 3)),
    "weight": jnp.ones((4, 3)),
    "bias": jnp.ones(3),
    "window": jnp.ones((2, 3, 3)),
  } | kwargs
  with pytest.raises(ValueError, match=message):
    recurrence.causal_conv(**arguments)
