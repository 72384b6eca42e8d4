"""Kernels of softmax_outer_scan for Hopper, interpreted, against float64."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.recurrence import kernels
from jaxseq.recurrence import reference
from tests.kernels.outer import outer_gpu_test
from tests.recurrence.averages import softmax_cases

pytestmark = outer_gpu_test.pytestmark
SINK = 0.5


@pytest.fixture(autouse=True)
def interpreted():
  with kernels.interpret("gpu"):
    yield


def problem(time, keys=8, logits=8, values=5, scale=1.0):
  """q, logits, k, v in bfloat16 but the logits, and a state of others."""
  rng = np.random.default_rng(0)

  def draw(*shape):
    return jnp.asarray(rng.normal(size=(2, *shape)), jnp.float32)

  q, k = (draw(time, keys).astype(jnp.bfloat16) for _ in range(2))
  v = draw(time, values).astype(jnp.bfloat16)
  u = jnp.asarray(rng.uniform(1, 2, (2, logits)), jnp.float32)
  init = recurrence.SoftmaxState(draw(logits), u, draw(keys, values))
  return q, scale * draw(time, logits), k, v, init


def resets(time, kind):
  return softmax_cases.resets(time, np.random.default_rng(1))[kind]


def evaluate(scan, arguments):
  """Outputs and state, and gradients from cotangents on all of them."""

  def loss(arguments):
    o, state = scan(*arguments)
    rng = np.random.default_rng(5)
    parts = o.astype(state.u.dtype), *state
    return sum(jnp.sum(x * rng.normal(size=x.shape)) for x in parts), (o, state)

  (_, values), grads = jax.value_and_grad(loss, has_aux=True)(arguments)
  return values, grads


def exactly(arguments, **options):
  """The same of the loop in float64."""

  def loop(q, logits, k, v, init):
    copies = q.shape[-1] // logits.shape[-1]
    logits, m, u = (
      jnp.concatenate([x] * copies, -1) for x in (logits, init.m, init.u)
    )
    init = init._replace(m=m, u=u)
    o, state = reference.softmax_outer_scan(q, logits, k, v, init, **options)
    n = logits.shape[-1] // copies
    return o, state._replace(m=state.m[:, :n], u=state.u[:, :n])

  with jax.enable_x64(True):
    wide = jax.tree.map(lambda x: np.asarray(x, np.float64), arguments)
    return jax.tree.map(np.asarray, evaluate(jax.jit(loop), wide))


def assert_near(got, expected, tolerance):
  """In the mean square."""
  got, expected = jax.tree.leaves(got), jax.tree.leaves(expected)
  for x, exact in zip(got, expected, strict=True):
    x, exact = np.asarray(x, np.float64), np.asarray(exact, np.float64)
    assert np.linalg.norm(x - exact) <= tolerance * np.linalg.norm(exact)


def check(arguments, reset, sink=SINK):
  """Values and gradients.

  Operands of products have 8 bits, errors of 1.2e-3 in the mean square, and so
  have decays and shares, which follow each other; in gradients twice as many.
  """
  got, expected = both(arguments, reset, sink)
  assert_near(got[0], expected[0], 6e-3)
  assert_near(got[1], expected[1], 1.2e-2)


def both(arguments, reset, sink):
  """Values and gradients of the kernels, and of the loop."""
  options = {"reset": reset, "sink": sink}
  scan = functools.partial(
    recurrence.softmax_outer_scan, method="pallas", **options
  )
  got = jax.jit(functools.partial(evaluate, scan))(arguments)
  chex.assert_trees_all_equal_dtypes(got[1], arguments)
  return got, exactly(arguments, **options)


@pytest.mark.slow
@pytest.mark.parametrize(
  "kind", ["none", "first", "last", "every", "random", "consecutive"]
)
def test_equals_the_loop(kind):
  check(problem(70), resets(70, kind))


@pytest.mark.slow
def test_without_flags():
  check(problem(70), None)


@pytest.mark.slow
def test_without_a_sink():
  check(problem(70), resets(70, "random"), None)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("time", "keys", "logits", "values"),
  [
    # One element; a whole chunk; two channels for a logit, in one block of the
    # kernel and in two.
    (1, 8, 8, 5),
    (64, 64, 64, 64),
    (20, 8, 4, 5),
    (20, 256, 128, 5),
  ],
)
def test_shapes(time, keys, logits, values):
  arguments = problem(time, keys, logits, values)
  check(arguments, resets(time, "random"))


@pytest.mark.slow
def test_logits_in_bfloat16():
  q, logits, *others = problem(20)
  arguments = q, logits.astype(jnp.bfloat16), *others
  check(arguments, resets(20, "random"))


@pytest.mark.slow
def test_distant_logits():
  """Ramps, up and down, and spikes; nothing overflows or is 0 / 0.

  Where one element has all the weight, cotangents of logits and of what was
  before are differences of equal numbers, of the size of other cotangents.
  """
  q, logits, k, v, init = problem(80)
  ramp = jnp.arange(80.0)[:, None] * jnp.linspace(-12, 12, 8)
  logits = (30 * logits + ramp).at[:, ::7, 1].add(300)
  arguments = q, logits, k, v, init
  got, expected = both(arguments, resets(80, "random"), SINK)
  assert_near(got[0], expected[0], 6e-3)
  largest = max(np.linalg.norm(x) for x in jax.tree.leaves(expected[1]))
  for x, exact in zip(*map(jax.tree.leaves, (got[1], expected[1]))):
    error = np.linalg.norm(np.asarray(x, np.float64) - exact)
    assert error <= 6e-3 * largest


@pytest.mark.slow
def test_without_keys():
  """They are ones."""
  q, logits, k, v, init = problem(20)
  reset = resets(20, "random")
  scan = jax.jit(
    functools.partial(
      recurrence.softmax_outer_scan, reset=reset, method="pallas"
    )
  )

  def both(k):
    def loss(q, logits, v, init):
      return jnp.sum(scan(q, logits, k, v, init)[0].astype(jnp.float32) ** 2)

    return jax.jit(jax.value_and_grad(loss, (0, 1, 2, 3)))(q, logits, v, init)

  # The same numbers enter the same products.
  chex.assert_trees_all_close(both(None), both(jnp.ones_like(k)), rtol=1e-6)


@pytest.mark.slow
def test_a_channel_leaves_out_minus_infinity():
  """And adds nothing before its first element."""
  q, logits, k, v, _ = problem(20)
  logits = logits.at[:, :5, 0].set(-jnp.inf).at[:, :, 1].set(-jnp.inf)

  @jax.jit
  def gradient(q, logits, k, v):
    def loss(q, logits):
      o, final = recurrence.softmax_outer_scan(q, logits, k, v, method="pallas")
      return jnp.sum(o.astype(jnp.float32) ** 2) + jnp.sum(final.w), o

    return jax.value_and_grad(loss, (0, 1), has_aux=True)(q, logits)

  (_, o), grads = gradient(q, logits, k, v)
  chex.assert_tree_all_finite((o, grads))
  assert not np.any(grads[1][logits == -np.inf])
  masked = jnp.maximum(logits, -1e30)
  wide = (x.astype(jnp.float32) for x in (q, masked, k, v))
  expected, _ = recurrence.softmax_outer_scan(*wide)
  assert_near(o, expected, 6e-3)


@pytest.mark.slow
def test_a_reset_forgets_inf_and_nan():
  q, logits, k, v, init = problem(70)
  q, k = q.at[0, 20].set(jnp.inf), k.at[1, 21].set(jnp.nan)
  v = v.at[0, 23].set(jnp.nan)
  logits = logits.at[0, 1].set(jnp.nan).at[1, 22].set(jnp.inf)
  init = jax.tree.map(lambda x: jnp.full_like(x, jnp.inf), init)
  reset = np.zeros((2, 70), bool)
  reset[:, 24] = True

  def loss(q, logits, k, v):
    o, final = recurrence.softmax_outer_scan(
      *(q, logits, k, v, init), reset=reset, method="pallas"
    )
    o = o.astype(jnp.float32)
    return jnp.sum(o[:, 24:] ** 2) + jnp.sum(final.w), (o, final)

  compiled = jax.jit(jax.value_and_grad(loss, (0, 1, 2, 3), has_aux=True))
  (_, (o, final)), grads = compiled(q, logits, k, v)
  chex.assert_tree_all_finite(grads)
  assert not np.isfinite(np.asarray(o[:, :24])).any()
  after = (x[:, 24:].astype(jnp.float32) for x in (q, logits, k, v))
  assert_near((o[:, 24:], final), reference.softmax_outer_scan(*after), 6e-3)


@pytest.mark.slow
def test_an_undefined_logit_reaches_what_follows():
  q, logits, k, v, init = problem(20)
  logits = logits.at[0, 5, 2].set(jnp.nan)
  scan = functools.partial(recurrence.softmax_outer_scan, method="pallas")
  o, final = jax.jit(scan)(q, logits, k, v, init, reset=resets(20, "none"))
  o = np.asarray(o, np.float32)
  assert np.isnan(o[0, 5:]).all()
  assert np.isnan(final.u[0, 2])
  assert np.isfinite(o[0, :5]).all()
  assert np.isfinite(o[1]).all()


@pytest.mark.slow
def test_second_derivatives_are_those_without_kernels():
  arguments, reset = problem(20), resets(20, "random")

  def along(method):
    def loss(arguments):
      o, state = recurrence.softmax_outer_scan(
        *arguments, reset=reset, method=method
      )
      return jnp.sum(jnp.sin(o.astype(jnp.float32))) + jnp.sum(state.w**2)

    def slope(arguments):
      leaves = jax.tree.leaves(jax.grad(loss)(arguments))
      return sum(jnp.sum(g.astype(jnp.float32) ** 2) for g in leaves)

    return jax.jit(jax.grad(slope))(arguments)

  # Roundings of the gradient and of what it is differentiated into.
  assert_near(along("pallas"), along("decays"), 2e-2)


@pytest.mark.slow
def test_mapped_over_batch_axes():
  arguments, reset = problem(20), resets(20, "random")

  def scan(reset, arguments):
    return recurrence.softmax_outer_scan(
      *arguments, reset=reset, method="pallas"
    )

  # The same program for each row.
  chex.assert_trees_all_close(
    jax.jit(jax.vmap(scan))(reset, arguments), jax.jit(scan)(reset, arguments)
  )


def test_what_the_kernel_does_not_take_is_said():
  def refused(keys, values, dtype, what):
    q, logits, k, v, _ = problem(2, keys, keys, values)
    q, k, v = (x.astype(dtype) for x in (q, k, v))
    with pytest.raises(NotImplementedError, match=f"per channel: {what}"):
      recurrence.softmax_outer_scan(q, logits, k, v, method="pallas")

  refused(8, 5, jnp.float32, "got dtype float32 on a GPU")
  refused(258, 5, jnp.bfloat16, "got dk 258 on a GPU")
  refused(8, 130, jnp.bfloat16, "got dv 130 on a GPU")
