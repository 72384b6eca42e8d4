"""mlstm_scan against NX-AI/xlstm and plain steps."""

import functools

import chex
import hypothesis
from hypothesis import strategies
import jax
import jax.numpy as jnp
from jax.test_util import check_grads
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.recurrence import reference
from tests.recurrence import methods

DK, DV = 4, 5
_NAMES = ("q", "k", "v", "log_input", "log_forget")


def problem(time, lead=(2, 3), seed=0, spread=2.0):
  """Arguments of a scan in float64, gates of that spread, and a used state."""
  rng = np.random.default_rng(seed)
  q, k = (rng.normal(size=(*lead, time, DK)) for _ in range(2))
  v = rng.normal(size=(*lead, time, DV))
  i = spread * rng.normal(size=(*lead, time))
  f = -np.logaddexp(0, -2 - spread * rng.normal(size=(*lead, time)))
  shapes = (*lead, DK, DV), (*lead, DK), lead
  init = recurrence.MLSTMState(*(rng.normal(size=shape) for shape in shapes))
  return q, k, v, i, f, init


@functools.partial(jax.jit, static_argnames=("method", "chunk_size"))
def run(arguments, reset=None, method="chunked", chunk_size=6):
  return recurrence.mlstm_scan(
    *arguments, reset=reset, method=method, chunk_size=chunk_size
  )


def value(scan, arguments):
  """A number that depends on all results, and these."""
  out = scan(arguments)
  rng = np.random.default_rng(5)
  terms = []
  for leaf in jax.tree.leaves(out):
    weight = jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype)
    terms.append(jnp.sum(leaf * weight))
  return sum(terms), out


@functools.partial(jax.jit, static_argnames=("method", "chunk_size"))
def evaluate(arguments, reset=None, method="chunked", chunk_size=6):
  """Results, and gradients with cotangents on outputs and last state."""

  def scan(arguments):
    return run(arguments, reset, method, chunk_size)

  return jax.value_and_grad(functools.partial(value, scan), has_aux=True)(
    arguments
  )


@jax.jit
def plain(arguments, reset=None):
  """As `evaluate`, by plain steps and JAX's own derivatives."""

  def scan(arguments):
    return reference.mlstm_scan(*arguments, reset=reset)

  return jax.value_and_grad(functools.partial(value, scan), has_aux=True)(
    arguments
  )


@pytest.mark.parametrize(
  ("name", "begin", "chunk_size"),
  [
    pytest.param("mlstm", "init", 7, marks=pytest.mark.slow),
    ("mlstm_extreme", "init", 16),
    *(
      pytest.param(name, begin, size, marks=pytest.mark.slow)
      for name in ("mlstm", "mlstm_extreme")
      for begin in ("init", "zero")
      for size in (1, 23, 64)
    ),
  ],
)
def test_golden(x64, golden, name, begin, chunk_size):
  """Outputs, states and gradients of the original's recurrent form."""
  del x64
  data = golden(f"mlstm/{name}")
  init = None
  if begin == "init":
    init = recurrence.MLSTMState(*(data[f"init/{x}0"] for x in "cnm"))

  def loss(x, init):
    k = x["k"] / np.sqrt(x["k"].shape[-1])
    gates = x["i"], jax.nn.log_sigmoid(x["f"])
    out = recurrence.mlstm_scan(
      x["q"], k, x["v"], *gates, init, method="chunked", chunk_size=chunk_size
    )
    return jnp.sum(out[0] * data["w"]), out

  x = {key: data[key] for key in "qkvif"}
  compiled = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
  (_, (h, final)), (grads, d_init) = compiled(x, init)
  # float64 rounding over 23 elements, of numbers of order 1.
  np.testing.assert_allclose(h, data[f"{begin}/h"], rtol=0, atol=1e-12)
  for leaf, key in zip(final, "cnm"):
    want = data[f"{begin}/{key}T"].reshape(leaf.shape)
    scale = max(1, np.abs(want).max())
    np.testing.assert_allclose(leaf, want, rtol=0, atol=1e-13 * scale)
  if begin == "zero":
    return
  grads |= {f"{key}0": leaf for key, leaf in zip("cnm", d_init)}
  for key, grad in grads.items():
    want = data[f"init/grad_{key}"].reshape(grad.shape)
    scale = max(1, np.abs(want).max())
    np.testing.assert_allclose(grad, want, rtol=0, atol=1e-12 * scale)


def test_extreme_gates_in_float32(golden):
  """Nothing overflows where the logarithms of gates are of order 10."""
  data = golden("mlstm/mlstm_extreme")

  def loss(x):
    h, _ = recurrence.mlstm_scan(
      x["q"],
      x["k"] / np.sqrt(x["k"].shape[-1]),
      x["v"],
      x["i"],
      jax.nn.log_sigmoid(x["f"]),
      method="chunked",
      chunk_size=64,
    )
    return jnp.sum(h * jnp.asarray(data["w"], h.dtype)), h

  x = {key: jnp.asarray(data[key], jnp.float32) for key in "qkvif"}
  (_, h), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(x)
  assert h.dtype == jnp.float32
  # Exponents of order 10 in 24 bits, and divisors down to 0.01.
  np.testing.assert_allclose(h, data["h"], rtol=0, atol=1e-4)
  for key, grad in grads.items():
    want = data[f"grad_{key}"]
    scale = max(1, np.abs(want).max())
    np.testing.assert_allclose(grad, want, rtol=0, atol=1e-3 * scale)


@pytest.mark.slow
@hypothesis.given(
  time=strategies.sampled_from([1, 4, 13]),
  share=strategies.sampled_from([0.0, 0.2, 1.0]),
  spread=strategies.sampled_from([1.0, 30.0]),
  seed=strategies.integers(0, 2**32 - 1),
)
@hypothesis.example(time=13, share=1.0, spread=1.0, seed=0)
@hypothesis.settings(max_examples=12, deadline=None)
def test_equals_plain_steps(time, share, spread, seed):
  """Below, at and beyond a chunk, all kinds of resets, weak and strong gates.

  With gradients, and the state after the last element.
  """
  with jax.enable_x64(True):
    arguments = problem(time, seed=seed, spread=spread)
    rng = np.random.default_rng(seed)
    reset = rng.uniform(size=(2, 3, time)) < share
    got, want = evaluate(arguments, reset), plain(arguments, reset)
    # A divisor may be small: the error grows with what it makes large.
    jax.tree.map(
      lambda x, y: np.testing.assert_allclose(
        x, y, rtol=0, atol=1e-10 * max(1, np.abs(y).max())
      ),
      got,
      want,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
  ("method", "time", "chunk_size"),
  [
    ("sequential", 13, 6),
    *(
      pytest.param(*case, marks=pytest.mark.slow)
      for case in (
        ("chunked", 1, 6),
        ("chunked", 12, 6),
        ("chunked", 70, 35),
        ("auto", 70, None),
      )
    ),
  ],
)
def test_methods_equal_plain_steps(x64, method, time, chunk_size):
  del x64
  arguments = problem(time)
  for kind in ("none", "random", "every"):
    rng = np.random.default_rng(3)
    reset = methods.make_reset(rng, kind, (2, 3, time), 0.2)
    got = evaluate(arguments, reset, method, chunk_size)
    # float64 rounding over at most 70 elements; divisors down to 0.01.
    chex.assert_trees_all_close(got, plain(arguments, reset), atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("order", [1, 2])
def test_finite_differences(x64, order):
  del x64
  # Away from the kinks: |n^T q| = exp(-m), n^T q = 0 and f + m = i.
  arguments = problem(5, lead=(), seed=3)
  reset = np.arange(5) == 3
  check_grads(
    lambda *arguments: run(arguments, reset, chunk_size=3),
    arguments,
    order=order,
    modes=["rev"],
    rtol=1e-4,
  )


@pytest.mark.slow
def test_pieces_and_steps_are_the_whole(x64):
  del x64
  *elements, init = arguments = problem(9)
  reset = np.zeros((2, 3, 9), bool)
  reset[:, 1, 5] = True
  whole = run(arguments, reset)
  first, state = run((*(x[:, :, :4] for x in elements), init))
  rest = (*(x[:, :, 4:] for x in elements), state)
  second, final = run(rest, reset[..., 4:])
  pieces = np.concatenate([first, second], axis=-2), final
  state, h = init, []
  step = jax.jit(recurrence.mlstm_step)
  for t in range(9):
    element = (x[:, :, t] for x in elements)
    h_t, state = step(*element, state, reset=reset[..., t])
    h.append(h_t)
  for got in (pieces, (np.stack(h, -2), state)):
    # float64 rounding over nine elements.
    chex.assert_trees_all_close(got, whole, rtol=0, atol=1e-12)


def test_heads_after_time(x64):
  """The other layout computes the same."""
  del x64
  *elements, init = problem(9)
  reset = np.arange(9) == np.array([[3], [7]])
  want, last = run((*elements, init), np.repeat(reset[:, None], 3, axis=1))
  h, final = jax.jit(recurrence.mlstm_scan_heads)(
    *(np.moveaxis(x, 1, 2) for x in elements), init, reset=reset
  )
  # float64 rounding over nine elements.
  np.testing.assert_allclose(np.moveaxis(h, 2, 1), want, rtol=0, atol=1e-12)
  chex.assert_trees_all_close(final, last, rtol=0, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["chunked", "sequential"])
def test_a_reset_forgets_inf_and_nan(method):
  arguments = jax.tree.map(np.float32, problem(9))
  reset = np.zeros((2, 3, 9), bool)
  reset[..., 4] = True
  broken = jax.tree.map(np.copy, arguments)
  for x, bad in zip(broken[:-1], [np.nan, np.inf, -np.inf, np.nan, np.nan]):
    x[:, :, 1] = bad
  for leaf in broken[-1]:
    leaf[:] = np.inf
  (_, (h, final)), grads = evaluate(broken, reset, method, 9)
  (_, (want, last)), _ = evaluate(arguments, reset, method, 9)
  np.testing.assert_array_equal(h[..., 4:, :], want[..., 4:, :])
  chex.assert_trees_all_equal(final, last)
  assert not np.any(np.isfinite(h[..., 1:4, :]))
  # What comes after the reset has gradients as ever.
  for grad in grads[:-1]:
    assert np.all(np.isfinite(grad[:, :, 5:]))


@pytest.mark.parametrize("method", ["chunked", "sequential"])
def test_gates_of_nothing(method):
  """Elements that are left out, and complete forgetting, at once or apart."""
  *elements, init = jax.tree.map(np.float32, problem(12))
  rng = np.random.default_rng(4)
  elements[3][rng.uniform(size=elements[3].shape) < 0.5] = -np.inf
  elements[4][rng.uniform(size=elements[4].shape) < 0.5] = -np.inf
  (_, (h, _)), grads = evaluate((*elements, init), None, method)
  chex.assert_tree_all_finite((h, grads))
  # In the numbers themselves: a weight of e^-60 is nothing beside 1.
  low = [*elements[:3], *(np.maximum(x, -60) for x in elements[3:])]
  (_, (want, _)), _ = evaluate((*low, init), None, method)
  # And what is divided by e^60 there is 0 here.
  np.testing.assert_allclose(h, want, rtol=0, atol=1e-5)


def test_a_decay_below_the_rounding_of_m():
  """Of 4,000 elements after one with i = 100, in float32."""
  time = 4000
  ones = np.ones((time, 1), np.float32)
  i = np.full((time,), -np.inf, np.float32)
  i[0] = 100
  f = np.full((time,), -(2.0**-20), np.float32)
  _, state = recurrence.mlstm_scan(ones, ones, ones, i, f, method="chunked")
  # C exp(m) = exp(100 - time / 2^20); the spacing of numbers near 100 is 8e-6.
  total = np.log(np.float64(state.C[0, 0])) + np.float64(state.m)
  np.testing.assert_allclose(total, 100 - (time - 1) / 2**20, atol=2e-5)


def test_bfloat16_keeps_states_in_float32():
  arguments = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), problem(40))
  h, final = run(arguments, chunk_size=16)
  assert h.dtype == jnp.bfloat16
  chex.assert_trees_all_equal_dtypes(final, recurrence.mlstm_initial((), 1, 1))
  wide = jax.tree.map(lambda x: x.astype(jnp.float32), arguments)
  want, _ = run(wide, None, "sequential", 16)
  # Operands of products have 8 bits, and some divisors are small.
  error = np.median(np.abs(h.astype(jnp.float32) - want))
  assert error < 0.01 * np.std(want)


def test_a_later_document_does_not_see_an_earlier_one():
  """Not one bit, wherever the border lies in a chunk."""
  arguments = jax.tree.map(np.float32, problem(20))
  for border in (3, 6, 8):
    reset = np.zeros((2, 3, 20), bool)
    reset[..., border] = True
    changed = jax.tree.map(np.copy, arguments)
    for x in changed[:-1]:
      x[:, :, border - 1] -= 0.5
    before, after = (run(x, reset)[0] for x in (arguments, changed))
    np.testing.assert_array_equal(
      before[..., border:, :], after[..., border:, :]
    )


def test_no_state_is_kept_for_each_element():
  """The gradient holds that at the start of each chunk, beside the inputs."""
  x = jax.ShapeDtypeStruct((1, 1024, 16), jnp.float32)
  gate = jax.ShapeDtypeStruct((1, 1024), jnp.float32)

  def loss(*x):
    return jnp.sum(
      recurrence.mlstm_scan(*x, method="chunked", chunk_size=64)[0]
    )

  compiled = jax.jit(jax.grad(loss)).lower(x, x, x, gate, gate).compile()
  given = 3 * x.size * 4
  # States of all elements would be 5.7 times what is given, and scores of all
  # pairs 21 times.
  assert compiled.memory_analysis().temp_size_in_bytes < 3 * given


@pytest.mark.parametrize(
  ("kwargs", "message"),
  [
    ({"v": jnp.ones(DV)}, r"v: got shape .*, expected \(\*batch, time, dv\)"),
    ({"v": jnp.ones((2, 5, DV), int)}, "v: got dtype .*, expected a floating"),
    ({"k": jnp.ones((2, 4, DK))}, r"k: got shape .*, expected \(2, 5, dk\)"),
    ({"q": jnp.ones((2, 5, 3))}, r"q: got shape .*, expected \(2, 5, 4"),
    (
      {"log_input": jnp.ones((2, 5, 1))},
      r"log_input: got shape .*, expected \(2, 5",
    ),
    (
      {"log_forget": jnp.ones((2, 5), int)},
      "log_forget: got dtype .*, expected a floating",
    ),
    (
      {"init": recurrence.mlstm_initial((2,), 3, DV)},
      r"init: got .*, expected \(C, n, m\) of shapes \(2, 4, 5\), \(2, 4\)",
    ),
    ({"eps": -1}, "eps: got -1, expected a finite number of at least 0"),
    *methods.BAD_OPTIONS,
  ],
)
def test_bad_arguments_are_named(kwargs, message):
  ones, gate = jnp.ones((2, 5, DK)), jnp.zeros((2, 5))
  values = (ones, ones, jnp.ones((2, 5, DV)), gate, gate)
  arguments = dict(zip(_NAMES, values))
  with pytest.raises(ValueError, match=message):
    recurrence.mlstm_scan(**arguments | kwargs)
