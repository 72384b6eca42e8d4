"""Kernels of outer_scan for Hopper with a decay per channel, interpreted.

Against a float64 loop over time.
"""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.recurrence import kernels
from jaxseq.recurrence import reference
from tests.kernels.outer import outer_gpu_test
from tests.kernels.outer import outer_kernels_test

Shape = outer_kernels_test.Shape
kernel = outer_gpu_test.kernel
evaluate, narrow = outer_kernels_test.evaluate, outer_gpu_test.narrow
pytestmark = outer_gpu_test.pytestmark


@pytest.fixture(autouse=True)
def interpreted():
  with kernels.interpret("gpu"):
    yield


def assert_near(got, expected, tolerance=4e-3):
  """Operands of products have 8 bits, errors of 1.2e-3 in the mean square.

  A few of them follow each other, in gradients twice as many.
  """
  for x, exact in zip(got, expected, strict=True):
    x, exact = np.asarray(x, np.float64), np.asarray(exact, np.float64)
    assert np.linalg.norm(x - exact) <= tolerance * np.linalg.norm(exact)


def exactly(arguments, reset=None):
  """Values and gradients of the loop in float64."""
  with jax.enable_x64(True):
    wide = jax.tree.map(lambda x: np.asarray(x, np.float64), arguments)
    loop = functools.partial(reference.outer_scan_heads, reset=reset)
    return jax.tree.map(np.asarray, evaluate(loop, wide))


def check(shape, reset_kind, arguments=None):
  """Values and gradients."""
  arguments = arguments or narrow(shape.problem("vector"))
  reset = shape.reset(reset_kind)
  got = evaluate(kernel(reset), arguments)
  for x, like in zip(got[1], arguments, strict=True):
    assert x.dtype == like.dtype
  values, grads = exactly(arguments, reset)
  assert_near(got[0], values)
  assert_near(got[1], grads, 6e-3)


@pytest.mark.slow
def test_two_chunks():
  check(Shape(1, 1, 3, 5, time=65), "random")


@pytest.mark.slow
@pytest.mark.parametrize("reset", ["none", "first", "last", "every", "random"])
def test_equals_the_loop(reset):
  check(Shape(2, 4, 3, 5, time=70), reset)


@pytest.mark.slow
@pytest.mark.parametrize(
  "shape",
  [
    # One element; whole chunks; features and time to be padded; three blocks
    # of keys.
    Shape(1, 1, 3, 5, time=1),
    Shape(1, 2, 128, 64, time=128),
    Shape(2, 2, 70, 72, time=65, rows=2),
    Shape(1, 1, 130, 128, time=20),
  ],
  ids=lambda shape: "-".join(map(str, shape)),
)
def test_shapes(shape):
  check(shape, "random")


@pytest.mark.slow
def test_decays_in_bfloat16():
  *arguments, decay, init = narrow(Shape(1, 1, 3, 5).problem("vector"))
  decay = decay.astype(jnp.bfloat16)
  check(Shape(1, 1, 3, 5), "random", (*arguments, decay, init))


@pytest.mark.slow
def test_extreme_decays():
  """From none to complete within a chunk; nothing overflows or cancels."""
  *arguments, decay, init = narrow(
    Shape(1, 2, 8, 5, time=100).problem("vector")
  )
  levels = np.array([0.0, -1e-4, -1.0, -90.0, -1e4, -1e30, -np.inf], "f4")
  decay = np.random.default_rng(0).choice(
    levels, decay.shape, p=[0.3, 0.3, 0.2] + [0.05] * 4
  )
  arguments = *arguments, decay, init
  got = evaluate(kernel(), arguments)
  with jax.enable_x64(True):
    steps = functools.partial(
      recurrence.outer_scan_heads, method="sequential", chunk_size=100
    )
    wide = jax.tree.map(lambda x: np.asarray(x, np.float64), arguments)
    expected = jax.tree.map(np.asarray, evaluate(steps, wide))
  assert_near(got[0], expected[0])
  assert_near(got[1], expected[1], 6e-3)


@pytest.mark.slow
def test_weak_decays_keep_a_state_over_many_chunks():
  *arguments, decay, init = narrow(
    Shape(1, 1, 8, 5, time=300).problem("vector")
  )
  check(Shape(1, 1, 8, 5, time=300), "none", (*arguments, 1e-3 * decay, init))


@pytest.mark.slow
def test_a_reset_forgets_inf_and_nan():
  """Also in the chunk in which it happens, and from the state before all."""
  q, k, v, decay, init = outer_kernels_test.as_float32(
    Shape(1, 2, 3, 5, time=70, rows=2).problem("vector")
  )
  k[0, 22], v[0, 23, 1], v[1, 21], q[:, 20] = np.nan, np.inf, np.inf, np.nan
  decay[1, 22, :, 1] = np.nan
  init[:] = np.inf
  reset = np.zeros(q.shape[:2], bool)
  reset[:, 24] = True
  arguments = narrow((q, k, v, decay, init))

  def loss(arguments):
    o, final = kernel(reset)(*arguments)
    return jnp.sum(o[:, 24:].astype(jnp.float32)) + jnp.sum(final), (o, final)

  compiled = jax.jit(jax.value_and_grad(loss, has_aux=True))
  (_, (o, final)), grads = compiled(arguments)
  alone = kernel(method="chunked")(*(x[:, 24:] for x in arguments[:4]))
  assert_near((o[:, 24:], final), alone)
  assert not np.isfinite(np.asarray(o[:, :24], "f4")).any()
  chex.assert_tree_all_finite(grads)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_sums_that_overflow_are_forgotten():
  shape = Shape(1, 1, 3, 5, time=140)
  q, k, v, decay, init = outer_kernels_test.as_float32(shape.problem("vector"))
  k[0, :10], v[0, :10] = 1e30, 1e30
  reset = np.zeros(q.shape[:2], bool)
  reset[:, 70] = True
  arguments = narrow((q, k, v, decay, init))
  o, final = kernel(reset)(*arguments)
  alone = kernel(method="chunked")(*(x[:, 70:] for x in arguments[:4]))
  assert_near((o[:, 70:], final), alone)


@pytest.mark.slow
def test_what_is_undefined_stays_in_its_head_and_after_its_place():
  shape = Shape(1, 2, 3, 5)
  arguments = list(narrow(shape.problem("vector")))
  reset = shape.reset("last")
  expected, _ = kernel(reset)(*arguments)
  arguments[2] = arguments[2].at[0, 20, 1, 3].set(jnp.nan)
  o, _ = kernel(reset)(*arguments)
  touched = np.zeros(o.shape, bool)
  touched[0, 20:34, 1] = True
  o, expected = np.asarray(o, "f4"), np.asarray(expected, "f4")
  assert np.isnan(o[touched]).all()
  np.testing.assert_array_equal(o[~touched], expected[~touched])


@pytest.mark.slow
def test_second_derivatives_are_those_without_kernels():
  shape = Shape(1, 2, 3, 5, time=20)
  arguments, reset = narrow(shape.problem("vector")), shape.reset("random")

  def along(method):
    def loss(arguments):
      o, final = kernel(reset, method)(*arguments)
      return jnp.sum(jnp.sin(o.astype(jnp.float32))) + jnp.sum(final**3)

    def slope(arguments):
      grads = jax.grad(loss)(arguments)
      leaves = jax.tree.leaves(grads)
      return sum(jnp.sum(g.astype(jnp.float32) ** 2) for g in leaves)

    return jax.jit(jax.grad(slope))(arguments)

  # Roundings of the gradient and of what it is differentiated into.
  for x, y in zip(along("pallas"), along("chunked"), strict=True):
    x, y = np.asarray(x, "f4"), np.asarray(y, "f4")
    assert np.linalg.norm(x - y) <= 1e-2 * np.linalg.norm(y)


@pytest.mark.slow
def test_mapped_over_batch_axes():
  shape = Shape(1, 2, 3, 5, time=20, rows=3)
  arguments, reset = narrow(shape.problem("vector")), shape.reset("random")
  mapped = jax.vmap(lambda reset, *x: kernel(reset)(*x))
  # The same program for each row.
  chex.assert_trees_all_close(
    jax.jit(mapped)(reset, *arguments), kernel(reset)(*arguments)
  )


def test_what_the_kernel_does_not_take_is_said():
  def refused(shape, what, narrowed=True):
    arguments = outer_kernels_test.as_float32(shape.problem("vector"))
    arguments = narrow(arguments) if narrowed else arguments
    with pytest.raises(NotImplementedError, match=f"per channel: {what}"):
      recurrence.outer_scan_heads(*arguments, method="pallas")

  small = Shape(1, 1, 3, 5, time=2)
  refused(small, "got dtype float32 on a GPU", False)
  refused(small._replace(dk=258), "got dk 258 on a GPU")
  refused(small._replace(dv=130), "got dv 130 on a GPU")
