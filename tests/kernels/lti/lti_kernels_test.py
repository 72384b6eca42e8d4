"""`lti_scan` by kernels, against the loop."""

import contextlib
import functools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.kernels.lti import _gpu_fused
from jaxseq.recurrence import kernels
from jaxseq.recurrence.platform import choice
from jaxseq.recurrence.platform import support
from tests.kernels.linear import linear_kernels_test
from tests.recurrence import methods

P, H = 3, 4


def problem(time, is_complex, reset, *, rows=2, P=P, H=H, M=None):
  """Arguments of some rows; there is a D if inputs and outputs are as many."""
  rng = np.random.default_rng(0)

  def draw(*shape):
    x = rng.normal(size=shape)
    x = x + 1j * rng.normal(size=shape) if is_complex else x
    return x.astype("c8" if is_complex else "f4")

  a = rng.uniform(0.5, 0.99, P) * np.exp(1j * rng.normal(size=P) * is_complex)
  a = a.astype("c8") if is_complex else a.real.astype("f4")
  arguments = {
    "Lambda_bar": a,
    "B_bar": draw(P, H) / H,
    "C": draw(M or H, P) / P,
    "u": rng.normal(size=(rows, time, H)).astype("f4"),
    "init": draw(rows, P),
  }
  if M is None:
    arguments["D"] = rng.normal(size=H).astype("f4")
  return arguments, methods.make_reset(rng, "random", (rows, time), reset)


def check(chip, arguments, reset, reverse=False, chunk_size=None):
  """Values and gradients are those of the loop."""

  def run(method):
    def loss(arguments):
      y, final = recurrence.lti_scan(
        **arguments,
        reset=reset,
        reverse=reverse,
        chunk_size=chunk_size,
        method=method,
      )
      return jnp.sum(jnp.sin(y)) + jnp.sum(jnp.abs(final) ** 2), (y, final)

    return jax.jit(jax.value_and_grad(loss, has_aux=True))(arguments)

  with kernels.interpret(chip):
    found = run("pallas")
  # Gradients of weights are sums over some hundred elements.
  jax.tree.map(linear_kernels_test.close, found, run("sequential"))


@contextlib.contextmanager
def counting():
  """Which kernels are called, in order."""
  from jaxseq.kernels.lti import _gpu as _lti_gpu

  calls = []

  def counted(name, function, *arguments):
    calls.append(name)
    return function(*arguments)

  jax.clear_caches()
  with contextlib.ExitStack() as stack:
    for name in ("summary", "states", "gradient"):
      function = functools.partial(counted, name, getattr(_lti_gpu, name))
      stack.enter_context(mock.patch.object(_lti_gpu, name, function))
    yield calls


@pytest.mark.slow
@pytest.mark.parametrize("chip", linear_kernels_test.CHIPS)
@pytest.mark.parametrize(
  ("is_complex", "reverse", "chunk_size"),
  [(True, False, None), (True, True, 20), (False, True, None)],
)
def test_values_and_gradients_equal_those_of_the_loop(
  chip, is_complex, reverse, chunk_size
):
  """In one chunk, and in chunks with a remainder."""
  arguments, reset = problem(50, is_complex, 0.1)
  check(chip, arguments, reset, reverse=reverse, chunk_size=chunk_size)


@pytest.mark.slow
@pytest.mark.parametrize("chip", linear_kernels_test.CHIPS[1:])
def test_one_kernel_on_a_gpu_equals_the_loop(chip):
  arguments, reset = problem(64, True, 0.1, H=32)

  def run(method):
    how = {"reset": reset, "method": method}
    return jax.jit(functools.partial(recurrence.lti_scan, **how))(**arguments)

  with kernels.interpret(chip), counting() as calls:
    found = run("pallas")
  assert calls == ["states"]
  jax.tree.map(linear_kernels_test.close, found, run("sequential"))


@pytest.mark.slow
@pytest.mark.parametrize("chip", linear_kernels_test.CHIPS[1:])
def test_its_gradient_takes_one_kernel_more(chip):
  arguments, reset = problem(64, True, 0.1, H=32)
  with counting() as calls:
    check(chip, arguments, reset)
  assert set(calls) == {"states", "gradient"}


@pytest.mark.slow
@pytest.mark.parametrize("chip", linear_kernels_test.CHIPS[1:])
@pytest.mark.parametrize(
  ("time", "is_complex", "reset", "reverse", "chunk_size", "sizes"),
  [
    # Padding at the end of time, which comes first backwards.
    (100, True, 0.1, True, None, {}),
    # Two blocks of real channels, no D, no flags at all.
    (128, False, 0, False, None, {"P": 130, "M": 64}),
    # Chunks with a remainder, and one shorter than a tile.
    (200, True, 0.02, True, 90, {}),
  ],
)
def test_one_kernel_on_a_gpu_in_all_layouts(
  chip, time, is_complex, reset, reverse, chunk_size, sizes
):
  arguments, reset = problem(time, is_complex, reset, H=32, **sizes)
  check(chip, arguments, reset, reverse=reverse, chunk_size=chunk_size)


@pytest.mark.slow
@pytest.mark.parametrize("chip", linear_kernels_test.CHIPS[1:])
@pytest.mark.parametrize("reverse", [False, True])
def test_one_kernel_on_a_gpu_takes_segments(chip, reverse):
  """Two of 192 elements each, the last with padding."""
  arguments, reset = problem(270, True, 0.01, rows=1, H=32)
  with counting() as calls:
    check(chip, arguments, reset, reverse=reverse)
  assert sorted(set(calls)) == ["gradient", "states", "summary"]


@pytest.mark.slow
@pytest.mark.parametrize("chip", linear_kernels_test.CHIPS[1:])
def test_one_kernel_on_a_gpu_has_second_derivatives(chip):
  arguments, reset = problem(64, True, 0.1, H=32)

  def second(method):
    def slope(u):
      def loss(u):
        y, final = recurrence.lti_scan(
          **arguments | {"u": u}, reset=reset, method=method
        )
        return jnp.sum(jnp.sin(y)) + jnp.sum(jnp.abs(final) ** 2)

      return jnp.sum(jax.grad(loss)(u) ** 2)

    return jax.jit(jax.grad(slope))(arguments["u"])

  with kernels.interpret(chip):
    linear_kernels_test.close(second("pallas"), second("sequential"))


@pytest.mark.slow
# The interpreter computes products with NumPy.
@pytest.mark.filterwarnings("ignore:invalid value encountered")
@pytest.mark.parametrize("chip", linear_kernels_test.CHIPS[1:])
def test_one_kernel_on_a_gpu_forgets_inf(chip):
  arguments, _ = problem(64, True, 0, H=32)
  arguments["init"] = np.full((2, P), np.inf, "c8")
  reset = np.zeros((2, 64), bool)
  reset[:, 10] = True

  def run(u):
    how = {"reset": reset, "method": "pallas"}
    return recurrence.lti_scan(**arguments | {"u": u}, **how)[0]

  with kernels.interpret(chip):
    y, pull = jax.vjp(run, arguments["u"])
    (du,) = pull(jnp.ones_like(y).at[:, :10].set(0))
  assert not np.isfinite(y[:, :10]).any()
  assert np.isfinite(y[:, 10:]).all()
  assert np.isfinite(du).all()


@pytest.mark.parametrize("chip", linear_kernels_test.CHIPS[1:])
def test_what_one_kernel_does_not_take(chip):
  """Other sizes and dtypes, and products of more bits than tensor cores'."""
  form = support.Form(chip, True)

  def fits(*, P=128, H=256, M=256, time=64, rows=1, dtype="float32"):
    w_in, w_out = np.zeros((H, 2 * P), "f4"), np.zeros((2 * P, M), "f4")
    system = (np.zeros(P), np.zeros(P)), w_in, w_out, None
    u = jax.ShapeDtypeStruct((rows, time, H), dtype)
    return _gpu_fused.fits(form, system, u)

  assert fits()
  for change in (
    {"P": 129},
    {"H": 288},
    {"M": 48},
    {"time": 63},
    {"rows": 0},
    {"dtype": "bfloat16"},
  ):
    assert not fits(**change)
  with jax.default_matmul_precision("highest"):
    assert not fits()


@pytest.mark.slow
def test_the_gradient_may_be_traced_after_its_context():
  arguments, _ = problem(5, False, 0)
  with kernels.interpret():
    y, pull = jax.vjp(
      lambda u: recurrence.lti_scan(**arguments | {"u": u}, method="pallas")[0],
      arguments["u"],
    )
  _, expected = jax.vjp(
    lambda u: recurrence.lti_scan(**arguments | {"u": u})[0], arguments["u"]
  )
  jax.tree.map(linear_kernels_test.close, pull(y), expected(y))


def test_a_chunk_is_as_long_as_memory_allows():
  def size(*shape):
    _, options = choice.choose(
      "lti", "gpu", "sm_90", jnp.float32, shape, "pallas"
    )
    return options["chunk_size"]

  assert size(8, 4096, 256, 128) == 4096
  assert size(1, 2**20, 256, 128) == 2**18
  assert size(1024, 4096, 256, 128) == 1024
