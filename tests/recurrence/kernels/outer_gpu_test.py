"""The kernel of outer_scan for Hopper, interpreted, against a float64 loop."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.recurrence import kernels
from jaxseq.recurrence import reference
from tests.recurrence.kernels import outer_test

Shape = outer_test.Shape
pytestmark = pytest.mark.skipif(
  jax.__version_info__ < (0, 11), reason="Mosaic GPU kernels need jax 0.11"
)


@pytest.fixture(autouse=True)
def interpreted():
  with kernels.interpret("gpu"):
    yield


def narrow(arguments):
  """Queries, keys and values in bfloat16, the others in float32."""
  q, k, v, decay, init = outer_test.as_float32(arguments)
  return *(jnp.asarray(x, jnp.bfloat16) for x in (q, k, v)), decay, init


def kernel(reset=None, method="pallas"):
  return jax.jit(
    functools.partial(recurrence.outer_scan_heads, reset=reset, method=method)
  )


def assert_near(got, expected):
  """Operands of products have 8 bits, errors of 1.2e-3 in the mean square.

  A few of them follow each other.
  """
  for x, exact in zip(got, expected, strict=True):
    x, exact = np.asarray(x, np.float64), np.asarray(exact, np.float64)
    assert np.linalg.norm(x - exact) <= 4e-3 * np.linalg.norm(exact)


def check(shape, kind, reset_kind):
  """Outputs and last state."""
  arguments, reset = narrow(shape.problem(kind)), shape.reset(reset_kind)
  got = kernel(reset)(*arguments)
  assert [x.dtype for x in got] == [jnp.bfloat16, jnp.float32]
  with jax.enable_x64(True):
    wide = jax.tree.map(lambda x: np.asarray(x, np.float64), arguments)
    expected = reference.outer_scan_heads(*wide, reset=reset)
    expected = [np.asarray(x) for x in expected]
  assert_near(got, expected)


def test_two_chunks():
  check(Shape(1, 1, 3, 5, time=70), "scalar", "random")


@pytest.mark.slow
@pytest.mark.parametrize("reset", ["none", "first", "last", "every", "random"])
@pytest.mark.parametrize("kind", ["none", "scalar", "forget"])
def test_equals_the_loop(kind, reset):
  check(Shape(2, 4, 3, 5, time=70), kind, reset)


@pytest.mark.slow
@pytest.mark.parametrize(
  "shape",
  [
    Shape(1, 1, 3, 5, time=1),
    Shape(1, 2, 128, 64, time=64),
    Shape(2, 2, 70, 72, time=65, rows=2),
  ],
  ids=lambda shape: "-".join(map(str, shape)),
)
def test_shapes(shape):
  check(shape, "scalar", "random")


@pytest.mark.slow
def test_a_reset_forgets_inf_and_nan():
  shape = Shape(1, 2, 3, 5, time=70, rows=2)
  q, k, v, decay, init = outer_test.as_float32(shape.problem("scalar"))
  k[0, 22], v[0, 23, 1], v[1, 21] = np.nan, np.inf, np.inf
  decay[1, 22] = np.nan
  init[:] = np.inf
  reset = np.zeros(q.shape[:2], bool)
  reset[:, 24] = True
  arguments = narrow((q, k, v, decay, init))
  o, final = kernel(reset)(*arguments)
  alone = kernel(method="chunked")(*(x[:, 24:] for x in arguments[:4]))
  assert_near((o[:, 24:], final), alone)
  assert not np.isfinite(np.asarray(o[:, :24], "f4")).any()


@pytest.mark.slow
def test_gradients_are_those_without_the_kernel():
  shape = Shape(1, 2, 3, 5, time=70)
  arguments, reset = narrow(shape.problem("scalar")), shape.reset("random")
  got, expected = (
    outer_test.evaluate(kernel(reset, method), arguments)[1]
    for method in ("pallas", "chunked")
  )
  assert_near(got, expected)


def test_what_the_kernel_does_not_take_is_said():
  def refused(shape, kind, what, narrowed=True):
    arguments = outer_test.as_float32(shape.problem(kind))
    arguments = narrow(arguments) if narrowed else arguments
    with pytest.raises(NotImplementedError, match=f"of {what}"):
      recurrence.outer_scan_heads(*arguments, method="pallas")

  small = Shape(1, 1, 3, 5, time=2)
  refused(small, "scalar", "outer_scan: got dtype float32 on a GPU", False)
  refused(small._replace(dk=130), "none", "outer_scan: got dk 130 on a GPU")
