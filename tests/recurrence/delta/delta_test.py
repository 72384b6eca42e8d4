"""delta_scan and dplr_scan against flash-linear-attention and plain steps."""

import functools

import chex
import jax
import jax.numpy as jnp
from jax.test_util import check_grads
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.recurrence import reference
from tests.recurrence import methods

DK, DV = 4, 5
SCANS = {"delta": recurrence.delta_scan, "dplr": recurrence.dplr_scan}
# One scan is behind both. Golden values are of the first, without marks.
GENERAL = [pytest.param("delta", marks=pytest.mark.slow), "dplr"]
STEPS = {"delta": recurrence.delta_step, "dplr": recurrence.dplr_step}
REFERENCES = {"delta": reference.delta_scan, "dplr": reference.dplr_scan}


def problem(op, time, kind="channel", lead=(2, 3), seed=0):
  """Arguments of a scan in float64: keys of length 1, reads of up to two."""
  rng = np.random.default_rng(seed)

  def unit(scale=1.0):
    x = rng.normal(size=(*lead, time, DK))
    return scale * x / np.linalg.norm(x, axis=-1, keepdims=True)

  q, k, v = unit(), unit(), rng.normal(size=(*lead, time, DV))
  beta = rng.uniform(0, 2, size=(*lead, time, 1))
  writes = (beta * k,) if op == "delta" else (unit(0.9), unit(0.9))
  decay = -rng.exponential(0.3, size=(*lead, time, DK))
  decay = {"none": None, "head": decay[..., :1], "channel": decay}[kind]
  init = rng.normal(size=(*lead, DK, DV))
  return q, k, v, *writes, decay, init


@functools.partial(jax.jit, static_argnames=("op", "method", "chunk_size"))
def run(op, arguments, reset=None, method="chunked", chunk_size=6):
  return SCANS[op](
    *arguments, reset=reset, method=method, chunk_size=chunk_size
  )


@functools.partial(jax.jit, static_argnames=("op", "method", "chunk_size"))
def evaluate(op, arguments, reset=None, method="chunked", chunk_size=6):
  """Results, and gradients with cotangents on outputs and last state."""

  def loss(arguments):
    out = run(op, arguments, reset, method, chunk_size)
    rng = np.random.default_rng(5)
    weights = [rng.normal(size=x.shape).astype(x.dtype) for x in out]
    return sum(jnp.sum(x * w) for x, w in zip(out, weights)), out

  return jax.value_and_grad(loss, has_aux=True)(arguments)


def golden_scan(name, x, **options):
  """The recurrence of a golden file on its arrays."""
  decay = x.get("decay")
  if decay is not None and decay.ndim == 3:
    decay = decay[..., None]
  q = x["q"] / np.sqrt(x["q"].shape[-1])
  init = x.get("init")
  if name == "rwkv7":
    a, b = -x["kk"], x["kk"] * x["iclr"]
    last = a, b, decay, init
    return recurrence.dplr_scan(x["q"], x["k"], x["v"], *last, **options)
  if name == "dplr":
    last = x["a"], x["b"], decay, init
    return recurrence.dplr_scan(q, x["k"], x["v"], *last, **options)
  if name == "gdn2":
    read, v = x["erase"] * x["k"], x["write"] * x["v"]
  else:
    read, v = (x["beta"][..., None] * x[key] for key in "kv")
  return recurrence.delta_scan(q, x["k"], v, read, decay, init, **options)


@pytest.mark.parametrize(
  ("name", "chunk_size"),
  [
    ("gated_deltanet_extreme", 16),
    ("kda_extreme", 32),
    pytest.param("rwkv7", 16, marks=pytest.mark.slow),
    *(
      pytest.param(name, size, marks=pytest.mark.slow)
      for name in (
        "deltanet",
        "deltanet_beta2",
        "dplr",
        "gated_deltanet",
        "gated_deltanet_extreme",
        "gdn2",
        "kda",
        "kda_extreme",
        "rwkv7",
      )
      for size in (7, 64)
    ),
  ],
)
def test_golden(x64, golden, name, chunk_size):
  """Outputs, states and gradients of flash-linear-attention."""
  del x64
  data = golden(f"delta/{name}")
  keys = [key.removeprefix("grad_") for key in data if key.startswith("grad_")]

  def loss(x):
    o, final = golden_scan(name, x, method="chunked", chunk_size=chunk_size)
    return jnp.sum(o * data["w"]) + jnp.sum(final * data["w_final"]), (o, final)

  arguments = {key: data[key] for key in keys}
  compiled = jax.jit(jax.value_and_grad(loss, has_aux=True))
  (_, (o, final)), grads = compiled(arguments)
  # float64 rounding over 37 elements; values and gradients are of order 1.
  np.testing.assert_allclose(o, data["o"], rtol=0, atol=1e-13)
  np.testing.assert_allclose(final, data["final"], rtol=0, atol=1e-13)
  for key in keys:
    want = data[f"grad_{key}"]
    scale = max(1, np.abs(want).max())
    np.testing.assert_allclose(grads[key], want, rtol=0, atol=1e-13 * scale)


def test_golden_delta_product(x64, golden):
  """Several writes a token: decay at the first, a query at the last."""
  del x64
  x = golden("delta/delta_product")
  count = int(x["num_householder"])
  *lead, time, dk = x["q"].shape

  def spread(array, place):
    out = np.zeros((*lead, time, count, array.shape[-1]))
    out[..., place, :] = array
    return out.reshape(*lead, time * count, -1)

  read, v = (x["beta"][..., None] * x[key] for key in "kv")
  decay = spread(x["decay"].reshape(*lead, time, -1), 0)
  o, final = recurrence.delta_scan(
    spread(x["q"], -1), x["k"], v, read, decay, x.get("init"), chunk_size=16
  )
  o = o.reshape(*lead, time, count, -1)[..., -1, :]
  # float64 rounding over all writes.
  np.testing.assert_allclose(o, x["o"], rtol=0, atol=1e-13)
  np.testing.assert_allclose(final, x["final"], rtol=0, atol=1e-13)


@pytest.mark.parametrize(
  ("op", "method", "time", "chunk_size"),
  [
    ("dplr", "chunked", 13, 6),
    ("delta", "sequential", 13, 6),
    *(
      pytest.param(*values, marks=pytest.mark.slow)
      for values in [
        ("delta", "chunked", 13, 6),
        ("dplr", "sequential", 13, 6),
        *((op, "chunked", 1, 6) for op in SCANS),
        *((op, "chunked", 4, 6) for op in SCANS),
        *((op, "chunked", 70, 35) for op in SCANS),
      ]
    ),
  ],
)
def test_equals_plain_steps(x64, op, method, time, chunk_size):
  """Below, at and beyond a chunk, with a remainder, and all kinds of resets."""
  del x64
  for kind in ("none", "head", "channel"):
    arguments = problem(op, time, kind)
    for name in ("none", "random", "every"):
      if name != "random" and kind != "channel":
        continue
      rng = np.random.default_rng(3)
      reset = methods.make_reset(rng, name, (2, 3, time), 0.2)
      # float64 rounding over at most 70 elements.
      chex.assert_trees_all_close(
        run(op, arguments, reset, method, chunk_size),
        REFERENCES[op](*arguments, reset=reset),
        rtol=0,
        atol=1e-12,
      )


@pytest.mark.slow
@pytest.mark.parametrize("op", GENERAL)
@pytest.mark.parametrize(
  "kind", ["channel", pytest.param("head", marks=pytest.mark.slow)]
)
def test_gradients_are_those_of_plain_steps(x64, op, kind):
  del x64
  arguments = problem(op, 13, kind)
  reset = methods.make_reset(np.random.default_rng(3), "random", (2, 3, 13))
  got = evaluate(op, arguments, reset)
  expected = evaluate(op, arguments, reset, "sequential", 13)
  # float64 rounding over 13 elements.
  chex.assert_trees_all_close(got, expected, rtol=0, atol=1e-11)
  d_decay = got[1][-2]
  # The decay of what is forgotten does nothing.
  assert not np.any(d_decay[reset])


@pytest.mark.slow
@pytest.mark.parametrize(
  ("op", "order"),
  [("delta", 1), *(pytest.param(x, 2, marks=pytest.mark.slow) for x in SCANS)],
)
def test_finite_differences(x64, op, order):
  del x64
  arguments = problem(op, 5, lead=())
  reset = np.arange(5) == 3
  function = functools.partial(run, op, reset=reset, chunk_size=3)
  check_grads(
    lambda *arguments: function(arguments),
    arguments,
    order=order,
    modes=["rev"],
  )


@pytest.mark.slow
@pytest.mark.parametrize("op", GENERAL)
def test_pieces_and_steps_are_the_whole(x64, op):
  del x64
  *elements, init = arguments = problem(op, 9)
  reset = np.zeros((2, 3, 9), bool)
  reset[:, 1, 5] = True
  whole = run(op, arguments, reset)
  first, state = run(op, (*(x[..., :4, :] for x in elements), init))
  rest = (*(x[..., 4:, :] for x in elements), state)
  second, final = run(op, rest, reset[..., 4:])
  pieces = np.concatenate([first, second], axis=-2), final
  state, o = init, []
  step = jax.jit(STEPS[op])
  for t in range(9):
    element = (x[..., t, :] for x in elements)
    o_t, state = step(*element, state, reset=reset[..., t])
    o.append(o_t)
  for got in (pieces, (np.stack(o, -2), state)):
    # float64 rounding over nine elements.
    chex.assert_trees_all_close(got, whole, rtol=0, atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("op", GENERAL)
@pytest.mark.parametrize("method", ["chunked", "sequential"])
def test_a_reset_forgets_inf_and_nan(op, method):
  *elements, init = (np.float32(x) for x in problem(op, 9))
  arguments = *elements, init
  reset = np.zeros((2, 3, 9), bool)
  reset[..., 4] = True
  broken = [x.copy() for x in arguments]
  for x, value in zip(broken[:-1], [np.nan, np.inf, -np.inf, np.nan] * 2):
    x[..., 1, 0] = value
  broken[-1][:] = np.inf
  (_, (o, final)), grads = evaluate(op, tuple(broken), reset, method, 9)
  (_, (expected, expected_final)), _ = evaluate(op, arguments, reset, method, 9)
  np.testing.assert_array_equal(o[..., 4:, :], expected[..., 4:, :])
  np.testing.assert_array_equal(final, expected_final)
  assert not np.any(np.isfinite(o[..., 1:4, :]))
  # What comes after the reset has gradients as ever.
  for grad in grads[:-2]:
    assert np.all(np.isfinite(grad[..., 5:, :]))


def similar_keys(kind, time, seed=0):
  """Keys that undo a product form: one for all, or one of either sign."""
  rng = np.random.default_rng(seed)
  k = np.broadcast_to(rng.normal(size=(1, 1, DK)), (2, time, DK))
  if kind == "alternating":
    sign = np.where(np.arange(time) % 2, -1, 1)[:, None]
    k = sign * k + 0.05 * rng.normal(size=k.shape)
  return k / np.linalg.norm(k, axis=-1, keepdims=True)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("kind", "beta"), [("equal", 1.0), ("equal", 2.0), ("alternating", 1.9)]
)
def test_similar_keys_in_float32(kind, beta):
  """Where a series of powers of the matrix would lose all digits."""
  rng, time = np.random.default_rng(1), 64
  k = similar_keys(kind, time)
  q = rng.normal(size=k.shape)
  v = rng.normal(size=(2, time, DV))
  arguments = q, k, v, beta * k
  o, final = recurrence.delta_scan(
    *map(np.float32, arguments), method="chunked", chunk_size=time
  )
  with jax.enable_x64(True):
    expected, last = reference.delta_scan(*map(jnp.float64, arguments))
  # 64 reflections, each with float32 rounding of what it reads: seen 2e-5.
  scale = np.abs(expected).max()
  np.testing.assert_allclose(o, expected, rtol=0, atol=2e-4 * scale)
  np.testing.assert_allclose(final, last, rtol=0, atol=2e-4 * scale)


@pytest.mark.slow
def test_strong_decays_in_float32():
  """From none to complete within a chunk; nothing overflows or cancels."""
  arguments = list(problem("delta", 64))
  rng = np.random.default_rng(2)
  levels = np.array([0.0, -1e-4, -1.0, -40.0, -1e4, -np.inf])
  arguments[4] = rng.choice(levels, arguments[4].shape)
  (_, got), grads = evaluate(
    "delta", tuple(map(np.float32, arguments)), chunk_size=64
  )
  with jax.enable_x64(True):
    (_, want), want_grads = evaluate(
      "delta", tuple(map(jnp.float64, arguments)), None, "sequential", 64
    )
  # float32 rounding of sums over 64 elements of order 1.
  chex.assert_trees_all_close(got, want, rtol=0, atol=1e-4)
  chex.assert_trees_all_close(grads, want_grads, rtol=0, atol=2e-3)


@pytest.mark.parametrize("op", GENERAL)
def test_bfloat16_keeps_states_in_float32(op):
  arguments = tuple(jnp.asarray(x, jnp.bfloat16) for x in problem(op, 40))
  o, final = run(op, arguments, chunk_size=16)
  assert o.dtype == jnp.bfloat16
  assert final.dtype == jnp.float32
  wide = tuple(x.astype(jnp.float32) for x in arguments)
  expected = run(op, wide, None, "sequential", 16)
  for got, want in zip((o, final), expected):
    error = jnp.sqrt(jnp.mean((got.astype(jnp.float32) - want) ** 2))
    # Operands of products have 8 bits: seen 0.004.
    assert error < 0.02 * jnp.std(want)


def test_a_later_document_does_not_see_an_earlier_one():
  """Not one bit, wherever the border lies in a chunk."""
  arguments = tuple(map(np.float32, problem("delta", 20)))
  for border in (3, 6, 8):
    reset = np.zeros((2, 3, 20), bool)
    reset[..., border] = True
    changed = [x.copy() for x in arguments]
    for x in changed[:-1]:
      x[..., border - 1, :] -= 0.5
    before, after = (
      run("delta", x, reset)[0] for x in (arguments, tuple(changed))
    )
    np.testing.assert_array_equal(
      before[..., border:, :], after[..., border:, :]
    )


@pytest.mark.parametrize(
  ("kwargs", "message"),
  [
    ({"v": jnp.ones(DV)}, r"v: got shape .*, expected \(\*batch, time, dv\)"),
    ({"v": jnp.ones((2, 5, DV), int)}, "v: got dtype .*, expected a floating"),
    ({"k": jnp.ones((2, 4, DK))}, r"k: got shape .*, expected \(2, 5, dk\)"),
    ({"read": jnp.ones((2, 5, 3))}, r"read: got shape .*, expected \(2, 5, 4"),
    ({"decay": jnp.ones((2, 5))}, r"decay: got shape .* or \(2, 5, 1\)"),
    ({"init": jnp.ones((2, 5, 4))}, r"init: got shape .*, expected \(2, 4, 5"),
    *methods.BAD_OPTIONS,
  ],
)
def test_bad_arguments_are_named(kwargs, message):
  ones = jnp.ones((2, 5, DK))
  arguments = {"q": ones, "k": ones, "v": jnp.ones((2, 5, DV)), "read": ones}
  with pytest.raises(ValueError, match=message):
    recurrence.delta_scan(**arguments | kwargs)
