"""siso_scan and its kernels against the recurrence, one step at a time."""

import chex
import jax
import jax.numpy as jnp
from jax.test_util import check_grads
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.recurrence import reference
from jaxseq.recurrence.systems import _siso_systems
from tests.recurrence import narrow

H, N = 3, 2
KINDS = ("real", "complex", "matrix")


def _slow(*values, kinds=KINDS):
  return [pytest.param(*values, kind, marks=pytest.mark.slow) for kind in kinds]


def problem(kind, time, batch=(2,), seed=0):
  rng = np.random.default_rng(seed)

  def draw(*shape):
    x = rng.normal(size=shape)
    return x + 1j * rng.normal(size=shape) if kind == "complex" else x

  A = rng.uniform(0.5, 1, (H, N))
  if kind == "complex":
    A = A * np.exp(1j * rng.normal(size=(H, N)))
  if kind == "matrix":
    A = np.linalg.qr(rng.normal(size=(H, N, N)))[0] * A[..., None]
  u, init = rng.normal(size=(*batch, time, H)), draw(*batch, H, N)
  reset = rng.uniform(size=(*batch, time)) < 0.15
  return (A, draw(H, N), draw(H, N), u, init), reset


@pytest.mark.parametrize(
  ("time", "size", "state", "flags", "kind"),
  [
    # Chunks with squares of two sizes and a shorter first one.
    *((43, 16, True, True, kind) for kind in ("complex", "matrix")),
    *_slow(43, 16, True, True, kinds=("real",)),
    # Without resets the smallest blocks are larger than a small chunk.
    (150, 64, False, False, "real"),
    *_slow(150, 64, False, False, kinds=("complex", "matrix")),
    *_slow(43, None, True, False),
    (1, None, True, True, "matrix"),
    *_slow(1, None, True, True, kinds=("real", "complex")),
  ],
)
def test_values_and_gradients(x64, time, size, state, flags, kind):
  arguments, reset = problem(kind, time)
  reset = reset if flags else None
  if not state:
    arguments = arguments[:-1]
  rng = np.random.default_rng(1)
  w, w_final = rng.normal(size=(2, time, H)), rng.normal(size=(2, H, N))

  def evaluate(function, **options):
    def loss(*arguments):
      y, final = function(*arguments, reset=reset, **options)
      value = jnp.sum(y * w) + jnp.sum(jnp.real(final * w_final))
      return value, (y, final)

    argnums = range(len(arguments))
    return jax.jit(jax.value_and_grad(loss, argnums, has_aux=True))(*arguments)

  chex.assert_trees_all_close(
    evaluate(recurrence.siso_scan, chunk_size=size),
    evaluate(reference.siso_scan),
    # float64 rounding over at most 150 elements.
    rtol=1e-10,
    atol=1e-11,
  )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
  "length", [1, pytest.param(7, marks=pytest.mark.slow), 40]
)
def test_kernel_is_the_impulse_response(x64, kind, length):
  (A, B, C, _, _), _ = problem(kind, 1)
  impulse = jnp.zeros((length, H)).at[0].set(1)
  expected, _ = reference.siso_scan(A, B, C, impulse)
  kernel = recurrence.siso_kernel(A, B, C, length)
  # float64 rounding.
  np.testing.assert_allclose(kernel, expected.T, rtol=1e-11, atol=1e-12)


def test_convolution_by_fft(x64):
  (A, B, C, u, _), _ = problem("complex", 21)
  y = recurrence.fft_convolution(u, recurrence.siso_kernel(A, B, C, 21))
  # float64 rounding.
  np.testing.assert_allclose(
    y, reference.siso_scan(A, B, C, u)[0], rtol=1e-11, atol=1e-11
  )


@pytest.mark.slow
def test_gradients_of_gradients(x64):
  (A, B, C, u, init), reset = problem("matrix", 5)

  @jax.jit
  def run(A, u):
    return recurrence.siso_scan(
      A, B, C, u, init, reset=jnp.asarray(reset), chunk_size=2
    )

  check_grads(run, (A, u), order=2, modes=["rev"])


@pytest.mark.parametrize(
  "kind",
  [
    "complex",
    *(pytest.param(x, marks=pytest.mark.slow) for x in ("real", "matrix")),
  ],
)
def test_nothing_undefined_passes_a_reset(kind):
  (A, B, C, u, init), _ = problem(kind, 30, batch=())
  u = u.astype(np.float32)
  system = [
    x.astype(np.complex64 if kind == "complex" else "f") for x in (A, B, C)
  ]
  reset = np.zeros(30, bool)
  reset[[3, 13, 24]] = True

  @jax.jit
  @jax.value_and_grad
  def loss(u, init):
    y, final = recurrence.siso_scan(
      *system, u, init, reset=jnp.asarray(reset), chunk_size=8
    )
    return jnp.sum(y[13:24] ** 2) + jnp.sum(jnp.abs(final))

  clean = loss(u, init.astype(system[0].dtype))
  broken = u.copy()
  broken[:13] = np.nan
  broken[14:20] = u[14:20]
  bad = loss(
    broken,
    np.full_like(system[0], np.inf)
    if kind != "matrix"
    else np.full((H, N), np.inf, "f"),
  )
  np.testing.assert_allclose(bad[0], clean[0], rtol=1e-6)
  np.testing.assert_allclose(bad[1][13:], clean[1][13:], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("kind", "flags"),
  [
    ("complex", False),
    pytest.param("complex", True, marks=pytest.mark.slow),
    pytest.param("matrix", False, marks=pytest.mark.slow),
  ],
)
def test_bfloat16_inputs_are_rounded_for_products_alone(
  x64, monkeypatch, kind, flags
):
  """In sections of time, of which the last is shorter."""
  monkeypatch.setattr(_siso_systems, "section", lambda *_: 32)
  (*system, u, init), reset = problem(kind, 70)
  reset = jnp.asarray(reset) if flags else None
  single = np.complex64 if kind == "complex" else np.float32
  system, init = [x.astype(single) for x in system], init.astype(single)
  u = narrow.rounded(u)
  weights = narrow.rounded(np.random.default_rng(1).normal(size=u.shape))

  def loss(system, u, init):
    y, final = recurrence.siso_scan(
      *system, u, init, reset=reset, chunk_size=16
    )
    value = jnp.sum((y * weights).astype(float)) + jnp.sum(jnp.abs(final) ** 2)
    return value, (y, final)

  gradient = jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))
  (_, got), grads = gradient(system, u, init)
  chex.assert_trees_all_equal_dtypes(
    (got, grads), ((u, init), (system, u, init))
  )
  (_, exact), slopes = gradient(*narrow.exact((system, u, init)))
  # What enters products is rounded, and what comes out; measured 0.9.
  assert (
    max(jax.tree.leaves(narrow.errors((got, grads), (exact, slopes)))) < 1.5
  )
  if not flags:  # Small blocks at a reset are no products.
    assert not narrow.wide_products(gradient, system, u, init)


def test_states_of_bfloat16_inputs_do_not_drift():
  """In bfloat16 a sum of ones would stop growing at 256."""
  time, A = 4096, np.full((1, 1), 1 - 1e-4, np.float32)
  u = jnp.ones((1, time, 1), jnp.bfloat16)
  one = jnp.ones((1, 1))
  y, final = jax.jit(recurrence.siso_scan)(A, one, one, u)
  expected = np.cumsum(np.float64(A[0]) ** np.arange(time))
  # Powers of A in a chunk, all near 1, are rounded to one side.
  np.testing.assert_allclose(
    final[0, 0], expected[-1:], rtol=narrow.UNIT + 1e-5
  )
  # So is what is read of a state, by a power and the state, and the output.
  rtol = 4 * narrow.UNIT + 1e-5
  np.testing.assert_allclose(y[0, :, 0].astype("f4"), expected, rtol=rtol)


def test_memory_holds_no_state_per_element():
  shape = (2, 2048, 16)
  u = jax.ShapeDtypeStruct(shape, jnp.float32)
  A = jax.ShapeDtypeStruct((16, 32), jnp.complex64)

  def loss(A, B, C, u):
    return jnp.sum(recurrence.siso_scan(A, B, C, u)[0] ** 2)

  compiled = jax.jit(jax.grad(loss, range(4))).lower(A, A, A, u).compile()
  # Inputs are 256 KiB, all states would be 16 MiB; with chunks of 64 there is
  # one state of 64 numbers for 64 elements, as much as the inputs. Versions of
  # the compiler keep 16 to 17 such arrays.
  assert compiled.memory_analysis().temp_size_in_bytes < 20 * 2**18


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    (
      {"A": np.ones((H, 5))},
      r"A: got shape .*, expected \(3, 2\) or \(3, 2, 2\)",
    ),
    ({"B": np.ones(3)}, r"B: got shape \(3,\), expected \(H, N\)"),
    ({"C": np.ones((H, 5))}, r"C: got shape .*, expected \(3, 2\)"),
    ({"A": np.ones((H, N, N)) * 1j}, "expected real if A has matrices"),
    (
      {"u": np.ones((2, 4, 5))},
      r"u: got shape .*, expected \(\*batch, time, 3\)",
    ),
    ({"u": np.ones((2, 0, H))}, "at least one element"),
    ({"u": np.ones((2, 4, H), int)}, "u: got dtype .*, expected a floating"),
    ({"init": np.ones((H, N))}, r"init: got shape .*, expected \(2, 3, 2\)"),
    (
      {"reset": np.ones((2, 5), bool)},
      r"reset: got shape .*, expected \(2, 4\)",
    ),
    ({"chunk_size": 6}, "chunk_size: got 6, expected a power of two or None"),
  ],
)
def test_bad_arguments_are_named(changes, message):
  (A, B, C, u, init), _ = problem("real", 4)
  arguments = {"A": A, "B": B, "C": C, "u": u, "init": init} | changes
  with pytest.raises(ValueError, match=message):
    recurrence.siso_scan(**arguments)
