"""outer_scan at the edges: extreme decays, infinities, precision, memory."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.recurrence import reference
from tests.recurrence import narrow
from tests.recurrence.outer import outer_cases

CHUNK = 16


@pytest.mark.parametrize("kind", ["scalar", "vector"])
def test_extreme_decays_are_exact_in_float32(kind):
  """From none to complete within a chunk; nothing overflows or cancels."""
  rng = np.random.default_rng(0)
  q, k, v, decay, init = outer_cases.problem(32, kind, rows=1)
  levels = np.array([0.0, -1e-4, -1.0, -90.0, -1e4, -1e30, -np.inf])
  decay = rng.choice(levels, decay.shape, p=[0.3, 0.3, 0.2] + [0.05] * 4)
  arguments = jax.tree.map(np.float32, (q, k, v, decay, init))

  (_, got), grads = outer_cases.evaluate(
    arguments, method="chunked", chunk_size=32
  )
  chex.assert_tree_all_finite(grads)
  with jax.enable_x64(True):
    exact = jax.tree.map(np.float64, arguments)
    (_, expected), expected_grads = outer_cases.evaluate(
      exact, method="sequential", chunk_size=32
    )
    steps = reference.outer_scan_heads(*exact)
  # float32 rounding of sums over 32 elements, of size up to 30.
  chex.assert_trees_all_close(got, steps, rtol=0, atol=1e-4)
  chex.assert_trees_all_close(
    (got, grads), (expected, expected_grads), rtol=0, atol=2e-4
  )


def test_weak_decays_keep_their_digits_after_strong_ones():
  """A plain float32 sum of the log-decays would be off by 1e-4 here."""
  time = 33
  decay = np.full((1, time, 1), -1e-3, np.float32)
  decay[0, :16] = -150.0
  ones = np.ones((1, time, 1), np.float32)
  o, _ = recurrence.outer_scan(
    ones, ones, ones, decay, chunk_size=time, method="chunked"
  )
  expected = np.sum(np.exp(-1e-3 * np.arange(time - 15)))
  # A few float32 roundings.
  np.testing.assert_allclose(o[0, -1, 0], expected, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("method", "kind"),
  [
    ("sequential", "vector"),
    pytest.param("associative", "scalar", marks=pytest.mark.slow),
    pytest.param("chunked", "scalar", marks=pytest.mark.slow),
    ("chunked", "vector"),
  ],
)
def test_a_reset_forgets_inf_and_nan(method, kind):
  q, k, v, decay, init = jax.tree.map(np.float32, outer_cases.problem(9, kind))
  k[0, 2], v[0, 3, 1], v[1, 1] = np.nan, np.inf, np.inf
  decay[1, 2] = np.nan
  init[:] = np.inf
  reset = jnp.zeros((2, 9), bool).at[:, 4].set(True)

  def loss(arguments):
    o, final = outer_cases.run(arguments, reset, method, 9)
    return jnp.sum(o[:, 4:]) + jnp.sum(final), (o, final)

  compiled = jax.jit(jax.value_and_grad(loss, has_aux=True))
  (_, (o, final)), grads = compiled((q, k, v, decay, init))
  alone = outer_cases.run([x[:, 4:] for x in (q, k, v, decay)])
  # float32 rounding of sums over 5 elements.
  chex.assert_trees_all_close((o[:, 4:], final), alone, rtol=0, atol=1e-5)
  assert not np.isfinite(o[:, 3]).any()
  for grad in grads[:4]:
    assert np.isfinite(grad[:, 4:]).all()


@pytest.mark.slow
@pytest.mark.parametrize(
  ("kind", "with_reset"),
  [
    pytest.param("none", False, marks=pytest.mark.slow),
    pytest.param("none", True, marks=pytest.mark.slow),
    pytest.param("scalar", False, marks=pytest.mark.slow),
    ("scalar", True),
    pytest.param("vector", False, marks=pytest.mark.slow),
    pytest.param("vector", True, marks=pytest.mark.slow),
  ],
)
def test_bfloat16_inputs_are_rounded_for_products_alone(kind, with_reset, x64):
  q, k, v, decay, init = outer_cases.problem(40, kind)
  decay = None if decay is None else np.float32(decay)
  arguments = *map(narrow.rounded, (q, k, v)), decay, np.float32(init)
  reset = None
  if with_reset:
    reset = jnp.zeros((2, 40), bool).at[:, 20].set(True)
  how = {"reset": reset, "chunk_size": CHUNK}
  (_, got), grads = outer_cases.evaluate(arguments, **how)
  assert [x.dtype for x in got] == [jnp.bfloat16, jnp.float32]
  chex.assert_trees_all_equal_dtypes(grads, arguments)
  exact = narrow.exact(arguments)
  (_, outputs), slopes = outer_cases.evaluate(exact, **how)
  of_outputs, of_grads = narrow.errors((got, grads), (outputs, slopes))
  *of_inputs, of_decay, of_init = of_grads
  if kind == "vector":
    # A sum over a chunk of differences between what q and k get, which nearly
    # cancel, but for the errors of either: measured sqrt(CHUNK) / 4.
    assert of_decay < math.sqrt(CHUNK) / 2
    of_decay = 0
  errors = of_outputs, of_inputs, of_decay, of_init
  # What enters products is rounded, and what comes out; measured 0.9.
  assert max(jax.tree.leaves(errors)) < 1.5


@pytest.mark.parametrize(
  ("decay", "units"),
  [
    # What is read of a state is rounded, and then the output.
    (None, (0, 2)),
    # So are decayed keys and queries, all to one side.
    (-1e-4, (1, 4)),
  ],
)
def test_states_of_bfloat16_inputs_do_not_drift(decay, units):
  """In bfloat16 a sum of ones would stop growing at 256."""
  time = 4096
  ones = jnp.ones((1, time, 1), jnp.bfloat16)
  decays = None if decay is None else jnp.full((1, time, 1), decay)
  o, final = jax.jit(recurrence.outer_scan)(ones, ones, ones, decays)
  expected = np.cumsum(np.exp((decay or 0.0) * np.arange(time)))
  for got, want, count in zip(
    (final[0], o[0]), (expected[-1], expected), units
  ):
    # And a few roundings of float32.
    rtol = count * narrow.UNIT + 1e-6
    np.testing.assert_allclose(got[:, 0].astype("f4"), want, rtol=rtol)


@pytest.mark.parametrize("kind", ["none", "scalar", "vector"])
def test_products_of_bfloat16_inputs_are_of_bfloat16(kind):
  q, k, v, *others = outer_cases.problem(12, kind)
  others = [None if x is None else np.float32(x) for x in others]
  arguments = *map(narrow.rounded, (q, k, v)), *others
  assert not narrow.wide_products(outer_cases.evaluate, arguments)
  # The same of float32 inputs are found.
  wide = *map(np.float32, (q, k, v)), *others
  assert narrow.wide_products(outer_cases.evaluate, wide)


@pytest.mark.parametrize("method", ["sequential", "chunked"])
def test_float16_inputs_are_computed_in_float32(method):
  """States and cotangents may leave the range of float16."""
  inputs = jax.tree.map(np.float16, outer_cases.problem(50, "scalar"))
  exact, exact_final = outer_cases.run(
    jax.tree.map(np.float32, inputs), method=method
  )
  o, final = outer_cases.run(inputs, method=method)
  assert o.dtype == jnp.float16
  # Only the outputs are rounded, to 11 bits; the state not at all.
  np.testing.assert_allclose(o.astype("f4"), exact, rtol=2**-11, atol=1e-6)
  np.testing.assert_allclose(final, exact_final, rtol=1e-6)


def test_bfloat16_beside_float32_inputs_is_widened():
  inputs = jax.tree.map(np.float32, outer_cases.problem(50, "scalar"))
  v = narrow.rounded(inputs[2])
  o, _ = outer_cases.run((*inputs[:2], v, *inputs[3:]))
  exact, _ = outer_cases.run((*inputs[:2], np.float32(v), *inputs[3:]))
  assert o.dtype == jnp.float32
  np.testing.assert_allclose(o, exact, rtol=1e-6, atol=1e-6)


def array_sizes(jaxpr):
  """Sizes of all arrays in a jaxpr and those inside it."""
  for equation in jaxpr.eqns:
    for variable in equation.outvars:
      yield variable.aval.size
    for parameter in jax.tree.leaves(equation.params):
      inner = getattr(parameter, "jaxpr", parameter)
      if hasattr(inner, "eqns"):
        yield from array_sizes(inner)


@pytest.mark.parametrize(
  "kind", [pytest.param("scalar", marks=pytest.mark.slow), "vector"]
)
def test_memory_does_not_hold_the_states(kind):
  """Forward and gradient stay well below one array of all states."""
  time, heads, width = 2048, 2, 32
  shapes = (
    (2, time, heads, width),
    (2, time, heads, width),
    (2, time, heads, width),
    (2, time, heads, 1 if kind == "scalar" else width),
  )
  arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
  states = 2 * time * heads * width * width

  def forward(*arguments):
    return recurrence.outer_scan_heads(*arguments, method="chunked")

  def loss(*arguments):
    return jnp.sum(forward(*arguments)[0] ** 2)

  for function in (forward, jax.grad(loss, range(4))):
    traced = jax.jit(function).trace(*arguments)
    assert max(array_sizes(traced.jaxpr.jaxpr)) <= states / 8
    analysis = traced.lower().compile().memory_analysis()
    # In bytes, of which a state of float32 would take 4.
    assert analysis.temp_size_in_bytes < 4 * states / 3
