"""selective_scan against the original code and against a loop over time."""

import functools

import chex
import jax
import jax.numpy as jnp
from jax.test_util import check_grads
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.recurrence import reference
from jaxseq.recurrence.platform import choice
from tests.recurrence import methods

D, N, GROUPS = 4, 3, 2


def problem(time, form="shared", is_complex=False, seed=0):
  rng = np.random.default_rng(seed)

  def draw(*shape):
    x = rng.normal(size=shape)
    return x + 1j * rng.normal(size=shape) if is_complex else x

  shapes = {
    "shared": (2, time, N),
    "groups": (2, time, GROUPS, N),
    "constant": (1, 1, D, N),
  }
  A = -rng.uniform(0.5, 3, (D, N))
  if is_complex:
    A = A + 1j * rng.normal(size=(D, N))
  arguments = {
    "x": rng.normal(size=(2, time, D)),
    "delta": rng.uniform(0.01, 1, (2, time, D)),
    "A": A,
    "B": draw(*shapes[form]),
    "C": draw(*shapes["shared" if form == "groups" else form]),
    "init": draw(2, D, N),
    "D": rng.normal(size=D),
  }
  return arguments, rng.uniform(size=(2, time)) < 0.2


def evaluate(function, arguments, reset):
  """Outputs, and gradients by all arguments from cotangents on both results."""

  def loss(arguments):
    y, final = function(**arguments, reset=reset)
    rng = np.random.default_rng(5)
    value = jnp.sum(y * rng.normal(size=y.shape))
    for part in (jnp.real(final), jnp.imag(final)):
      value += jnp.sum(part * rng.normal(size=final.shape))
    return value, (y, final)

  return jax.jit(jax.value_and_grad(loss, has_aux=True))(arguments)


@pytest.mark.parametrize(
  "case",
  [
    "full",
    "group",
    "complex",
    *(
      pytest.param(case, marks=pytest.mark.slow)
      for case in ("plain", "noz", "constBC")
    ),
  ],
)
def test_golden(x64, golden, case):
  """selective_scan_ref of state-spaces/mamba, both of its losses."""
  del x64
  data = {
    key.removeprefix(f"{case}/"): value
    for key, value in golden("ssm/selective_scan").items()
    if key.startswith(f"{case}/")
  }
  names = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")
  inputs = {key: data[key] for key in names if key in data}

  def run(inputs):
    def time_second(v):
      return jnp.moveaxis(v, -1, 1)

    def weight(v):
      if case == "complex":
        v = v.reshape(*v.shape[:-1], -1, 2)
        return time_second(jax.lax.complex(v[..., 0], v[..., 1]))
      return v[None, None] if case == "constBC" else time_second(v)

    delta = time_second(inputs["delta"]) + inputs.get("delta_bias", 0.0)
    if data["delta_softplus"]:
      delta = jax.nn.softplus(delta)
    y, final = recurrence.selective_scan(
      time_second(inputs["u"]),
      delta,
      inputs["A"],
      weight(inputs["B"]),
      (2 if case == "complex" else 1) * weight(inputs["C"]),
      D=inputs.get("D"),
      chunk_size=5,
    )
    if "z" in inputs:
      y = y * jax.nn.silu(time_second(inputs["z"]))
    return jnp.moveaxis(y, 1, -1), final

  @functools.partial(jax.value_and_grad, has_aux=True)
  def loss(inputs, last):
    y, final = run(inputs)
    value = jnp.sum(jnp.real(jnp.conj(data["w_last"]) * final))
    return jnp.sum(y * data["w"]) + last * value, (y, final)

  compiled = jax.jit(loss)
  for prefix, last in (("grad", 0.0), ("grad_ls", 1.0)):
    (_, (y, final)), grads = compiled(inputs, last)
    close(y, data["out"], 1e-9)
    close(final, data["last_state"], 1e-9)
    for name in inputs:
      # JAX's gradients by complex arrays are the conjugates of PyTorch's.
      close(jnp.conj(grads[name]), data[f"{prefix}_{name}"], 1e-8)


def close(actual, expected, tolerance):
  """Within the golden set's tolerance, relative to the largest value."""
  np.testing.assert_allclose(
    actual, expected, rtol=0, atol=tolerance * max(1.0, np.abs(expected).max())
  )


@pytest.mark.parametrize(
  ("method", "form", "is_complex"),
  [
    pytest.param("sequential", "shared", False, marks=pytest.mark.slow),
    pytest.param("sequential", "constant", True, marks=pytest.mark.slow),
    ("associative", "groups", True),
    pytest.param("associative", "constant", False, marks=pytest.mark.slow),
    ("chunked", "shared", False),
  ],
)
def test_values_and_gradients_equal_the_loop(x64, method, form, is_complex):
  del x64
  arguments, reset = problem(11, form, is_complex)
  # First in a chunk, last in one, and first in the remainder.
  reset[0, 4], reset[1, 7], reset[1, 8], reset[1, 0] = True, True, True, False
  chunked = functools.partial(
    recurrence.selective_scan, chunk_size=4, method=method
  )
  # float64 rounding over 11 elements.
  chex.assert_trees_all_close(
    evaluate(chunked, arguments, reset),
    evaluate(reference.selective_scan, arguments, reset),
    rtol=1e-10,
    atol=1e-12,
  )


def test_one_element_and_no_options(x64):
  del x64
  arguments, _ = problem(1)
  del arguments["init"], arguments["D"]
  chex.assert_trees_all_close(
    evaluate(recurrence.selective_scan, arguments, None),
    evaluate(reference.selective_scan, arguments, None),
    rtol=1e-12,  # float64 rounding.
  )


@pytest.mark.slow
def test_gradients_of_gradients(x64):
  del x64
  arguments, reset = problem(4)

  @jax.jit
  def run(arguments):
    return recurrence.selective_scan(**arguments, reset=reset, chunk_size=2)

  check_grads(run, (arguments,), order=2, modes=["rev"])


@pytest.mark.parametrize("form", ["shared", "groups", "constant"])
def test_steps_equal_the_scan(x64, form):
  del x64
  arguments, reset = problem(6, form)
  y, final = jax.jit(recurrence.selective_scan)(**arguments, reset=reset)
  state, ys = arguments.pop("init"), []
  step = jax.jit(recurrence.selective_step)
  for t in range(6):
    element = {key: arguments[key] for key in ("A", "D")} | {
      key: arguments[key][:, t] for key in ("x", "delta")
    }
    for key in ("B", "C"):
      element[key] = arguments[key][:, 0 if form == "constant" else t]
    y_t, state = step(**element, state=state, reset=reset[:, t])
    ys.append(y_t)
  # float64 rounding.
  chex.assert_trees_all_close((jnp.stack(ys, 1), state), (y, final), rtol=1e-12)


def test_many_states_are_summed_alike(x64):
  """More states than the written-out sum takes."""
  del x64
  n = 40
  rng = np.random.default_rng(0)
  arguments = {
    "x": rng.normal(size=(2, 5, D)),
    "delta": rng.uniform(0.01, 1, (2, 5, D)),
    "A": -rng.uniform(0.5, 3, (D, n)),
    "B": rng.normal(size=(2, 5, n)),
    "C": rng.normal(size=(2, 5, n)),
  }
  # float64 rounding.
  chex.assert_trees_all_close(
    evaluate(recurrence.selective_scan, arguments, None),
    evaluate(reference.selective_scan, arguments, None),
    rtol=1e-11,
  )


@pytest.mark.parametrize("method", methods.METHODS)
def test_a_reset_forgets_inf_and_nan(method):
  arguments, _ = problem(9)
  arguments = jax.tree.map(lambda v: jnp.asarray(v, jnp.float32), arguments)
  x, delta = arguments.pop("x"), arguments.pop("delta")
  x = x.at[:, 2].set(jnp.inf).at[0, 3].set(jnp.nan)
  delta = delta.at[1, 3].set(jnp.nan)
  reset = jnp.zeros((2, 9), bool).at[:, 4].set(True)

  def loss(x, delta, init):
    y, final = recurrence.selective_scan(
      x,
      delta,
      **arguments | {"init": init},
      reset=reset,
      chunk_size=8,
      method=method,
    )
    return jnp.sum(y[:, 4:]) + jnp.sum(final)

  init = jnp.full((2, D, N), jnp.inf)
  compiled = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))
  value, (d_x, d_delta, d_init) = compiled(x, delta, init)
  chex.assert_tree_all_finite((value, d_x[:, 4:], d_delta[:, 4:]))
  # Row 1 has an undefined decay before the reset.
  assert not d_init[0].any()


@pytest.mark.parametrize(
  "batch", [pytest.param((), marks=pytest.mark.slow), (2, 3)]
)
def test_batch_axes_equal_vmap(batch):
  rng = np.random.default_rng(1)
  time = 7

  def draw(*shape):
    return rng.uniform(0.1, 1, (*batch, *shape)).astype("f")

  A = -rng.uniform(0.5, 3, (D, N)).astype("f")
  arguments = draw(time, D), draw(time, D), draw(time, N), draw(time, 2, N)
  init, reset = draw(D, N), draw(time) < 0.3

  def one(x, delta, B, C, init, reset):
    return recurrence.selective_scan(x, delta, A, B, C, init, reset=reset)

  mapped = one
  for _ in batch:
    mapped = jax.vmap(mapped)
  got = jax.jit(one)(*arguments, init, reset)
  # The same operations in another layout.
  chex.assert_trees_all_close(
    got,
    jax.jit(mapped)(*arguments, init, reset),
    rtol=1e-6,
    atol=1e-6,
  )
  assert got[0].shape == (*batch, time, D)
  assert got[1].shape == (*batch, D, N)


def test_bfloat16_inputs_are_accumulated_in_float32():
  arguments, reset = problem(50)
  arguments = jax.tree.map(lambda v: jnp.asarray(v, jnp.float32), arguments)
  wide = arguments | {"x": arguments["x"].astype(jnp.bfloat16)}
  scan = jax.jit(recurrence.selective_scan)
  y, final = scan(**wide, reset=reset)
  wide["x"] = wide["x"].astype(jnp.float32)
  exact, exact_final = scan(**wide, reset=reset)
  assert y.dtype == jnp.bfloat16
  assert final.dtype == jnp.float32
  # Only the result is rounded, to 8 bits; the state not at all.
  np.testing.assert_allclose(y.astype("f4"), exact, rtol=2**-8, atol=1e-6)
  np.testing.assert_allclose(final, exact_final, rtol=1e-6)


def test_bfloat16_inputs_are_kept_as_they_are_for_the_gradient():
  arguments, reset = problem(16)
  arguments = {
    name: jnp.asarray(v, "bfloat16" if np.ndim(v) == 3 else "float32")
    for name, v in arguments.items()
  } | {"init": jnp.zeros((2, D, N))}

  def run(arguments):
    return recurrence.selective_scan(**arguments, reset=reset, chunk_size=4)

  (_, final), pull = jax.vjp(run, arguments)
  assert final.dtype == jnp.float32
  kept = [leaf for leaf in jax.tree.leaves(pull) if leaf.shape[:2] == (2, 16)]
  assert {leaf.dtype.name for leaf in kept} == {"bfloat16", "bool"}
  d_y, d_final = jnp.ones((2, 16, D), jnp.bfloat16), jnp.ones_like(final)
  (gradients,) = pull((d_y, d_final))
  chex.assert_trees_all_equal_shapes_and_dtypes(gradients, arguments)


@pytest.mark.parametrize("method", methods.quick("chunked"))
def test_memory_does_not_hold_the_states(method):
  """Temporaries of the gradient stay well below one array of all states."""
  d, n, time = 16, 32, 4096
  f = functools.partial(recurrence.selective_scan, method=method)

  def loss(x, delta, A, B, C):
    return jnp.sum(f(x, delta, A, B, C, chunk_size=64)[0] ** 2)

  shapes = ((2, time, d), (2, time, d), (d, n), (2, time, n), (2, time, n))
  compiled = (
    jax.jit(jax.grad(loss, range(5)))
    .lower(*(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes))
    .compile()
  )
  all_states = 2 * time * d * n * 4
  assert compiled.memory_analysis().temp_size_in_bytes < all_states / 3


def test_default_chunks_have_no_remainder_where_they_can():
  def size(time, platform="cpu", rows=2, d=D):
    shape = (rows, time, d, N)
    return choice.choose("selective", platform, None, jnp.float32, shape)[1]

  for time, expected in ((1, 1), (31, 31), (784, 28), (1000, 25), (4096, 64)):
    assert size(time) == {"chunk_size": expected}
  # No divisor near the square root.
  assert size(4099) == {"chunk_size": 64}
  # What the gradient keeps of a chunk fits a TPU's memory on the chip.
  assert size(4096, "tpu") == {"chunk_size": 64}
  assert size(4096, "tpu", 32, 2048) == {"chunk_size": 32}


@pytest.mark.parametrize(
  ("kwargs", "message"),
  [
    ({"x": jnp.ones(D)}, r"x: got shape .*, expected \(\*batch, time, d\)"),
    ({"x": jnp.ones((2, 0, D))}, "with at least one element"),
    ({"x": jnp.ones((2, 5, D), int)}, "x: got dtype .*, expected a floating"),
    (
      {"delta": jnp.ones((2, 5, 1))},
      r"delta: got shape .*, expected \(2, 5, 4\)",
    ),
    ({"A": jnp.ones((N, D))}, r"A: got shape .*, expected \(4, n\)"),
    (
      {"B": jnp.ones((2, 5, 4))},
      r"B: got shape \(2, 5, 4\), expected \(2, 5, 3\), \(2, 5",
    ),
    (
      {"C": jnp.ones((2, 5, 3, N))},
      r"C: got shape .*, expected .* divisor of d = 4",
    ),
    (
      {"C": jnp.ones((D, N))},
      r"C: got shape \(4, 3\), expected .* or \(1, 1, 4, 3\)",
    ),
    (
      {"B": jnp.ones((2, 5, 2, N)), "C": jnp.ones((2, 5, 4, N))},
      "got .*2 and 4.*, expected equally many groups",
    ),
    ({"D": jnp.ones(3)}, r"D: got shape \(3,\), expected \(4,\)"),
    ({"init": jnp.ones((D, N))}, r"init: got shape .*, expected \(2, 4, 3\)"),
    *methods.BAD_OPTIONS,
  ],
)
def test_bad_arguments_are_named(kwargs, message):
  arguments = {
    "x": jnp.ones((2, 5, D)),
    "delta": jnp.ones((2, 5, D)),
    "A": -jnp.ones((D, N)),
    "B": jnp.ones((2, 5, N)),
    "C": jnp.ones((2, 5, N)),
  } | kwargs
  with pytest.raises(ValueError, match=message):
    recurrence.selective_scan(**arguments)


def test_step_names_bad_arguments():
  arguments = jnp.ones((2, D)), jnp.ones((2, D)), -jnp.ones((D, N))
  weights = jnp.ones((2, N)), jnp.ones((2, N))
  with pytest.raises(
    ValueError, match=r"state: got shape .*, expected \(2, 4, 3\)"
  ):
    recurrence.selective_step(*arguments, *weights, jnp.ones((D, N)))


@pytest.mark.parametrize("method", methods.METHODS)
def test_no_rows_at_all(method):
  x, B = jnp.ones((0, 5, 3)), jnp.ones((0, 5, 2))
  y, final = recurrence.selective_scan(
    x, x, -jnp.ones((3, 2)), B, B, method=method
  )
  assert y.shape == x.shape
  assert final.shape == (0, 3, 2)
