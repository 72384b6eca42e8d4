"""lti_scan against linear_scan with the projections around it."""

import functools
import itertools

import chex
import jax
import jax.numpy as jnp
from jax.test_util import check_grads
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.recurrence import reference
from tests.recurrence import methods
from tests.recurrence import narrow

P, H = 3, 4


def problem(time, is_complex, seed=0, M=H):
  rng = np.random.default_rng(seed)

  def draw(*shape):
    x = rng.normal(size=shape)
    return x + 1j * rng.normal(size=shape) if is_complex else x

  Lambda_bar = rng.uniform(0.5, 1, P)
  if is_complex:
    Lambda_bar = Lambda_bar * np.exp(1j * rng.normal(size=P))
  arguments = (
    Lambda_bar,
    draw(P, H),
    draw(M, P),
    rng.normal(size=(2, time, H)),
    draw(2, P),
    rng.normal(size=M),
  )
  weights = rng.normal(size=(2, time, M)), draw(2, P)
  reset = rng.uniform(size=(2, time)) < 0.2
  return arguments, weights, reset


@pytest.mark.parametrize("method", methods.quick("associative", "chunked"))
@pytest.mark.parametrize(
  ("is_complex", "reverse", "time"),
  [
    (True, True, 33),
    *(
      pytest.param(*values, marks=pytest.mark.slow)
      for values in itertools.product((False, True), (False, True), (1, 33))
      if values != (True, True, 33)
    ),
  ],
)
def test_values_and_gradients_equal_the_unfused_form(
  x64, method, is_complex, reverse, time
):
  del x64
  arguments, (w, w_final), reset = problem(time, is_complex)

  def evaluate(run, reset):
    def loss(*arguments):
      y, final = run(
        *arguments[:5], D=arguments[5], reset=reset, reverse=reverse
      )
      value = jnp.sum(y * w) + jnp.real(jnp.sum(final * w_final))
      return value, (y, final)

    grad = jax.jit(jax.value_and_grad(loss, range(6), has_aux=True))
    return grad(*arguments)

  for flags in (None, reset) if method == "sequential" else (reset,):
    expected = evaluate(reference.lti_scan, flags)
    # Whole chunks and a remainder, then one chunk.
    for size in (4, None) if method == "sequential" else (4,):
      fused = functools.partial(
        recurrence.lti_scan, chunk_size=size, method=method
      )
      # float64 rounding over at most 33 elements.
      chex.assert_trees_all_close(
        evaluate(fused, flags), expected, rtol=1e-10, atol=1e-11
      )


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sequential", "associative"])
def test_gradients_of_gradients(x64, method):
  del x64
  arguments, _, reset = problem(5, True)

  @jax.jit
  def run(*arguments):
    return recurrence.lti_scan(
      *arguments[:5], D=arguments[5], reset=reset, chunk_size=2, method=method
    )

  check_grads(run, arguments, order=2, modes=["rev"])


@pytest.mark.parametrize(
  "case",
  [
    "resets",
    *(
      pytest.param(case, marks=pytest.mark.slow)
      for case in ("reset_at_0", "none", "all")
    ),
  ],
)
@pytest.mark.parametrize("method", methods.METHODS)
def test_golden_reset_scan(x64, golden, case, method):
  """Outputs and gradients of the public in-context RL code."""
  del x64
  data = golden("ssm/s5_reset")

  def loss(parts):
    c = {k: jax.lax.complex(*parts[k]) for k in ("Lambda_bar", "B_bar", "h0")}
    ys, hT = recurrence.lti_scan(
      c["Lambda_bar"],
      c["B_bar"],
      2 * data["C_tilde"],
      parts["u"][None],
      c["h0"][None],
      reset=data[f"{case}/resets"].astype(bool)[None],
      chunk_size=4,
      method=method,
    )
    value = jnp.sum(ys[0] * data["w"])
    value += jnp.sum(jnp.real(hT)) + 0.5 * jnp.sum(jnp.imag(hT))
    return value, (ys[0], hT[0])

  parts = {
    k: (data[k].real, data[k].imag) for k in ("Lambda_bar", "B_bar", "h0")
  }
  parts["u"] = data["u"]
  grads, (ys, hT) = jax.jit(jax.grad(loss, has_aux=True))(parts)
  # The tolerances that the golden set gives for float64.
  close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-10)
  close(ys, data[f"{case}/ys"])
  close(hT, data[f"{case}/hT"])
  close(grads["u"], data[f"{case}/grad_u"], rtol=1e-8)
  for name in ("Lambda_bar", "B_bar", "h0"):
    for grad, part in zip(grads[name], ("re", "im")):
      close(grad, data[f"{case}/grad_{name}_{part}"], rtol=1e-8)


def test_more_outputs_than_inputs_and_no_feed_through(x64):
  del x64
  arguments, _, _ = problem(9, True, M=6)
  y, final = recurrence.lti_scan(*arguments[:5], chunk_size=4)
  # float64 rounding.
  chex.assert_trees_all_close(
    (y, final), reference.lti_scan(*arguments[:5]), rtol=1e-11
  )
  assert y.shape == (2, 9, 6)


@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_batch_axes(batch):
  arguments, _, _ = problem(9, True)
  Lambda_bar, B_bar, C = (x.astype(np.complex64) for x in arguments[:3])
  u = np.ones((*batch, 9, H), np.float32)
  y, final = recurrence.lti_scan(Lambda_bar, B_bar, C, u)
  assert y.shape == u.shape
  assert final.shape == (*batch, P)
  assert final.dtype == jnp.complex64
  # Every row is the same sequence; float32 rounding.
  np.testing.assert_allclose(y, jnp.broadcast_to(y[(0,) * len(batch)], y.shape))


@pytest.mark.slow
@pytest.mark.parametrize("method", methods.quick("sequential"))
def test_bfloat16_inputs_are_rounded_for_products_alone(method, x64):
  arguments, weights, reset = problem(50, True)
  system = [x.astype(np.complex64) for x in arguments[:3]]
  u, D = narrow.rounded(arguments[3]), np.ones(H, np.float32)
  weights = narrow.rounded(weights[0])

  def loss(system, u, D):
    y, final = recurrence.lti_scan(
      *system, u, D=D, reset=reset, chunk_size=16, method=method
    )
    value = jnp.sum((y * weights).astype(float)) + jnp.sum(jnp.abs(final) ** 2)
    return value, (y, final)

  gradient = jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))
  (_, got), grads = gradient(system, u, D)
  chex.assert_trees_all_equal_dtypes(
    (got, grads), ((u, system[0]), (system, u, D))
  )
  (_, exact), slopes = gradient(*narrow.exact((system, u, D)))
  # What enters products is rounded, and what comes out; measured 0.9.
  assert (
    max(jax.tree.leaves(narrow.errors((got, grads), (exact, slopes)))) < 1.5
  )
  assert not narrow.wide_products(gradient, system, u, D)


def test_states_of_bfloat16_inputs_do_not_drift():
  """In bfloat16 a sum of ones would stop growing at 256."""
  time, Lambda_bar = 4096, np.float32(1 - 1e-4)
  one = jnp.ones((1, 1))
  u = jnp.ones((1, time, 1), jnp.bfloat16)
  y, final = jax.jit(recurrence.lti_scan)(Lambda_bar[None], one, one, u)
  expected = np.cumsum(np.float64(Lambda_bar) ** np.arange(time))
  # 4096 roundings of float32.
  np.testing.assert_allclose(final[0, 0], expected[-1], rtol=1e-5)
  # What is read of a state is rounded, and then the output.
  rtol = 2 * narrow.UNIT + 1e-5
  np.testing.assert_allclose(y[0, :, 0].astype("f4"), expected, rtol=rtol)


def test_float16_inputs_are_computed_in_float32():
  arguments, _, _ = problem(50, True)
  system = [x.astype(np.complex64) for x in arguments[:3]]
  u = jnp.asarray(arguments[3], jnp.float16)
  y, final = recurrence.lti_scan(*system, u)
  exact = recurrence.lti_scan(*system, u.astype(jnp.float32))
  assert y.dtype == jnp.float16
  # Only the outputs are rounded, to 11 bits; the state not at all.
  np.testing.assert_allclose(y.astype("f4"), exact[0], rtol=2**-11, atol=1e-6)
  np.testing.assert_allclose(final, exact[1], rtol=1e-6)


@pytest.mark.parametrize("method", methods.METHODS)
def test_a_reset_forgets_inf_and_nan(method):
  arguments, _, _ = problem(9, True)
  Lambda_bar, B_bar, C = (x.astype(np.complex64) for x in arguments[:3])
  u = jnp.ones((1, 9, H)).at[0, 3, 0].set(jnp.nan).at[0, 2, 1].set(jnp.inf)
  reset = jnp.zeros((1, 9), bool).at[0, 4].set(True)
  scan = functools.partial(recurrence.lti_scan, chunk_size=8, method=method)
  y, final = jax.jit(scan)(Lambda_bar, B_bar, C, u, reset=reset)
  assert jnp.all(jnp.isfinite(y[:, 4:]))
  assert jnp.all(jnp.isfinite(final))


@pytest.mark.parametrize("method", methods.quick("sequential"))
def test_memory_does_not_hold_the_states(method):
  """Temporaries of the gradient stay well below one array of all states."""
  states, width, time = 64, 8, 4096
  f = functools.partial(recurrence.lti_scan, chunk_size=64, method=method)

  def loss(Lambda_bar, B_bar, C, u):
    return jnp.sum(f(Lambda_bar, B_bar, C, u)[0] ** 2)

  s = jax.ShapeDtypeStruct
  compiled = (
    jax.jit(jax.grad(loss, (0, 1, 2, 3)))
    .lower(
      s((states,), jnp.complex64),
      s((states, width), jnp.complex64),
      s((width, states), jnp.complex64),
      s((2, time, width), jnp.float32),
    )
    .compile()
  )
  all_states = 2 * time * states * 8
  assert compiled.memory_analysis().temp_size_in_bytes < all_states / 3


@pytest.mark.parametrize(
  ("kwargs", "message"),
  [
    (
      {"Lambda_bar": jnp.ones((P, 1))},
      r"Lambda_bar: got shape .*, expected \(P,\)",
    ),
    (
      {"B_bar": jnp.ones((H, P))},
      r"B_bar: got shape .*, expected \(3, 4\)",
    ),
    ({"C": jnp.ones((H, 2))}, r"C: got shape .*, expected \(M, 3\)"),
    ({"u": jnp.ones(H)}, r"u: got shape .*, expected \(\*batch, time, H\)"),
    ({"u": jnp.ones((5, H), int)}, "u: got dtype .*, expected a floating"),
    ({"D": jnp.ones(3)}, r"D: got shape .*, expected \(M,\) with M == H"),
    ({"init": jnp.ones((1, P))}, r"init: got shape .*, expected \(2, 3\)"),
    *methods.BAD_OPTIONS,
  ],
)
def test_bad_arguments_are_named(kwargs, message):
  arguments = {
    "Lambda_bar": jnp.ones(P),
    "B_bar": jnp.ones((P, H)),
    "C": jnp.ones((H, P)),
    "u": jnp.ones((2, 5, H)),
  } | kwargs
  with pytest.raises(ValueError, match=message):
    recurrence.lti_scan(**arguments)
