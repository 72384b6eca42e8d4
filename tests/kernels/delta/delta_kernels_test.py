"""Kernels of delta_scan, interpreted, against a float64 loop over time."""

import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.recurrence import kernels
from jaxseq.recurrence import reference
from tests.kernels.outer import outer_kernels_test
from tests.recurrence import methods

CHUNK = 16
as_float32, evaluate = (
  outer_kernels_test.as_float32,
  outer_kernels_test.evaluate,
)


@pytest.fixture(autouse=True)
def interpreted():
  with kernels.interpret("tpu"):
    yield


class Shape(NamedTuple):
  """Sizes of a problem."""

  dk: int
  dv: int
  time: int = 35
  rows: int = 1

  def problem(self, kind):
    """Arguments of `delta_scan` in float64, of keys of length 1.

    Of kinds "none", "scalar" and "vector" (a decay for each key), and "forget"
    and "vector forget", of which some forget.
    """
    rng = np.random.default_rng(0)
    lead = self.rows, self.time
    q, k, other = rng.normal(size=(3, *lead, self.dk)) / np.sqrt(self.dk)
    k = k / np.linalg.norm(k, axis=-1, keepdims=True)
    v = rng.normal(size=(*lead, self.dv))
    read = rng.uniform(0, 1.9, (*lead, 1)) * k + 0.05 * other
    width = self.dk if "vector" in kind else 1
    decay = -rng.exponential(0.2, (*lead, width))
    if "forget" in kind:
      decay[rng.uniform(size=decay.shape) < 0.3] = -np.inf
    init = rng.normal(size=(self.rows, self.dk, self.dv))
    return q, k, v, read, None if kind == "none" else decay, init

  def reset(self, kind):
    rng = np.random.default_rng(3)
    return methods.make_reset(rng, kind, (self.rows, self.time), 0.1)


def kernel(reset=None, **options):
  options = {"method": "pallas", "chunk_size": CHUNK} | options
  return functools.partial(recurrence.delta_scan, reset=reset, **options)


def exact(arguments, reset):
  """Values and gradients of the loop in float64."""
  with jax.enable_x64(True):
    wide = jax.tree.map(lambda x: np.asarray(x, np.float64), arguments)
    loop = functools.partial(reference.delta_scan, reset=reset)
    return jax.tree.map(np.asarray, evaluate(loop, wide))


def check(shape, kind, reset_kind):
  """Values and gradients."""
  arguments = as_float32(shape.problem(kind))
  reset = shape.reset(reset_kind)
  got = evaluate(kernel(reset), arguments)
  # As of `outer_scan`, with one system more to solve in between.
  outer_kernels_test.assert_close(got, exact(arguments, reset), 4e-6)


@pytest.mark.slow
def test_two_rows_with_resets():
  check(Shape(3, 5, rows=2), "scalar", "random")


def test_a_decay_for_each_key():
  check(Shape(3, 5, time=20), "vector", "none")


@pytest.mark.slow
@pytest.mark.parametrize("reset", ["none", "first", "last", "every", "random"])
@pytest.mark.parametrize(
  "kind", ["none", "scalar", "forget", "vector", "vector forget"]
)
def test_equals_the_loop(kind, reset):
  check(Shape(3, 5, rows=2), kind, reset)


@pytest.mark.slow
@pytest.mark.parametrize(
  "shape",
  [
    # One element, one chunk, rows that four do not divide, wide features.
    Shape(3, 5, time=1),
    Shape(3, 5, time=16),
    Shape(16, 16, time=20, rows=6),
    Shape(130, 200, time=20, rows=5),
  ],
  ids=lambda shape: "-".join(map(str, shape)),
)
@pytest.mark.parametrize("kind", ["scalar", "vector"])
def test_shapes(shape, kind):
  check(shape, kind, "random")


@pytest.mark.slow
def test_equal_keys_that_are_reflected():
  """Where powers of the matrix that is inverted would grow to 2^35."""
  shape = Shape(4, 4)
  q, k, v, _, _, init = as_float32(shape.problem("none"))
  k = np.broadcast_to(k[:, :1], k.shape).copy()
  arguments = q, k, v, 2 * k, None, init
  got = evaluate(kernel(chunk_size=64), arguments)
  # Sums of up to 35 alternating numbers as large as each other.
  outer_kernels_test.assert_close(got, exact(arguments, None), 2e-5)


def check_forgetting(time, at, arguments, scan, alone, near):
  """A reset at one element forgets what was undefined before it.

  Args:
    time: number of elements.
    at: the reset's.
    arguments: to be ruined, arrays of NumPy.
    scan: of a reset, the kernel.
    alone: of the elements from the reset on.
    near: compares.
  """
  q, k, v, read, decay, init = (np.array(x) for x in arguments)
  expected = alone(*(x[:, at:] for x in (q, k, v, read, decay)))
  # What stands at the reset is not read.
  decay[0, at] = np.nan
  k[0, at - 2], v[0, at - 1, 1] = np.nan, np.inf
  read[1, at - 2], decay[1, at - 3] = np.inf, np.nan
  init[:] = np.inf
  reset = np.zeros((2, time), bool)
  reset[:, at] = True

  def loss(arguments):
    o, final = scan(reset)(*arguments)
    wide = o[:, at:].astype(jnp.float32)
    return jnp.sum(wide) + jnp.sum(final), (o, final)

  compiled = jax.jit(jax.value_and_grad(loss, has_aux=True))
  (_, (o, final)), grads = compiled((q, k, v, read, decay, init))
  near((o[:, at:], final), expected)
  assert not np.isfinite(np.asarray(o[:, :at], np.float32)).any()
  chex.assert_tree_all_finite(grads)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["scalar", "vector"])
def test_a_reset_forgets_inf_and_nan(kind):
  """Also in the chunk in which it happens, and from the state before all."""
  arguments = as_float32(Shape(3, 5, rows=2).problem(kind))
  alone = functools.partial(recurrence.delta_scan, method="chunked")
  near = functools.partial(outer_kernels_test.assert_close, tolerance=4e-6)
  check_forgetting(35, 24, arguments, kernel, alone, near)


@pytest.mark.slow
def test_what_is_undefined_stays_after_its_place():
  shape = Shape(3, 5)
  arguments = as_float32(shape.problem("scalar"))
  reset = shape.reset("last")
  expected, _ = jax.jit(kernel(reset))(*arguments)
  arguments[2][0, 20, 3] = np.nan
  o, _ = jax.jit(kernel(reset))(*arguments)
  touched = np.zeros(o.shape, bool)
  touched[0, 20:34, 3] = True
  assert np.isnan(o[touched]).all()
  np.testing.assert_array_equal(o[~touched], expected[~touched])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["scalar", "vector"])
def test_second_derivatives_are_those_without_kernels(kind):
  shape = Shape(3, 5, time=20)
  arguments = as_float32(shape.problem(kind))
  reset = shape.reset("random")

  def along(method):
    def loss(arguments):
      o, final = kernel(reset, method=method)(*arguments)
      return jnp.sum(jnp.sin(o)) + jnp.sum(final**3)

    def slope(arguments):
      grads = jax.grad(loss)(arguments)
      return sum(jnp.sum(g * g) for g in jax.tree.leaves(grads))

    return jax.jit(jax.grad(slope))(arguments)

  # Twice as many sums as above, one after the other.
  outer_kernels_test.assert_close(along("pallas"), along("chunked"), 2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["scalar", "vector"])
def test_bfloat16_inputs(kind):
  shape = Shape(16, 16, time=50, rows=2)
  *arguments, decay, init = as_float32(shape.problem(kind))
  narrow = *(jnp.asarray(x, jnp.bfloat16) for x in arguments), decay, init
  reset = shape.reset("random")
  (o, final), grads = evaluate(kernel(reset), narrow)
  assert o.dtype == grads[3].dtype == jnp.bfloat16
  assert final.dtype == grads[4].dtype == jnp.float32
  assert_narrow((o, final, grads), exact(narrow, reset))


def assert_narrow(got, expected, tolerance=1.5e-2):
  """Errors in the mean square: 8 bits of an operand are one of 1.2e-3.

  The products of a system are one after the other, and what is written is taken
  off again up to twice.
  """
  got, expected = jax.tree.leaves(got), jax.tree.leaves(expected)
  for x, wide in zip(got, expected, strict=True):
    error = np.linalg.norm(np.asarray(x, np.float64) - wide)
    assert error <= tolerance * np.linalg.norm(wide) + 1e-6


def test_what_the_kernel_does_not_take_is_said():
  q, k, v, read, _, init = as_float32(Shape(3, 5).problem("none"))
  refused = functools.partial(pytest.raises, NotImplementedError)
  with refused(match="got dplr_scan, expected delta_scan"):
    recurrence.dplr_scan(q, k, v, read, -k, None, init, method="pallas")
  with jax.enable_x64(True):
    wide = jax.tree.map(np.float64, (q, k, v, read))
    with refused(match="delta_scan: got dtype float64"):
      recurrence.delta_scan(*wide, method="pallas")
