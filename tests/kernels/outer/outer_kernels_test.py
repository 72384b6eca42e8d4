"""Kernels of outer_scan, interpreted, against a float64 loop over time."""

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
from tests.recurrence import methods

CHUNK = 16


@pytest.fixture(autouse=True)
def interpreted():
  with kernels.interpret("tpu"):
    yield


class Shape(NamedTuple):
  """Sizes of a problem."""

  groups: int
  heads: int
  dk: int
  dv: int
  time: int = 35
  rows: int = 1

  def problem(self, kind):
    """Arguments of `outer_scan_heads` in float64."""
    rng = np.random.default_rng(0)
    lead = self.rows, self.time
    q, k = rng.normal(size=(2, *lead, self.groups, self.dk)) / np.sqrt(self.dk)
    v = rng.normal(size=(*lead, self.heads, self.dv))
    decay = -rng.exponential(0.2, (*lead, self.heads, self.dk))
    if kind in ("scalar", "forget"):
      decay = decay[..., :1]
    if kind == "forget":
      decay[rng.uniform(size=decay.shape) < 0.3] = -np.inf
    init = rng.normal(size=(self.rows, self.heads, self.dk, self.dv))
    return q, k, v, None if kind == "none" else decay, init

  def reset(self, kind):
    rng = np.random.default_rng(3)
    return methods.make_reset(rng, kind, (self.rows, self.time), 0.1)


def evaluate(scan, arguments):
  """Results, and gradients with cotangents on outputs and last state."""

  @jax.jit
  def value_and_grad(arguments):
    def loss(arguments):
      o, final = scan(*arguments)
      rng = np.random.default_rng(5)
      weights = [rng.normal(size=x.shape).astype(x.dtype) for x in (o, final)]
      value = jnp.sum(o * weights[0]).astype(final.dtype)
      return value + jnp.sum(final * weights[1]), (o, final)

    return jax.value_and_grad(loss, has_aux=True)(arguments)

  (_, results), grads = value_and_grad(arguments)
  return results, grads


def as_float32(arguments):
  return jax.tree.map(np.float32, arguments)


def kernel(reset=None, **options):
  options = {"method": "pallas", "chunk_size": CHUNK} | options
  return functools.partial(recurrence.outer_scan_heads, reset=reset, **options)


def assert_close(actual, expected, tolerance=2e-6):
  """Relative to the largest number: float32 rounding of sums of 35 numbers."""
  actual, expected = jax.tree.leaves(actual), jax.tree.leaves(expected)
  assert len(actual) == len(expected)
  for x, y in zip(actual, expected):
    atol = tolerance * max(1.0, np.abs(y).max())
    np.testing.assert_allclose(x, y, rtol=0, atol=atol)


def check(shape, kind, reset_kind):
  """Values and gradients."""
  arguments, reset = shape.problem(kind), shape.reset(reset_kind)
  got = evaluate(kernel(reset), as_float32(arguments))
  with jax.enable_x64(True):
    loop = functools.partial(reference.outer_scan_heads, reset=reset)
    expected = evaluate(loop, arguments)
  assert_close(got, expected)


def test_heads_that_share_keys():
  check(Shape(1, 2, 3, 5), "scalar", "random")


@pytest.mark.slow
def test_a_decay_for_each_channel():
  check(Shape(1, 1, 3, 5, time=19), "vector", "random")


@pytest.mark.slow
@pytest.mark.parametrize("reset", ["none", "first", "last", "every", "random"])
@pytest.mark.parametrize("kind", ["none", "scalar", "vector", "forget"])
def test_equals_the_loop(kind, reset):
  check(Shape(2, 4, 3, 5, rows=2), kind, reset)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["scalar", "vector"])
@pytest.mark.parametrize(
  "shape",
  [
    # One element, and one chunk.
    Shape(1, 1, 3, 5, time=1),
    Shape(1, 1, 3, 5, time=16),
    # Two blocks of eight heads; of a width of its own; groups side by side,
    # whole and with one missing; features of more than 128.
    Shape(1, 16, 128, 64, time=20),
    Shape(1, 3, 64, 48, time=20),
    Shape(4, 4, 64, 64, time=20),
    Shape(3, 6, 64, 32, time=20),
    Shape(2, 2, 130, 200, time=20),
  ],
  ids=lambda shape: "-".join(map(str, shape)),
)
def test_shapes(shape, kind):
  check(shape, kind, "random")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["scalar", "vector"])
def test_a_reset_forgets_inf_and_nan(kind):
  """Also in the chunk in which it happens, and from the state before all."""
  q, k, v, decay, init = as_float32(Shape(1, 2, 3, 5, rows=2).problem(kind))
  k[0, 22], v[0, 23, 1], v[1, 21] = np.nan, np.inf, np.inf
  decay[1, 22] = np.nan
  init[:] = np.inf
  reset = np.zeros(q.shape[:2], bool)
  reset[:, 24] = True

  def loss(arguments):
    o, final = kernel(reset)(*arguments)
    return jnp.sum(o[:, 24:]) + jnp.sum(final), (o, final)

  compiled = jax.jit(jax.value_and_grad(loss, has_aux=True))
  (_, (o, final)), grads = compiled((q, k, v, decay, init))
  alone = recurrence.outer_scan_heads(
    *(x[:, 24:] for x in (q, k, v, decay)), method="chunked"
  )
  assert_close((o[:, 24:], final), alone)
  assert not np.isfinite(o[:, :24]).any()
  chex.assert_tree_all_finite(grads)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["scalar", "vector"])
def test_what_is_undefined_stays_in_its_head_and_after_its_place(kind):
  shape = Shape(1, 2, 3, 5)
  arguments = as_float32(shape.problem(kind))
  reset = shape.reset("last")
  expected, _ = jax.jit(kernel(reset))(*arguments)
  arguments[2][0, 20, 1, 3] = np.nan
  o, _ = jax.jit(kernel(reset))(*arguments)
  touched = np.zeros(o.shape, bool)
  touched[0, 20:34, 1, 3] = True
  assert np.isnan(o[touched]).all()
  np.testing.assert_array_equal(o[~touched], expected[~touched])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["scalar", "vector"])
def test_extreme_decays_are_exact_in_float32(kind):
  """From none to complete within a chunk; nothing overflows or cancels."""
  arguments = list(Shape(1, 2, 3, 5).problem(kind))
  levels = np.array([0.0, -1e-4, -1.0, -90.0, -1e4, -1e30, -np.inf])
  arguments[3] = np.random.default_rng(0).choice(
    levels, arguments[3].shape, p=[0.3, 0.3, 0.2] + [0.05] * 4
  )
  arguments = as_float32(arguments)
  got = evaluate(kernel(), arguments)
  with jax.enable_x64(True):
    steps = functools.partial(
      recurrence.outer_scan_heads, method="sequential", chunk_size=35
    )
    expected = evaluate(steps, jax.tree.map(np.float64, arguments))
  assert_close(got, expected)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["scalar", "vector"])
def test_bfloat16_inputs_are_accumulated_in_float32(kind):
  *arguments, init = as_float32(Shape(2, 4, 16, 16, time=50).problem(kind))
  q, k, v = (jnp.asarray(x, jnp.bfloat16) for x in arguments[:3])
  narrow = q, k, v, arguments[3], init
  wide = jax.tree.map(lambda x: x.astype(jnp.float32), narrow)
  (o, final), grads = evaluate(kernel(), narrow)
  (exact_o, exact_final), exact_grads = evaluate(kernel(), wide)
  assert o.dtype == grads[0].dtype == jnp.bfloat16
  assert final.dtype == grads[3].dtype == jnp.float32

  def error(x, exact):
    return np.linalg.norm(x.astype("f4") - exact) / np.linalg.norm(exact)

  # Operands of products have 8 bits, errors of 2^-9 each and 1.2e-3 as a root
  # of the mean square; a few follow each other. The sums of bfloat16 over 50
  # elements would be off by several times as much.
  assert error(o, exact_o) < 4e-3
  assert error(final, exact_final) < 2e-3
  for grad, exact in zip(grads, exact_grads):
    assert error(grad, exact) < 6e-3


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["none", "scalar", "vector"])
def test_second_derivatives_are_those_without_kernels(kind):
  shape = Shape(1, 2, 3, 5, time=20)
  arguments, reset = as_float32(shape.problem(kind)), shape.reset("random")

  def along(method):
    def loss(arguments):
      o, final = kernel(reset, method=method)(*arguments)
      return jnp.sum(jnp.sin(o)) + jnp.sum(final**3)

    def slope(arguments):
      grads = jax.grad(loss)(arguments)
      return sum(jnp.sum(g * g) for g in jax.tree.leaves(grads))

    return jax.jit(jax.grad(slope))(arguments)

  # Twice as many sums as above, one after the other.
  assert_close(along("pallas"), along("chunked"), 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["scalar", "vector"])
def test_mapped_over_batch_axes(kind):
  shape = Shape(1, 2, 3, 5, time=20, rows=3)
  arguments, reset = as_float32(shape.problem(kind)), shape.reset("random")
  mapped = jax.vmap(lambda reset, *x: kernel(reset)(*x))
  # The same program for each row.
  chex.assert_trees_all_close(
    jax.jit(mapped)(reset, *arguments), jax.jit(kernel(reset))(*arguments)
  )


def test_what_the_kernel_does_not_take_is_said():
  arguments = as_float32(Shape(1, 1, 3, 5).problem("scalar"))
  with jax.enable_x64(True):
    wide = jax.tree.map(np.float64, arguments)
    with pytest.raises(
      NotImplementedError, match="outer_scan: got dtype float64"
    ):
      recurrence.outer_scan_heads(*wide, method="pallas")
