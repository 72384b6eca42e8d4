"""Kernels of outer_scan for Hopper, interpreted, against a float64 loop."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.recurrence import kernels
from jaxseq.recurrence import reference
from tests.kernels.outer import outer_kernels_test

Shape = outer_kernels_test.Shape
pytestmark = pytest.mark.skipif(
  jax.__version_info__ < (0, 11), reason="Mosaic GPU kernels need jax 0.11"
)


@pytest.fixture(autouse=True)
def interpreted():
  with kernels.interpret("gpu"):
    yield


def narrow(arguments):
  """Queries, keys and values in bfloat16, the others in float32."""
  q, k, v, decay, init = outer_kernels_test.as_float32(arguments)
  return *(jnp.asarray(x, jnp.bfloat16) for x in (q, k, v)), decay, init


def kernel(reset=None, method="pallas"):
  return jax.jit(
    functools.partial(recurrence.outer_scan_heads, reset=reset, method=method)
  )


def assert_near(got, expected, tolerance=4e-3):
  """Operands of products have 8 bits, errors of 1.2e-3 in the mean square.

  A few of them follow each other. What is 0 may be the difference of two sums
  in float32.
  """
  got, expected = jax.tree.leaves(got), jax.tree.leaves(expected)
  for x, exact in zip(got, expected, strict=True):
    x, exact = np.asarray(x, np.float64), np.asarray(exact, np.float64)
    error, size = np.linalg.norm(x - exact), np.linalg.norm(exact)
    assert error <= tolerance * size + 1e-6


def check(shape, kind, reset_kind):
  """Values and gradients."""
  arguments, reset = narrow(shape.problem(kind)), shape.reset(reset_kind)
  got = outer_kernels_test.evaluate(kernel(reset), arguments)
  assert [x.dtype for x in got[0]] == [jnp.bfloat16, jnp.float32]
  with jax.enable_x64(True):
    wide = jax.tree.map(lambda x: np.asarray(x, np.float64), arguments)
    loop = functools.partial(reference.outer_scan_heads, reset=reset)
    expected = jax.tree.map(np.asarray, outer_kernels_test.evaluate(loop, wide))
  assert_near(got, expected)


@pytest.mark.slow
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
  q, k, v, decay, init = outer_kernels_test.as_float32(shape.problem("scalar"))
  k[0, 22], v[0, 23, 1], v[1, 21] = np.nan, np.inf, np.inf
  decay[1, 22] = np.nan
  init[:] = np.inf
  reset = np.zeros(q.shape[:2], bool)
  reset[:, 24] = True
  arguments = narrow((q, k, v, decay, init))
  after = tuple(x[:, 24:] for x in arguments[:4])

  def evaluate(scan, arguments, start):
    """With gradients; cotangents of what is undefined are undefined."""

    def loss(arguments):
      o, final = scan(*arguments)
      loss = jnp.sum(o.astype(jnp.float32) ** 2) + jnp.sum(final)
      return loss, (o[:, start:], final, o[:, :start])

    grad = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (_, (o, final, before)), grads = grad(arguments)
    return (o, final, [x[:, start:] for x in grads[:4]]), before, grads

  got, before, grads = evaluate(kernel(reset), arguments, 24)
  assert_near(got, evaluate(kernel(method="chunked"), after, 0)[0])
  assert not np.isfinite(np.asarray(before, "f4")).any()
  chex.assert_tree_all_finite(grads)


@pytest.mark.slow
def test_second_derivatives_are_those_without_kernels():
  shape = Shape(1, 2, 3, 5, time=70)
  arguments, reset = narrow(shape.problem("scalar")), shape.reset("random")

  def along(method):
    def slope(arguments):
      def loss(arguments):
        o, final = kernel(reset, method)(*arguments)
        return sum(jnp.sum(jnp.sin(x.astype(jnp.float32))) for x in (o, final))

      grads = jax.grad(loss)(arguments)
      return sum(jnp.sum(g.astype(jnp.float32) ** 2) for g in grads)

    return jax.jit(jax.grad(slope))(arguments)

  # Errors of values, of gradients and of theirs add up: 1e-2 against float64.
  assert_near(along("pallas"), along("chunked"), 1e-2)


@pytest.mark.slow
def test_mapped_over_batch_axes():
  shape = Shape(1, 2, 3, 5, time=70, rows=2)
  arguments, reset = narrow(shape.problem("scalar")), shape.reset("random")
  mapped = jax.vmap(lambda reset, *x: kernel(reset)(*x))

  def of_rows(*x):
    return kernel(reset)(*x)

  # The same program for each row.
  chex.assert_trees_all_close(
    *(
      outer_kernels_test.evaluate(scan, arguments)
      for scan in (functools.partial(mapped, reset), of_rows)
    )
  )


def test_what_the_kernel_does_not_take_is_said():
  def refused(shape, kind, what, narrowed=True):
    arguments = outer_kernels_test.as_float32(shape.problem(kind))
    arguments = narrow(arguments) if narrowed else arguments
    with pytest.raises(NotImplementedError, match=f"of {what}"):
      recurrence.outer_scan_heads(*arguments, method="pallas")

  small = Shape(1, 1, 3, 5, time=2)
  refused(small, "scalar", "outer_scan: got dtype float32 on a GPU", False)
  refused(small._replace(dk=130), "none", "outer_scan: got dk 130 on a GPU")
