"""Kernels of delta_scan for Hopper, interpreted, against a float64 loop."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.recurrence import kernels
from tests.kernels.delta import delta_kernels_test

Shape = delta_kernels_test.Shape
pytestmark = pytest.mark.skipif(
  jax.__version_info__ < (0, 11), reason="Mosaic GPU kernels need jax 0.11"
)


@pytest.fixture(autouse=True)
def interpreted():
  with kernels.interpret("gpu"):
    yield


def narrow(arguments):
  """Decays and states in float32, the others in bfloat16."""
  *arguments, decay, init = delta_kernels_test.as_float32(arguments)
  return *(jnp.asarray(x, jnp.bfloat16) for x in arguments), decay, init


def kernel(reset=None):
  return jax.jit(
    functools.partial(recurrence.delta_scan, reset=reset, method="pallas")
  )


def check(shape, kind, reset_kind):
  """Values and gradients."""
  arguments, reset = narrow(shape.problem(kind)), shape.reset(reset_kind)
  got = delta_kernels_test.evaluate(kernel(reset), arguments)
  assert [x.dtype for x in got[0]] == [jnp.bfloat16, jnp.float32]
  # The cotangent of a decay for each key is a sum of differences that nearly
  # cancel: up to 1.8e-2, where without a kernel it is 1.3e-2.
  tolerance = 2.5e-2 if "vector" in kind else 1.5e-2
  delta_kernels_test.assert_narrow(
    got, delta_kernels_test.exact(arguments, reset), tolerance
  )


@pytest.mark.slow
def test_two_chunks():
  check(Shape(3, 5, time=70), "scalar", "random")


@pytest.mark.slow
def test_a_decay_for_each_key():
  check(Shape(3, 5, time=10), "vector", "random")


@pytest.mark.slow
@pytest.mark.parametrize("reset", ["none", "first", "every", "random"])
@pytest.mark.parametrize(
  "kind", ["none", "scalar", "forget", "vector", "vector forget"]
)
def test_equals_the_loop(kind, reset):
  check(Shape(3, 5, time=70), kind, reset)


@pytest.mark.slow
@pytest.mark.parametrize(
  "shape",
  [Shape(128, 64, time=130), Shape(64, 128, time=5, rows=2)],
  ids=lambda shape: "-".join(map(str, shape)),
)
@pytest.mark.parametrize("kind", ["scalar", "vector"])
def test_shapes(shape, kind):
  """Two blocks of keys in three chunks, and of values in one."""
  check(shape, kind, "random")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["scalar", "vector"])
def test_a_reset_forgets_inf_and_nan(kind):
  arguments = narrow(Shape(3, 5, time=70, rows=2).problem(kind))
  alone = functools.partial(recurrence.delta_scan, method="chunked")

  def near(got, expected):
    expected = jax.tree.map(lambda x: np.asarray(x, np.float64), expected)
    delta_kernels_test.assert_narrow(got, expected)

  delta_kernels_test.check_forgetting(70, 24, arguments, kernel, alone, near)


def test_what_the_kernels_do_not_take_is_said():
  arguments = delta_kernels_test.as_float32(Shape(3, 5).problem("scalar"))
  refused = functools.partial(pytest.raises, NotImplementedError)
  with refused(match="delta_scan: got dtype float32 on a GPU"):
    kernel()(*arguments)
  wide = narrow(Shape(192, 5, time=1).problem("none"))
  with refused(match="got dk 192 on a GPU, expected at most 128"):
    kernel()(*wide)
  wide = narrow(Shape(3, 192, time=1).problem("vector"))
  with refused(match="got dv 192 with a decay for each key on a GPU"):
    kernel()(*wide)
