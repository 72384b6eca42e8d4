"""WKV against plain steps: methods, gradients, extremes, devices."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.recurrence import reference

P = jax.sharding.PartitionSpec
# float64 rounding.
_FLOAT64 = {"rtol": 1e-11, "atol": 1e-12}
_METHODS = ["sequential", "associative", "chunked"]
_SLOW = pytest.mark.slow


def problem(time, rows=2, n=3, spread=1.0, seed=0):
  """Arguments of `wkv_scan`, and flags; a state that others have left."""
  rng = np.random.default_rng(seed)
  k, v = spread * rng.normal(size=(2, rows, time, n))
  decay, bonus = -np.exp(rng.normal(size=n)), rng.normal(size=n)
  state = recurrence.SoftmaxState(
    spread * rng.normal(size=(rows, n)),
    rng.uniform(0.5, 2, size=(rows, n)),
    rng.normal(size=(rows, n, 1)),
  )
  return (k, v, decay, bonus, state), rng.random((rows, time)) < 0.3


def value_and_gradients(scan, *arguments, reset):
  """Of a function of all results, maxima too."""

  def loss(*arguments):
    o, state = scan(*arguments, reset=reset)
    leaves = [o, *state]
    weights = np.random.default_rng(3)
    return sum(jnp.sum(x * weights.normal(size=x.shape)) for x in leaves), o

  return jax.jit(jax.value_and_grad(loss, tuple(range(5)), has_aux=True))(
    *arguments
  )


@pytest.mark.parametrize(
  ("method", "resets"),
  [
    ("sequential", True),
    pytest.param("sequential", False, marks=_SLOW),
    pytest.param("associative", True, marks=_SLOW),
    pytest.param("associative", False, marks=_SLOW),
    pytest.param("chunked", True, marks=_SLOW),
  ],
)
def test_equals_plain_steps(x64, method, resets):
  """Outputs, the last state and all gradients, in chunks of 4 of 11."""
  del x64
  arguments, reset = problem(11)
  reset = reset if resets else None
  scan = functools.partial(recurrence.wkv_scan, method=method, chunk_size=4)
  chex.assert_trees_all_close(
    value_and_gradients(scan, *arguments, reset=reset),
    value_and_gradients(reference.wkv_scan, *arguments, reset=reset),
    **_FLOAT64,
  )


def test_the_formula(x64):
  """The sums of the definition, for keys for which they do not overflow."""
  del x64
  (k, v, decay, bonus, _), _ = problem(6)
  o, _ = jax.jit(recurrence.wkv_scan)(k, v, decay, bonus)
  for t in range(6):
    past = np.arange(t)[:, None]
    weights = np.exp(k[:, :t] + (t - 1 - past) * decay)
    now = np.exp(k[:, t] + bonus)
    above = np.sum(weights * v[:, :t], axis=1) + now * v[:, t]
    expected = above / (np.sum(weights, axis=1) + now)
    np.testing.assert_allclose(o[:, t], expected, **_FLOAT64)


def test_steps_equal_the_sequence(x64):
  del x64
  arguments, reset = problem(7)
  *_, state = arguments
  expected = jax.jit(recurrence.wkv_scan)(*arguments, reset=reset)
  k, v, decay, bonus, _ = arguments
  step, outputs = jax.jit(recurrence.wkv_step), []
  for t in range(7):
    o, state = step(k[:, t], v[:, t], decay, bonus, state, reset=reset[:, t])
    outputs.append(o)
  got = np.stack(outputs, axis=1), state
  chex.assert_trees_all_close(got, expected, **_FLOAT64)


@_SLOW
@pytest.mark.parametrize("method", ["sequential", "associative"])
def test_any_logarithms_will_do(method):
  """Of some hundreds, in float32: relative to float64's of the same."""
  arguments, reset = problem(40, spread=200.0)
  narrow = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), arguments)
  scan = functools.partial(recurrence.wkv_scan, method=method)
  (value, o), grads = value_and_gradients(scan, *narrow, reset=reset)
  chex.assert_tree_all_finite((value, o, grads))
  with jax.enable_x64(True):
    wide = jax.tree.map(lambda x: np.asarray(x, np.float64), narrow)
    exact, _ = reference.wkv_scan(*wide, reset=reset)
  # Logarithms of 800 are exact to 3e-5, and weights are as exact as they are;
  # values are of 800.
  np.testing.assert_allclose(o, exact, atol=800 * 1e-4)


@_SLOW
def test_long_sequences_do_not_lose_digits():
  """The maximum decays with the weights, and does not count from the start."""
  time = 4096
  k = jnp.zeros((1, time, 1)).at[0, 0].set(5.0)
  v = jnp.asarray(np.random.default_rng(0).normal(size=(1, time, 1)), "f")
  decay, bonus = jnp.array([-3.7]), jnp.array([0.3])
  for method in ("sequential", "associative"):
    o, _ = recurrence.wkv_scan(k, v, decay, bonus, method=method)
    # Weights of e^-3.7 on the element before the last one, and so on.
    weights = np.exp(-3.7 * np.arange(30, dtype=np.float64))[::-1]
    past = np.asarray(v[0, -31:-1, 0], np.float64)
    above = weights @ past + np.exp(0.3) * float(v[0, -1, 0])
    expected = above / (weights.sum() + np.exp(0.3))
    np.testing.assert_allclose(o[0, -1, 0], expected, rtol=1e-5)


@_SLOW
def test_nothing_undefined_passes_a_reset(x64):
  del x64
  (k, v, decay, bonus, state), _ = problem(5)
  reset = np.zeros((2, 5), bool)
  reset[:, 2] = True
  for method in _METHODS:
    scan = functools.partial(recurrence.wkv_scan, method=method, reset=reset)
    o, last = scan(k, v, decay, bonus, state)
    spoiled = np.where(np.arange(5)[:, None] < 2, np.nan, k)
    bad = jax.tree.map(lambda x: np.full_like(x, np.inf), state)
    got, end = scan(spoiled, v, decay, bonus, bad)
    np.testing.assert_allclose(got[:, 2:], o[:, 2:], **_FLOAT64)
    assert np.isnan(got[:, :2]).all()
    chex.assert_trees_all_close(end, last, **_FLOAT64)


@_SLOW
def test_an_element_left_out():
  (k, v, decay, bonus, _), _ = problem(3)
  k[:, 0] = -np.inf
  o, state = recurrence.wkv_scan(k, v, decay, bonus)
  rest = k[:, 1:], v[:, 1:], decay, bonus
  expected, end = recurrence.wkv_scan(*rest)
  assert not o[:, 0].any()
  chex.assert_trees_all_close(
    (o[:, 1:], state), (expected, end), rtol=1e-5, atol=1e-6
  )


@pytest.mark.slow
@pytest.mark.devices
@pytest.mark.parametrize(
  ("resets", "exchange"),
  [
    (True, "gather"),
    pytest.param(True, "ppermute", marks=_SLOW),
    pytest.param(False, "gather", marks=_SLOW),
  ],
)
def test_time_over_devices(x64, resets, exchange):
  del x64
  arguments, reset = problem(16, rows=6)
  reset[0], reset[1] = False, True
  reset = reset if resets else None
  mesh = jax.sharding.Mesh(np.asarray(jax.devices()[:4]), ("sp",))
  time = P(None, "sp")

  def scan(*arguments, reset):
    run = functools.partial(recurrence.wkv_scan, axis="sp")
    with recurrence.exchanging(exchange):
      return jax.shard_map(
        lambda *own: run(*own[:-1], reset=own[-1]),
        mesh=mesh,
        in_specs=(time, time, P(), P(), P(), time),
        out_specs=(time, P()),
      )(*arguments, reset)

  chex.assert_trees_all_close(
    value_and_gradients(scan, *arguments, reset=reset),
    value_and_gradients(reference.wkv_scan, *arguments, reset=reset),
    **_FLOAT64,
  )


def test_bad_input_is_refused():
  (k, v, decay, bonus, state), _ = problem(3)
  with pytest.raises(ValueError, match="decay: got shape"):
    recurrence.wkv_scan(k, v, decay[:2], bonus)
  with pytest.raises(ValueError, match="init: got"):
    recurrence.wkv_scan(k, v, decay, bonus, state._replace(u=state.u[:1]))
  with pytest.raises(ValueError, match="method"):
    recurrence.wkv_scan(k, v, decay, bonus, method="fast")
