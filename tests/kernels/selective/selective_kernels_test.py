"""The kernels of the selective scan, interpreted, against steps in float64."""

import functools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.recurrence import kernels
from jaxseq.recurrence import reference
from jaxseq.recurrence.platform import choice

CHIPS = [
  "tpu",
  pytest.param(
    "gpu",
    marks=pytest.mark.skipif(
      jax.__version_info__ < (0, 11), reason="needs jax 0.11"
    ),
  ),
]
pallas = functools.partial(recurrence.selective_scan, method="pallas")


def problem(time, *, d=3, n=2, rows=1, groups=None, dtype="float32"):
  rng = np.random.default_rng(0)
  per_group = (n,) if groups is None else (groups, n)

  def draw(*shape, dtype="float32"):
    return jnp.asarray(rng.normal(size=shape), dtype)

  arguments = {
    "x": draw(rows, time, d, dtype=dtype),
    "delta": jnp.asarray(rng.uniform(0.01, 1, (rows, time, d)), dtype),
    "A": jnp.asarray(-rng.uniform(0.5, 3, (d, n)), "float32"),
    "B": draw(rows, time, *per_group, dtype=dtype),
    "C": draw(rows, time, n, dtype=dtype),
    "init": draw(rows, d, n),
    "D": draw(d),
  }
  return arguments, rng.uniform(size=(rows, time)) < 0.2


def evaluate(function, arguments, reset):
  """Both results, and gradients by all arguments from cotangents on both."""

  @jax.jit
  def run(arguments):
    results, pull = jax.vjp(lambda a: function(**a, reset=reset), arguments)
    rng = np.random.default_rng(1)
    # Numbers that no dtype rounds.
    cotangents = jax.tree.map(
      lambda x: jnp.asarray(rng.integers(-8, 9, x.shape) / 8, x.dtype), results
    )
    return results, pull(cotangents)[0]

  return run(arguments)


def check(chip, arguments, reset, tolerance=2e-6):
  """Results and gradients are those of plain steps in float64.

  The tolerance is relative to the largest number of an array: sums of some
  hundred float32 products, each rounded by 6e-8.
  """
  with kernels.interpret(chip):
    found = evaluate(pallas, arguments, reset)
  wide = jax.tree.map(lambda x: x.astype("float64"), arguments)
  wanted = evaluate(reference.selective_scan, wide, reset)
  like = {"x": arguments["x"], "final": jnp.float32(0)}
  assert [x.dtype for x in found[0]] == [x.dtype for x in like.values()]

  def leaf(found, wanted):
    atol = tolerance * max(1, np.abs(wanted).max())
    found = np.asarray(found, "f8")
    np.testing.assert_allclose(found, wanted, rtol=0, atol=atol)

  jax.tree.map(leaf, found, wanted)
  for name, gradient in found[1].items():
    assert gradient.dtype == arguments[name].dtype


@pytest.mark.slow
def test_values_and_gradients_equal_plain_steps(x64):
  del x64
  check("tpu", *problem(3))


@pytest.mark.slow
@pytest.mark.parametrize("chip", CHIPS[1:])
def test_gradients_on_a_gpu_equal_plain_steps(x64, chip):
  """In its interpreter they take some seconds."""
  del x64
  check(chip, *problem(3))


@pytest.mark.slow
@pytest.mark.parametrize("chip", CHIPS[1:])
def test_values_on_a_gpu_equal_plain_steps(x64, chip):
  del x64
  arguments, reset = problem(3)
  with kernels.interpret(chip):
    found = jax.jit(pallas)(**arguments, reset=reset)
  wide = jax.tree.map(lambda x: x.astype("float64"), arguments)
  wanted = reference.selective_scan(**wide, reset=reset)
  for each, exact in zip(found, wanted):
    # As in `check`.
    np.testing.assert_allclose(
      each, exact, rtol=0, atol=2e-6 * abs(exact).max()
    )


@pytest.mark.slow
@pytest.mark.parametrize("chip", CHIPS)
def test_several_rows_and_blocks_of_channels(x64, chip):
  del x64
  check(chip, *problem(5, d=130, n=9, rows=2))


@pytest.mark.slow
@pytest.mark.parametrize("chip", CHIPS)
def test_more_tiles_than_are_in_flight(x64, chip):
  del x64
  time = {"tpu": 300, "gpu": 70}[chip]
  check(chip, *problem(time))


@pytest.mark.slow
@pytest.mark.parametrize("chip", CHIPS[1:])
@pytest.mark.parametrize("share", [0, 0.05])
def test_segments_of_time_change_nothing(x64, chip, share):
  """Of 32 elements, the last with padding."""
  del x64
  arguments, reset = problem(40, rows=2)
  if share:
    reset = np.random.default_rng(3).uniform(size=reset.shape) < share
    assert reset[0].any()
  with mock.patch.object(choice, "_segments", return_value=2):
    check(chip, arguments, reset if share else None)


def test_segments_only_where_there_are_few_blocks():
  def options(platform, *shape):
    _, found = choice.choose(
      "selective", platform, None, jnp.bfloat16, shape, "pallas"
    )
    return found

  assert options("gpu", 8, 4096, 2048, 16)["segments"] == 1
  assert options("gpu", 8, 4096, 256, 16)["segments"] == 8
  assert options("gpu", 1, 262144, 256, 16)["segments"] == 64
  assert "segments" not in options("tpu", 1, 262144, 256, 16)


@pytest.mark.slow
@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("groups", [1, 2])
def test_groups_and_no_options(x64, chip, groups):
  del x64
  arguments, _ = problem(5, d=4, groups=groups)
  del arguments["init"], arguments["D"]
  check(chip, arguments, None)


@pytest.mark.slow
@pytest.mark.parametrize("chip", CHIPS)
def test_bfloat16_is_read_and_written_and_float32_inside(x64, chip):
  del x64
  # Results are rounded to 8 bits.
  check(chip, *problem(20, dtype="bfloat16"), tolerance=2**-8)


@pytest.mark.slow
@pytest.mark.parametrize("chip", CHIPS)
def test_a_reset_forgets_inf_and_nan(chip):
  arguments, _ = problem(9, rows=2)
  x, delta = arguments.pop("x"), arguments.pop("delta")
  x = x.at[:, 2].set(jnp.inf).at[0, 3].set(jnp.nan)
  delta = delta.at[1, 3].set(jnp.nan)
  reset = jnp.zeros((2, 9), bool).at[:, 4].set(True)

  def loss(x, delta, init):
    rest = arguments | {"init": init, "reset": reset}
    y, final = pallas(x, delta, **rest)
    return jnp.sum(y[:, 4:]) + jnp.sum(final)

  init = jnp.full_like(arguments["init"], jnp.inf)
  with kernels.interpret(chip):
    value, (d_x, d_delta, d_init) = jax.jit(
      jax.value_and_grad(loss, (0, 1, 2))
    )(x, delta, init)
  for finite in (value, d_x[:, 4:], d_delta[:, 4:]):
    assert np.isfinite(finite).all()
  # Row 1 has an undefined decay before the reset.
  assert not d_init[0].any()


@pytest.mark.slow
@pytest.mark.parametrize("chip", CHIPS)
def test_vmap_and_no_batch_equal_rows(chip):
  arguments, reset = problem(5, rows=2)
  A, D = arguments.pop("A"), arguments.pop("D")

  def one(arguments, reset):
    return pallas(**arguments, A=A, D=D, reset=reset)

  with kernels.interpret(chip):
    found = jax.jit(jax.vmap(one))(arguments, reset)
    wanted = jax.jit(one)(arguments, reset)
  jax.tree.map(np.testing.assert_array_equal, found, wanted)


@pytest.mark.slow
@pytest.mark.parametrize("chip", CHIPS)
def test_gradients_of_gradients(x64, chip):
  del x64
  arguments, reset = problem(4)

  def second(function, arguments):
    def loss(arguments):
      y, final = function(**arguments, reset=reset)
      return jnp.sum(y**2) + jnp.sum(final**3)

    def norm(arguments):
      gradients = jax.tree.leaves(jax.grad(loss)(arguments))
      return sum(jnp.sum(jnp.sin(each)) for each in gradients)

    return jax.jit(jax.grad(norm))(arguments)

  with kernels.interpret(chip):
    found = second(pallas, arguments)
  wide = jax.tree.map(lambda x: x.astype("float64"), arguments)
  wanted = second(reference.selective_scan, wide)
  for name, gradient in found.items():
    # Sums of float32 products whose terms are some ten times the sum.
    atol = 2e-5 * np.abs(wanted[name]).max()
    np.testing.assert_allclose(gradient, wanted[name], rtol=0, atol=atol)


def states(n):
  """Arguments of that many states of each channel."""
  B = jnp.ones((1, 5, n))
  return {"A": -jnp.ones((3, n)), "B": B, "C": B, "init": None}


@pytest.mark.parametrize(
  ("chip", "change", "message"),
  [
    ("tpu", {"A": -jnp.ones((3, 2), "complex64")}, r"got dtypes \['complex64'"),
    ("tpu", {"x": jnp.ones((1, 5, 3), "float16")}, r"got dtypes \['float16'"),
    ("tpu", {"B": jnp.ones((1, 1, 3, 2))}, "that is the same at all times"),
    ("gpu", states(17), "got 17 states on a gpu, expected at most 16"),
    ("tpu", states(129), "got 129 states on a tpu, expected at most 128"),
  ],
)
def test_what_has_no_kernel_says_so(chip, change, message):
  arguments, _ = problem(5)
  message = "method='pallas' of selective_scan: .*" + message
  with (
    kernels.interpret(chip),
    pytest.raises(NotImplementedError, match=message),
  ):
    pallas(**arguments | change)


def test_a_cpu_has_no_kernel():
  arguments, _ = problem(5)
  with pytest.raises(NotImplementedError, match="got platform cpu, expected"):
    pallas(**arguments)
