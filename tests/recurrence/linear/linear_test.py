"""linear_scan against a float64 loop over time, and its gradients."""

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

METHODS = ("sequential", "associative", "chunked")
LENGTHS = (1, 2, 7, 64, 1000, 1009)
N = 3


@functools.partial(jax.jit, static_argnames=("reverse", "method"))
def scan(a, b, init=None, reset=None, reverse=False, method="auto"):
  return recurrence.linear_scan(
    a, b, init, reset=reset, reverse=reverse, method=method
  )


# Relative to the largest state. Rounding grows with the memory of the
# recurrence, about 100 steps here: 100 * eps with room for the tree's order.
TOLERANCE = {
  "float64": 1e-12,
  "complex128": 1e-12,
  "float32": 3e-5,
  "complex64": 3e-5,
}
# bfloat16 inputs are exact in float32, where everything is computed.
TOLERANCE["bfloat16"] = TOLERANCE["float32"]


def make(rng, shape, dtype):
  x = rng.normal(size=shape)
  if np.issubdtype(np.dtype(dtype), np.complexfloating):
    x = x + 1j * rng.normal(size=shape)
  return x.astype(dtype)


def make_decay(rng, shape, dtype):
  a = rng.uniform(0.9, 0.99, shape)
  if np.issubdtype(np.dtype(dtype), np.complexfloating):
    a = a * np.exp(1j * rng.normal(size=shape))
  return a.astype(dtype)


def _slow(*options):
  return [
    pytest.param(*values, marks=pytest.mark.slow)
    for values in itertools.product(*options)
  ]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
  ("dtype", "time"),
  [
    ("complex128", 64),
    ("bfloat16", 7),
    *_slow(("float32", "complex64"), (7,)),
    *_slow(("complex128",), (1, 2, 7, 1000, 1009)),
    *_slow(("float64",), LENGTHS),
    *_slow(("float32", "complex64", "bfloat16"), (1000,)),
  ],
)
def test_equals_the_loop(x64, method, time, dtype):
  del x64
  rng = np.random.default_rng(time)
  dtype = jnp.dtype(dtype)
  wide = np.complex128 if dtype.kind == "c" else np.float64
  time_varying = time % 2 == 0
  a = make_decay(rng, (2, time, N) if time_varying else (N,), wide)
  b, init = make(rng, (2, time, N), wide), make(rng, (2, N), wide)
  a, b, init = (jnp.asarray(x, dtype) for x in (a, b, init))
  exact = [np.asarray(x).astype(wide) for x in (a, b, init)]

  @jax.jit
  def run(a, b, init, reset):
    results = []
    for reverse, start in ((False, init), (True, None)):
      results.append(
        recurrence.linear_scan(
          a, b, start, reset=reset, reverse=reverse, method=method
        )
      )
    return results

  for kind in ("none", "first", "last", "every", "random"):
    reset = methods.make_reset(rng, kind, (2, time))
    results = run(a, b, init, reset)
    expected = [
      reference.linear_scan(*exact, reset=reset),
      reference.linear_scan(*exact[:2], reset=reset, reverse=True),
    ]
    for (h, final), (h_exact, final_exact) in zip(results, expected):
      assert h.dtype == final.dtype == jnp.promote_types(dtype, jnp.float32)
      scale = np.abs(h_exact).max()
      atol = TOLERANCE[dtype.name] * scale
      np.testing.assert_allclose(h, h_exact, rtol=0, atol=atol)
      np.testing.assert_allclose(final, final_exact, rtol=0, atol=atol)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
  "kind", ["complex", pytest.param("real", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
  ("a_shape", "reverse"),
  [
    ((6, N), True),
    pytest.param((N,), False, marks=pytest.mark.slow),
    pytest.param((2, 1, N), True, marks=pytest.mark.slow),
    pytest.param((2, 6, 1), False, marks=pytest.mark.slow),
  ],
)
def test_gradients(x64, method, reverse, kind, a_shape):
  """Both orders, with cotangents on the states and on the final state."""
  del x64
  rng = np.random.default_rng(0)
  dtype = np.float64 if kind == "real" else np.complex128
  a = make_decay(rng, a_shape, dtype)
  b, init = make(rng, (2, 6, N), dtype), make(rng, (2, N), dtype)
  reset = methods.make_reset(rng, "random", (2, 6))
  reset[0, 3] = True
  check_grads(
    jax.jit(
      lambda a, b, init: recurrence.linear_scan(
        a, b, init, reset=reset, reverse=reverse, method=method
      )
    ),
    (a, b, init),
    order=2,
    modes=["rev"],
  )


@pytest.mark.parametrize(
  "reverse", [pytest.param(False, marks=pytest.mark.slow), True]
)
def test_gradients_agree_between_methods_at_an_odd_length(x64, reverse):
  del x64
  rng = np.random.default_rng(1)
  a = make_decay(rng, (2, 101, N), np.complex128)
  b, init = (make(rng, s, np.complex128) for s in ((2, 101, N), (2, N)))
  w, w_final = (make(rng, s, np.complex128) for s in (b.shape, init.shape))
  reset = methods.make_reset(rng, "random", (2, 101))

  def gradients(method):
    def loss(a, b, init):
      h, final = recurrence.linear_scan(
        a, b, init, reset=reset, reverse=reverse, method=method
      )
      return jnp.real(jnp.sum(h * w) + jnp.sum(final * w_final))

    return jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(a, b, init)

  expected = gradients("sequential")
  for method in ("associative", "chunked"):
    # float64 rounding over 101 elements.
    chex.assert_trees_all_close(gradients(method), expected, rtol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_gradients_are_finite_and_right_at_the_borders(x64, method, value):
  del x64
  rng = np.random.default_rng(2)
  a = np.full((1, 9, N), value)
  b, init = make(rng, (1, 9, N), float), make(rng, (1, N), float)

  def run(a, b, init):
    return recurrence.linear_scan(a, b, init, method=method)

  check_grads(run, (a, b, init), order=1, modes=["rev"])
  chex.assert_tree_all_finite(jax.jacrev(run, (0, 1, 2))(a, b, init))


@pytest.mark.parametrize("method", METHODS)
def test_gradients_stay_finite_over_ten_thousand_elements(method):
  a = jnp.array([1.0, 0.0, 0.999])
  b = jnp.ones((1, 10_000, N))

  def loss(a, b):
    return jnp.mean(recurrence.linear_scan(a, b, method=method)[0])

  chex.assert_tree_all_finite(jax.jit(jax.grad(loss, (0, 1)))(a, b))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("reverse", [False, True])
def test_a_reset_forgets_inf_and_nan(method, reverse):
  b = jnp.ones((1, 9, 2)).at[0, 4].set(jnp.array([jnp.inf, jnp.nan]))
  at = 3 if reverse else 5
  reset = jnp.zeros((1, 9), bool).at[0, at].set(True)
  h, final = scan(
    jnp.array([0.5, 0.5]), b, reset=reset, reverse=reverse, method=method
  )
  after = h[0, : at + 1] if reverse else h[0, at:]
  assert jnp.all(jnp.isfinite(after))
  assert jnp.all(jnp.isfinite(final))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("reverse", [False, True])
def test_no_undefined_decay_reaches_another_episode(method, reverse):
  """Neither states nor gradients, wherever it stands; a first one is unread."""
  time, size = 12, 4
  rng = np.random.default_rng(6)
  a = np.asarray(make_decay(rng, (1, time, 1), np.float32))
  b, init = make(rng, (1, time, 1), "f4"), make(rng, (1, 1), "f4")
  first = np.arange(0, time, size) + (size - 1 if reverse else 0)
  # With resets at all three episodes' first elements, or without the earliest.
  reset = np.zeros((2, time), bool)
  reset[:, first] = True
  reset[1, first[-1 if reverse else 0]] = False

  @jax.jit
  @functools.partial(jax.vmap, in_axes=(0, None, 0))
  @functools.partial(jax.vmap, in_axes=(None, 0, None))
  def run(a, reset, weights):
    (h, final), pull = jax.vjp(
      lambda *x: recurrence.linear_scan(
        *x, reset=reset[None], reverse=reverse, method=method
      ),
      *(a, b, init),
    )
    return h, pull((weights, jnp.zeros_like(final)))

  undefined = np.array([np.nan, np.inf, -np.inf], "f4")
  for episode in np.split(np.arange(time), 3):
    weights = rng.normal(size=b.shape).astype("f4")
    weights[:, episode] = 0
    places = [(t, bad) for t in episode for bad in undefined]
    damaged = np.stack([a] * (1 + len(places)))
    for i, (t, bad) in enumerate(places):
      damaged[i + 1, :, t] = bad
    weights = np.broadcast_to(weights, (len(damaged), *b.shape))
    h, (da, db, d_init) = jax.device_get(run(damaged, reset, weights))
    others = np.setdiff1d(np.arange(time), episode)
    for got in (h, da, db):
      got = got[..., others, :]
      np.testing.assert_array_equal(got, np.broadcast_to(got[:1], got.shape))
      assert np.all(np.isfinite(got))
    np.testing.assert_array_equal(d_init[:, 0], 0)
    for i, (t, _) in enumerate(places):
      # What stands as the decay of a first element is not read.
      defined = np.isfinite(h[i + 1]).all((1, 2, 3))
      np.testing.assert_array_equal(defined, reset[:, t])


@pytest.mark.parametrize("method", METHODS)
def test_two_halves_equal_the_whole(x64, method):
  del x64
  rng = np.random.default_rng(3)
  a, b = make_decay(rng, (2, 20, N), float), make(rng, (2, 20, N), float)
  whole, final = scan(a, b, method=method)
  first, state = scan(a[:, :7], b[:, :7], method=method)
  second, end = scan(a[:, 7:], b[:, 7:], state, method=method)
  # float64 rounding.
  chex.assert_trees_all_close(
    (jnp.concatenate([first, second], 1), end), (whole, final), rtol=1e-12
  )


@pytest.mark.parametrize(
  "batch", [pytest.param((), marks=pytest.mark.slow), (2, 3)]
)
@pytest.mark.parametrize("method", METHODS)
def test_batch_axes_equal_vmap(batch, method):
  rng = np.random.default_rng(4)
  a = make_decay(rng, batch + (11, N), np.float32)
  b = make(rng, batch + (11, N), np.float32)
  reset = rng.uniform(size=batch + (11,)) < 0.2

  def one(a, b, reset):
    return recurrence.linear_scan(a, b, reset=reset, method=method)

  mapped = one
  for _ in batch:
    mapped = jax.vmap(mapped)
  # The same operations in another layout.
  chex.assert_trees_all_close(
    scan(a, b, None, reset, method=method),
    jax.jit(mapped)(a, b, reset),
    rtol=1e-6,
    atol=1e-6,
  )


def test_step_equals_scan():
  rng = np.random.default_rng(5)
  a, b = make_decay(rng, (2, 6, N), np.float32), make(rng, (2, 6, N), "f4")
  reset = methods.make_reset(rng, "random", (2, 6))
  states, _ = scan(a, b, None, reset, method="sequential")
  h, step = np.zeros((2, N), "f4"), jax.jit(recurrence.linear_step)
  for t in range(6):
    h = step(a[:, t], b[:, t], h, reset=reset[:, t])
    # One fused multiply-add may round differently from two operations.
    np.testing.assert_allclose(h, states[:, t], rtol=1e-5, atol=1e-6)


def test_a_step_at_a_reset_reads_neither_decay_nor_state():
  b, weights = jnp.arange(1.0, 3.0), jnp.array([2.0, -1.0])
  for bad in (np.nan, np.inf):
    for a, state in ((bad, 1.0), (0.5, bad), (bad, bad)):
      h, pull = jax.vjp(
        lambda *x: recurrence.linear_step(*x, reset=jnp.array(True)),
        *(jnp.full(2, a), b, jnp.full(2, state)),
      )
      np.testing.assert_array_equal(h, b)
      for got, expected in zip(pull(weights), (0, weights, 0)):
        np.testing.assert_array_equal(got, jnp.broadcast_to(expected, 2))


def test_a_time_invariant_decay_is_never_repeated_over_time():
  """Temporaries of the gradient stay at a few copies of the inputs."""
  b = jax.ShapeDtypeStruct((4, 512, 64), jnp.float32)
  a = jax.ShapeDtypeStruct((64,), jnp.float32)

  def loss(a, b):
    return jnp.sum(recurrence.linear_scan(a, b, method="sequential")[0] ** 2)

  compiled = jax.jit(jax.grad(loss, (0, 1))).lower(a, b).compile()
  temporary = compiled.memory_analysis().temp_size_in_bytes
  # The states, their cotangents, and the shifted states.
  assert temporary < 4 * 4 * 512 * 64 * 4


@pytest.mark.parametrize(
  ("kwargs", "message"),
  [
    ({"b": jnp.ones(3)}, r"b: got shape \(3,\), expected \(\*batch, time, n\)"),
    ({"b": jnp.ones((2, 0, N))}, "at least one element"),
    ({"a": jnp.ones(4)}, "a: got shape .*, expected one that broadcasts"),
    (
      {"a": jnp.ones((3, 2, 5, N))},
      "a: got shape .*, expected one that broadcasts",
    ),
    ({"init": jnp.ones(N)}, r"init: got shape .*, expected \(2, 3\)"),
    (
      {"reset": jnp.ones((2, 4), bool)},
      r"reset: got shape .*, expected \(2, 5\)",
    ),
    ({"reset": jnp.ones((2, 5))}, "reset: got dtype .*, expected bool"),
    (
      {"method": "fast"},
      r"method: got 'fast', expected one of .*'associative'",
    ),
  ],
)
def test_bad_arguments_are_named(kwargs, message):
  arguments = {"a": jnp.ones(N), "b": jnp.ones((2, 5, N))} | kwargs
  with pytest.raises(ValueError, match=message):
    recurrence.linear_scan(**arguments)


def test_step_names_bad_arguments():
  with pytest.raises(ValueError, match="state: got shape .*, expected "):
    recurrence.linear_step(jnp.ones(N), jnp.ones((2, N)), jnp.ones(N))
