"""The linear kernels in Pallas's interpreters, against the loop in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.kernels.linear import scan as linear_kernels
from jaxseq.recurrence import kernels
from jaxseq.recurrence import reference
from jaxseq.recurrence.platform import choice
from jaxseq.recurrence.platform import support
from tests.recurrence import methods

CHIPS = [
  "tpu",
  pytest.param(
    "gpu",
    marks=pytest.mark.skipif(
      jax.__version_info__ < (0, 11), reason="no interpreter before jax 0.11"
    ),
  ),
]
# Relative to the largest number: 100 * eps of float32 with room, as for the
# other methods.
TOLERANCE = 3e-5


def make(shape, dtype, *seed):
  rng = np.random.default_rng(seed)
  x = rng.normal(size=shape)
  if np.dtype(dtype).kind == "c":
    x = x + 1j * rng.normal(size=shape)
  return x.astype(dtype)


def make_decay(shape, dtype):
  a = make(shape, dtype, 7)
  size = np.linspace(0.8, 0.999, a.size).reshape(shape)
  return (a / np.abs(a) * size).astype(dtype)


def wide(x):
  return x.astype(np.complex128 if np.iscomplexobj(x) else np.float64)


def gradients_of_the_loop(a, b, init, reset, reverse, g, g_final):
  """Of sum(h g) + sum(final g_final) in a, b and init, in float64.

  They are linear in (b, init) and bilinear with a: lam runs back over time.
  """
  h, _ = reference.linear_scan(a, b, init, reset=reset, reverse=reverse)
  a = np.broadcast_to(a, b.shape)
  order = range(b.shape[1])
  order = list(order if reverse else reversed(order))
  da, db, mu = np.zeros_like(b), np.zeros_like(b), g_final
  step = 1 if reverse else -1
  for t in order:
    lam = g[:, t] + mu
    inside = 0 <= t + step < b.shape[1]
    before = h[:, t + step] if inside else init
    keep = True if reset is None else ~reset[:, t, None]
    db[:, t] = lam
    da[:, t] = np.where(keep, lam * before, 0)
    mu = np.where(keep, lam * a[:, t], 0)
  return da, db, mu


def summed(x, shape):
  """Over the axes along which an array of `shape` is the same."""
  lead = tuple(range(x.ndim - len(shape)))
  x = x.sum(axis=lead)
  axes = tuple(i for i in range(x.ndim) if x.shape[i] != shape[i])
  return x.sum(axis=axes, keepdims=True)


def close(found, expected):
  scale = np.abs(expected).max()
  assert np.isfinite(scale)
  np.testing.assert_allclose(
    found, expected, rtol=0, atol=TOLERANCE * max(scale, 1)
  )


def check(chip, dtype, shape, a_shape, *, kind="random", reverse=False):
  """States, final state and all gradients equal the loop's in float64."""
  rows, time, n = shape
  a, b = make_decay(a_shape, dtype), make(shape, dtype, 1)
  init, g = make((rows, n), dtype, 2), make(shape, dtype, 3)
  g_final = make((rows, n), dtype, 4)
  rng = np.random.default_rng(5)
  reset = methods.make_reset(rng, kind, (rows, time))

  @jax.jit
  def run(a, b, init, reset):
    def scan(*arguments):
      return recurrence.linear_scan(
        *arguments, reset=reset, reverse=reverse, method="pallas"
      )

    out, pull = jax.vjp(scan, a, b, init)
    return out, pull((g, g_final))

  with kernels.interpret(chip):
    (h, final), gradients = run(a, b, init, reset)
  assert h.dtype == final.dtype == np.dtype(dtype)
  exact = [wide(x) for x in (a, b, init)]
  expected = reference.linear_scan(*exact, reset=reset, reverse=reverse)
  close(h, expected[0])
  close(final, expected[1])
  da, db, d_init = gradients_of_the_loop(
    *exact, reset, reverse, wide(g), wide(g_final)
  )
  for found, right in zip(gradients, (summed(da, a_shape), db, d_init)):
    close(found, right)


@pytest.mark.parametrize("chip", CHIPS)
def test_equals_the_loop(chip):
  check(chip, "float32", (1, 7, 3), (1, 7, 3))


@pytest.mark.slow
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
@pytest.mark.parametrize(
  ("shape", "a_shape", "kind"),
  [
    # A decay that is the same at all times, with and without padding.
    ((2, 256, 128), (128,), "none"),
    ((2, 45, 3), (2, 1, 3), "first"),
    # The same for all rows, and for all channels; more than one tile.
    ((2, 300, 130), (300, 1), "random"),
    ((2, 1, 3), (2, 1, 3), "none"),
    ((2, 64, 3), (2, 64, 3), "every"),
    ((2, 64, 3), (2, 64, 3), "last"),
  ],
)
@pytest.mark.parametrize("chip", CHIPS)
def test_equals_the_loop_in_all_layouts(
  chip, shape, a_shape, kind, dtype, reverse
):
  check(chip, dtype, shape, a_shape, kind=kind, reverse=reverse)


@pytest.mark.slow
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("chip", CHIPS)
def test_a_reset_forgets_inf_and_nan(chip, reverse):
  b = jnp.ones((1, 9, 2)).at[0, 4].set(jnp.array([jnp.inf, jnp.nan]))
  at = 3 if reverse else 5
  reset = jnp.zeros((1, 9), bool).at[0, at].set(True)
  a = jnp.full((1, 9, 2), 0.5)

  @jax.jit
  def run(a, b):
    h, final = recurrence.linear_scan(
      a, b, reset=reset, reverse=reverse, method="pallas"
    )
    return h, final

  with kernels.interpret(chip):
    h, final = run(a, b)

    def loss(a, b):
      h, final = run(a, b)
      after = h[0, : at + 1] if reverse else h[0, at:]
      return jnp.sum(after) + jnp.sum(final)

    gradients = jax.grad(loss, (0, 1))(a, b)
  after = h[0, : at + 1] if reverse else h[0, at:]
  assert np.all(np.isfinite(after))
  assert np.all(np.isfinite(final))
  for x in gradients:
    assert np.all(np.isfinite(x))


@pytest.mark.slow
@pytest.mark.skipif(jax.__version_info__ < (0, 11), reason="no interpreter")
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("a_shape", [(2, 70, 3), (1, 70, 3), (2, 1, 3)])
def test_segments_of_time_change_nothing(a_shape, reverse):
  shape, rng = (2, 70, 3), np.random.default_rng(0)
  a, b = make_decay(a_shape, "f4"), make(shape, "f4", 1)
  init, g = make((2, 3), "f4", 2), make(shape, "f4", 3)
  reset = methods.make_reset(rng, "random", (2, 70), 0.05)

  @functools.partial(jax.jit, static_argnums=3)
  def run(a, b, init, segments):
    def scan(a, b, init):
      return linear_kernels.scan(
        support.form("linear", b.dtype),
        *(a, b, init, reset),
        reverse=reverse,
        tile=8,
        stages=2,
        segments=segments,
      )

    out, pull = jax.vjp(scan, a, b, init)
    return out, pull((g, init))

  with kernels.interpret("gpu"):
    expected = run(a, b, init, 1)
    # Of 24 elements, the last with padding.
    found = run(a, b, init, 3)
  jax.tree.map(close, found, expected)


@pytest.mark.slow
@pytest.mark.parametrize("chip", CHIPS)
def test_second_derivatives_are_those_of_the_tree(chip):
  a, b = make_decay((1, 9, 2), "f4"), make((1, 9, 2), "f4", 1)
  init = make((1, 2), "f4", 2)
  reset = np.zeros((1, 9), bool)
  reset[0, 4] = True

  def second(method):
    def loss(a, b, init):
      h, final = recurrence.linear_scan(a, b, init, reset=reset, method=method)
      return jnp.sum(jnp.sin(h)) + jnp.sum(final**2)

    def slope(*arguments):
      gradients = jax.grad(loss, (0, 1, 2))(*arguments)
      return sum(jnp.sum(x**2) for x in gradients)

    return jax.jit(jax.grad(slope, (0, 1, 2)))(a, b, init)

  with kernels.interpret(chip):
    found = second("pallas")
  jax.tree.map(close, found, second("associative"))


@pytest.mark.slow
@pytest.mark.parametrize("chip", CHIPS)
def test_vmap_and_bfloat16(chip):
  a = jnp.asarray(make_decay((2, 2, 11, 3), "f4"), jnp.bfloat16)
  b = jnp.asarray(make((2, 2, 11, 3), "f4", 1), jnp.bfloat16)
  reset = np.random.default_rng(0).uniform(size=(2, 2, 11)) < 0.2

  def one(a, b, reset):
    return recurrence.linear_scan(a, b, reset=reset, method="pallas")

  with kernels.interpret(chip):
    h, final = jax.jit(jax.vmap(one))(a, b, reset)
  assert h.dtype == final.dtype == jnp.float32
  expected = recurrence.linear_scan(a, b, reset=reset, method="sequential")
  jax.tree.map(close, (h, final), expected)


def test_named_it_says_why_it_does_not_run(x64):
  del x64
  b = np.ones((1, 8, 2), "f4")
  with pytest.raises(NotImplementedError, match="got platform cpu, expected"):
    recurrence.linear_scan(b, b, method="pallas")
  with kernels.interpret():
    with pytest.raises(NotImplementedError, match="got dtype float64"):
      recurrence.linear_scan(wide(b), wide(b), method="pallas")
  with kernels.choosing_for("gpu", "sm_80"):
    with pytest.raises(NotImplementedError, match="got GPU sm_80, expected"):
      recurrence.linear_scan(b, b, method="pallas")


def test_segments_only_where_there_are_few_blocks():
  def segments(*shape):
    _, options = choice.choose(
      "linear", "gpu", "sm_90", jnp.float32, shape, "pallas"
    )
    return options["segments"]

  assert segments(8, 4096, 1024) == segments(64, 1024, 256) == 1
  assert segments(1, 262144, 256) == 64
  assert segments(8, 4096, 128) == 16
  assert segments(1, 100, 256) == 1
