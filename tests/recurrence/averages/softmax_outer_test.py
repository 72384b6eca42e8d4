"""softmax_outer_scan against the original code and a loop over time."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.recurrence import reference
from jaxseq.recurrence.averages import _softmax_linear
from tests.recurrence import methods
from tests.recurrence.averages import softmax_cases
from tests.recurrence.averages.softmax_outer_cases import DV
from tests.recurrence.averages.softmax_outer_cases import FORWARD
from tests.recurrence.averages.softmax_outer_cases import GRADIENT
from tests.recurrence.averages.softmax_outer_cases import close
from tests.recurrence.averages.softmax_outer_cases import evaluate
from tests.recurrence.averages.softmax_outer_cases import problem
from tests.recurrence.averages.softmax_outer_cases import resets

QUICK = [*methods.quick("chunked"), "decays"]
SINK = 0.5


# Compiled once for all methods.
def _loop(*arguments, **options):
  *arguments, reset = arguments
  return reference.softmax_outer_scan(*arguments, reset=reset, **options)


looped = jax.jit(
  functools.partial(evaluate, functools.partial(_loop, sink=SINK))
)


def golden_gradient(data, dtype, **options):
  """Outputs, final state and the gradients by q, g, k and v."""
  *arguments, cotangent = (
    data[name].astype(dtype) for name in ("q", "g", "k", "v", "do")
  )

  @jax.jit
  def gradient(arguments, reset):
    def loss(arguments):
      o, final = recurrence.softmax_outer_scan(
        *arguments, reset=reset, **options
      )
      return jnp.sum(o * cotangent), (o, final)

    return jax.value_and_grad(loss, has_aux=True)(arguments)

  heads = data["q"].shape[:3]
  none = np.zeros(heads, bool)
  (_, (o, final)), grads = gradient(arguments, none)
  reset = np.broadcast_to(data["reset"][:, None], heads)
  (_, (o_reset, _)), _ = gradient(arguments, reset)
  return o, final, grads, o_reset


def test_golden_core(x64, golden):
  """The additive rule of Doraemonzzz/xopes, in chunks of 5 of 13 elements."""
  del x64
  data = golden("lightnet/core_causal")
  o, final, grads, o_reset = golden_gradient(data, np.float64, chunk_size=5)
  close(o, data["o"], FORWARD)
  close(o_reset, data["o_reset"], FORWARD)
  for part, name in zip(final, ("m", "denom", "s")):
    close(part, data[f"final_{name}"], FORWARD)
  for grad, name in zip(grads, "qgkv"):
    close(grad, data[f"d{name}"], GRADIENT)


@pytest.mark.parametrize(
  ("method", "dtype"),
  [
    pytest.param("decays", np.float32, marks=pytest.mark.slow),
    *softmax_cases.FORMS,
  ],
)
def test_golden_extreme_logits(golden, method, dtype):
  """Ramps and spikes of 300, and an offset of 180."""
  data = golden("lightnet/core_causal_extreme")
  # The errors that were measured for this form in float32; and the last digits
  # of logits of 300 in the outputs with resets, which are of another size.
  forward, backward = FORWARD, GRADIENT
  if dtype == np.float32:
    forward, backward = 6e-6, 6e-6
  with jax.enable_x64(dtype == np.float64):
    o, final, grads, o_reset = golden_gradient(data, dtype, method=method)
  assert o.dtype == dtype
  close(o, data["o"], forward)
  close(o_reset, data["o_reset"], 2 * forward)
  for part, name in zip(final, ("m", "denom", "s")):
    close(part, data[f"final_{name}"], 2 * forward)
  for grad, name in zip(grads, "qgkv"):
    close(grad, data[f"d{name}"], backward)


@pytest.mark.parametrize("name", ["core_causal", "core_causal_extreme"])
def test_golden_state_in_the_middle(x64, golden, name):
  del x64
  data = golden(f"lightnet/{name}")
  inputs = [data[key] for key in ("q", "g", "k", "v")]
  split = int(data["split"])
  scan = jax.jit(recurrence.softmax_outer_scan)
  state, outputs = None, []
  for piece, prefix in ((slice(split), "mid"), (slice(split, None), "final")):
    o, state = scan(*(x[:, :, piece] for x in inputs), state)
    outputs.append(o)
    for part, key in zip(state, ("m", "denom", "s")):
      close(part, data[f"{prefix}_{key}"], FORWARD)
  close(jnp.concatenate(outputs, 2), data["o"], FORWARD)


@pytest.mark.parametrize("method", QUICK)
def test_values_and_gradients_equal_the_loop(x64, method):
  """Two chunks and a remainder of one; close and distant logits; a sink."""
  del x64

  def scan(*arguments):
    *arguments, reset = arguments
    return recurrence.softmax_outer_scan(
      *arguments, reset=reset, chunk_size=18, method=method, sink=SINK
    )

  compiled = jax.jit(functools.partial(evaluate, scan))
  for scale in (1.0, 300.0):
    arguments = problem(37, scale)
    for name, reset in resets(37).items():
      got, want = compiled(arguments, reset), looped(arguments, reset)
      softmax_cases.check_equal(got, want, f"{name}, scale {scale}")


@pytest.mark.parametrize(
  ("size", "with_k"),
  [
    (4, True),
    (None, False),
    pytest.param(1, False, marks=pytest.mark.slow),
    pytest.param(17, False, marks=pytest.mark.slow),
  ],
)
def test_results_do_not_depend_on_chunks(x64, size, with_k):
  """Nor on whether there is a reset argument, or a k of ones."""
  del x64
  q, logits, _, v, init = problem(37)
  none = np.zeros((2, 37), bool)
  ones = np.ones_like(q)
  want = jax.jit(_loop)(q, logits, ones, v, init, none)
  scan = jax.jit(recurrence.softmax_outer_scan, static_argnames="chunk_size")
  k = ones if with_k else None
  got = scan(q, logits, k, v, init, chunk_size=size)
  # float64 rounding.
  chex.assert_trees_all_close(got, want, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
  "time", [1, pytest.param(7, marks=pytest.mark.slow), 67]
)
def test_any_length_equals_steps(x64, time):
  """67 is prime and longer than the chunk on CPUs."""
  del x64
  *inputs, init = problem(time)
  reset = resets(time)["random"]
  o, final = jax.jit(recurrence.softmax_outer_scan)(*inputs, init, reset=reset)

  @jax.jit
  def steps(inputs, init, reset):
    def body(state, element):
      (*inputs, reset) = element
      o, state = recurrence.softmax_outer_step(*inputs, state, reset=reset)
      return state, o

    elements = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), (*inputs, reset))
    state, o = jax.lax.scan(body, init, elements)
    return jnp.moveaxis(o, 0, 1), state

  # float64 rounding.
  chex.assert_trees_all_close(
    steps(inputs, init, reset), (o, final), rtol=1e-11, atol=1e-12
  )


@pytest.mark.slow
@pytest.mark.parametrize("method", QUICK)
def test_a_channel_leaves_out_minus_infinity(method):
  """And adds nothing before its first element."""
  *inputs, _ = problem(20)
  q, logits, k, v = (x.astype("f") for x in inputs)
  logits[:, :5, 0] = logits[:, :, 1] = -np.inf

  @jax.jit
  def gradient(q, logits):
    def loss(q, logits):
      o, final = recurrence.softmax_outer_scan(q, logits, k, v, method=method)
      return jnp.sum(o**2) + jnp.sum(final.w), o

    return jax.value_and_grad(loss, (0, 1), has_aux=True)(q, logits)

  (_, o), (d_q, d_logits) = gradient(q, logits)
  chex.assert_tree_all_finite((o, d_q, d_logits))
  assert not np.any(d_logits[logits == -np.inf])
  weights = np.exp(logits)
  total = np.cumsum(weights, 1)
  share = q / np.where(total > 0, total, 1)
  pairs = np.einsum("rtd,rsd->rts", share, weights * k)
  # float32 rounding.
  np.testing.assert_allclose(o, np.tril(pairs) @ v, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("method", QUICK)
def test_a_reset_forgets_inf_and_nan(method):
  """In the outputs after it, the state and the gradients."""
  *inputs, init = problem(20)
  q, logits, k, v = (x.astype("f") for x in inputs)
  q[0, 0], k[1, 1], v[0, 3] = np.inf, np.nan, np.nan
  logits[0, 1], logits[1, 2] = np.nan, np.inf
  init = jax.tree.map(lambda x: np.full_like(x, np.inf, dtype="f"), init)
  reset = np.zeros((2, 20), bool)
  reset[:, 4] = True

  @jax.jit
  def gradient(*inputs):
    def loss(*inputs):
      o, final = recurrence.softmax_outer_scan(
        *inputs, init, reset=reset, method=method
      )
      return jnp.sum(o[:, 4:] ** 2) + jnp.sum(final.w), (o[:, 4:], final)

    return jax.value_and_grad(loss, (0, 1, 2, 3), has_aux=True)(*inputs)

  (_, (o, final)), grads = gradient(q, logits, k, v)
  chex.assert_tree_all_finite([x[:, 4:] for x in grads])
  after = [x[:, 4:] for x in (q, logits, k, v)]
  want, last = reference.softmax_outer_scan(*after)
  # float32 rounding.
  options = {"rtol": 1e-5, "atol": 2e-6}
  np.testing.assert_allclose(o, want, **options)
  chex.assert_trees_all_close(final, last, **options)


def test_bfloat16_inputs_are_accumulated_in_float32():
  *inputs, _ = problem(50)
  narrow = [jnp.asarray(x, jnp.bfloat16) for x in inputs]
  scan = jax.jit(recurrence.softmax_outer_scan)
  o, final = scan(*narrow)
  exact, exact_final = scan(*(x.astype(jnp.float32) for x in narrow))
  assert o.dtype == jnp.bfloat16
  chex.assert_type(list(final), jnp.float32)
  # Only the result is rounded, to 8 bits; the state not at all.
  np.testing.assert_allclose(o.astype("f4"), exact, rtol=2**-8, atol=1e-6)
  chex.assert_trees_all_close(final, exact_final, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("method", QUICK)
def test_channels_with_one_logit(x64, method):
  """They are as channels that have the same logits."""
  del x64
  rng = np.random.default_rng(3)
  q, k = rng.normal(size=(2, 2, 9, 4))
  logits, v = rng.normal(size=(2, 9, 2)), rng.normal(size=(2, 9, DV))
  m, u = rng.normal(size=(2, 2)), rng.uniform(1, 2, (2, 2))
  w, reset = rng.normal(size=(2, 4, DV)), rng.uniform(size=(2, 9)) < 0.2

  def run(repeats):
    def loss(logits, m, u, w):
      logits, m, u = (
        jnp.concatenate([x] * repeats, -1) for x in (logits, m, u)
      )
      o, final = recurrence.softmax_outer_scan(
        *(q, logits, k, v, recurrence.SoftmaxState(m, u, w)),
        reset=reset,
        method=method,
        chunk_size=4,
        sink=SINK,
      )
      final = final._replace(m=final.m[:, :2], u=final.u[:, :2])
      results = o, final
      return sum(jnp.sum(jnp.sin(x)) for x in jax.tree.leaves(results)), results

    arguments = logits, m, u, w
    return jax.jit(jax.grad(loss, range(4), has_aux=True))(*arguments)

  chex.assert_trees_all_close(run(1), run(2), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
  "method", [pytest.param("chunked", marks=pytest.mark.slow), "decays"]
)
def test_wide_logits_leave_outputs_narrow(method):
  q, logits, k, v, _ = problem(50)
  narrow = [jnp.asarray(x, jnp.bfloat16) for x in (q, k, v)]
  scan = functools.partial(recurrence.softmax_outer_scan, method=method)

  @jax.jit
  def run(q, k, v):
    return scan(q, jnp.asarray(logits, "f"), k, v)[0]

  o, exact = run(*narrow), run(*(x.astype("f") for x in narrow))
  assert o.dtype == jnp.bfloat16
  # What enters products is rounded, and what comes out: two roundings.
  size = np.sqrt(np.mean(np.square(exact)))
  error = np.sqrt(np.mean(np.square(o.astype("f4") - exact)))
  assert error < 2 * 2**-8 * size


@pytest.mark.slow
def test_narrow_inputs_run_in_chunks(monkeypatch):
  """Two of them and a remainder, with a state and resets, and gradients."""
  rng = np.random.default_rng(3)
  q, k = rng.normal(size=(2, 2, 20, 4))
  logits, v = rng.normal(size=(2, 20, 2)), rng.normal(size=(2, 20, DV))
  init = recurrence.SoftmaxState(
    *(rng.normal(size=(2, 2)), rng.uniform(1, 2, (2, 2))),
    rng.normal(size=(2, 4, DV)),
  )
  reset = rng.uniform(size=(2, 20)) < 0.2
  narrow = [jnp.asarray(x, jnp.bfloat16) for x in (q, logits, k, v)]
  state = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), init)

  def run(*arguments):
    *arguments, reset = arguments
    return recurrence.softmax_outer_scan(
      *arguments, reset=reset, method="decays"
    )

  whole = jax.jit(functools.partial(evaluate, run))
  expected = whole((*narrow, state), reset)
  monkeypatch.setattr(_softmax_linear, "_SECTION", 8)
  sections = jax.jit(functools.partial(evaluate, run))
  got = sections((*narrow, state), reset)
  for x, y in zip(*map(jax.tree.leaves, (got, expected)), strict=True):
    assert x.dtype == y.dtype
    x, y = np.asarray(x, "f4"), np.asarray(y, "f4")
    # Roundings to 8 bits, of numbers that differ in their last digits.
    assert np.linalg.norm(x - y) <= 2**-8 * np.linalg.norm(y)


@pytest.mark.slow
@pytest.mark.parametrize(
  "with_gradient", [pytest.param(False, marks=pytest.mark.slow), True]
)
def test_memory_does_not_hold_the_states(with_gradient):
  """XLA's temporaries stay well below one array of all states."""
  rows, time, dk, dv = 2, 4096, 32, 32

  def forward(*x):
    return recurrence.softmax_outer_scan(*x, chunk_size=64, method="chunked")[0]

  def loss(*x):
    return jnp.sum(forward(*x) ** 2)

  function = jax.grad(loss, range(4)) if with_gradient else forward
  shapes = [(rows, time, dk)] * 3 + [(rows, time, dv)]
  compiled = (
    jax.jit(function)
    .lower(*(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes))
    .compile()
  )
  all_states = rows * time * dk * dv * 4
  assert compiled.memory_analysis().temp_size_in_bytes < all_states / 3


@pytest.mark.parametrize(
  ("kwargs", "message"),
  [
    ({"q": jnp.ones(3)}, r"q: got shape .*, expected \(\*batch, time, dk\)"),
    ({"q": jnp.ones((2, 5, 3), int)}, "q: got dtype .*, expected a floating"),
    (
      {"logits": jnp.ones((2, 5, 4))},
      r"logits: got shape .*, expected \(2, 5, 'n'\), n a divisor of 3",
    ),
    ({"k": jnp.ones((2, 4, 3))}, r"k: got shape \(2, 4, 3\), expected .*"),
    (
      {"v": jnp.ones((2, 4, 2))},
      r"v: got shape .*, expected \(2, 5, dv\)",
    ),
    (
      {"init": jnp.ones((3, 2))},
      r"init: got .*, expected \(m, u, w\) of shapes",
    ),
    ({"reset": jnp.ones((2, 5))}, "reset: got dtype .*, expected bool"),
    ({"sink": np.inf}, "sink: got inf, expected a finite number or None"),
    *methods.BAD_OPTIONS,
  ],
)
def test_bad_arguments_are_named(kwargs, message):
  arguments = {
    "q": jnp.ones((2, 5, 3)),
    "logits": jnp.ones((2, 5, 3)),
    "k": None,
    "v": jnp.ones((2, 5, 2)),
  }
  with pytest.raises(ValueError, match=message):
    recurrence.softmax_outer_scan(**arguments | kwargs)
