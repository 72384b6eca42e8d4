"""window_attention with decays: values, gradients, states and precision."""

import functools

import chex
import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.recurrence import reference
from jaxseq.recurrence.attention import _fades
from tests.recurrence.shared import sharded_cases as cases

P = jax.sharding.PartitionSpec
_NAMES = "q", "k", "v", "decay"


def problem(time, groups=2, heads=4, width=3, rows=2):
  rng = np.random.default_rng(0)
  q = rng.normal(size=(rows, time, heads, width))
  k, v = rng.normal(size=(2, rows, time, groups, width))
  return q, k, v, -rng.exponential(size=(rows, time, heads))


def fresh(q, k, window):
  """The state of no elements."""
  (rows, _, heads, _), (*_, groups, width) = q.shape, k.shape
  cache = jnp.zeros((rows, window, groups, width))
  fades = jnp.zeros((rows, window, heads))
  return recurrence.FadingWindowState(cache, cache, jnp.zeros(rows), fades)


def attend(q, k, v, decay, window, state=None, **options):
  options["decay"] = decay
  return recurrence.window_attention(q, k, v, window, state, **options)


@pytest.mark.parametrize("size", [None, 5])
@pytest.mark.parametrize("name", ["fox", "fox_extreme", "fox_gqa_window"])
def test_golden(x64, golden, name, size):
  """Outputs, at once and by steps, and the gradients of sum(o * w)."""
  del x64
  data = golden(f"fox/{name}")
  arrays = [data[key] for key in _NAMES]
  # The window of the original counts the element itself.
  window = int(data.get("cfg/window", 18)) - 1

  def loss(*arrays):
    o, state = attend(*arrays, window, block_size=size)
    return jnp.sum(o * data["w"]), (o, state)

  gradient = jax.jit(jax.grad(loss, (0, 1, 2, 3), has_aux=True))
  grads, (o, last) = gradient(*arrays)
  np.testing.assert_allclose(o, data["o"], rtol=1e-10, atol=1e-10)
  for key, grad in zip(_NAMES, grads):
    expected = data[f"grad_{key}"]
    bound = 1e-10 * np.abs(expected).max()
    np.testing.assert_allclose(grad, expected, rtol=0, atol=bound)
  if size is not None:
    return
  step, state = jax.jit(attend, static_argnums=4), fresh(*arrays[:2], window)
  for t in range(o.shape[1]):
    one, state = step(*(x[:, t : t + 1] for x in arrays), window, state)
    np.testing.assert_allclose(one, o[:, t : t + 1], rtol=1e-10, atol=1e-12)
  # Sums from the other end.
  chex.assert_trees_all_close(state, last, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("count", [1, 5, 32, 33, 70])
def test_sums_between_elements(x64, count):
  """Sums and their gradients, in parts of time and pair by pair."""
  del x64
  decay = -np.random.default_rng(0).exponential(size=(2, count))

  def loss(decay, pairs):
    sums = jnp.tril(pairs(decay))
    return jnp.sum(jnp.sin(sums)), sums

  def evaluate(pairs):
    return jax.grad(loss, has_aux=True)(jnp.asarray(decay), pairs)

  chex.assert_trees_all_close(
    evaluate(_fades.between), evaluate(_fades._pairs), rtol=1e-12, atol=1e-12
  )


@pytest.mark.parametrize(
  "time", [700, pytest.param(4096, marks=pytest.mark.slow)]
)
def test_float32_is_near_float64_over_long_sequences(time):
  """Gates near 1 / 2, of which one sum of 4096 is -2800."""
  q, k, v, _ = problem(time, groups=1, heads=1, width=4, rows=1)
  rng = np.random.default_rng(1)
  gates = 1 / (1 + np.exp(-0.1 * rng.normal(size=q.shape[:-1])))
  # The same numbers in both.
  arrays = [np.float32(x) for x in (q, k, v, np.log(gates))]
  weights = np.float32(rng.normal(size=q.shape))

  @jax.jit
  def gradient(*arrays):
    def loss(*arrays):
      o, _ = attend(*arrays, time - 1)
      return jnp.sum(o * weights), o

    return jax.grad(loss, (0, 1, 2, 3), has_aux=True)(*arrays)

  narrow = gradient(*arrays)
  with jax.enable_x64(True):
    wide = gradient(*(np.float64(x) for x in arrays))
  for near, exact in zip(jax.tree.leaves(narrow), jax.tree.leaves(wide)):
    # Measured 3e-7 of the largest at most, as without decays; one cumulative
    # sum of 4096 has 1e-4.
    bound = 1e-6 * np.abs(exact).max()
    np.testing.assert_allclose(near, exact, rtol=0, atol=bound)


@functools.partial(jax.jit, static_argnums=(2, 3))
def two_calls(arrays, reset, window, cut):
  """Outputs and last states, in two calls and in one."""
  state, outputs = fresh(*arrays[:2], window), []
  # Undefined numbers of another episode do no harm.
  state = jax.tree.map(lambda x: x + jnp.nan, state)
  for part in (slice(0, cut), slice(cut, None)):
    parts = (x[:, part] for x in arrays)
    options = {"reset": reset[:, part], "block_size": 4}
    o, state = attend(*parts, window, state, **options)
    outputs.append(o)
  whole, last = attend(*arrays, window, reset=reset)
  return (jnp.concatenate(outputs, axis=1), state), (whole, last)


@pytest.mark.parametrize(("window", "cut"), [(1, 4), (3, 1), (20, 10)])
@hypothesis.given(flags=st.lists(st.booleans(), min_size=11, max_size=11))
@hypothesis.settings(deadline=None, max_examples=15)
def test_two_calls_with_resets_are_the_definition(flags, window, cut):
  with jax.enable_x64(True):
    q, k, v, decay = arrays = problem(11)
    reset = np.array([flags, flags[::-1]])
    reset[:, 0] = True
    start = np.maximum.accumulate(np.where(reset, np.arange(11), 0), axis=-1)
    pieces, whole = two_calls(arrays, reset, window, cut)
    chex.assert_trees_all_close(pieces, whole, rtol=1e-11, atol=1e-12)
    expected = reference.window_attention(q, k, v, start, window, decay)
    np.testing.assert_allclose(whole[0], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_undefined_decays_stay_between_the_elements_that_they_part(bad):
  arrays = problem(12)
  decay = arrays[3].copy()
  decay[:, 4, 1] = bad
  reset = np.zeros((2, 12), bool)
  # One at which another episode begins is not read.
  reset[1, 4] = reset[:, 8] = True

  def loss(*arrays):
    o, state = attend(*arrays, 2, reset=reset, block_size=5)
    return jnp.sum(o[:, 8:] ** 2) + jnp.sum(state.fades), (o, state)

  gradient = jax.jit(jax.grad(loss, (0, 1, 2, 3), has_aux=True))
  grads, (o, state) = gradient(*arrays[:3], decay)
  undefined = ~np.isfinite(o).all(axis=(2, 3))
  np.testing.assert_array_equal(np.argwhere(undefined), [[0, 4], [0, 5]])
  chex.assert_tree_all_finite((grads, state))


def test_products_with_distances_and_expanded_keys_fade_too(x64):
  """Scores that other options make get the same sums added."""
  del x64
  q, k, v, decay = problem(9, groups=4)
  start = np.zeros((2, 9), int)
  expected = reference.window_attention(q, k, v, start, 3, decay)
  both = np.concatenate([k, v], axis=-1)
  o, _ = recurrence.window_attention(
    *(q, both, None, 3), decay=decay, expand=lambda x: jnp.split(x, 2, axis=-1)
  )
  np.testing.assert_allclose(o, expected, rtol=1e-12, atol=1e-12)
  nothing = np.zeros((4, *q.shape[-2:]))
  o, _ = attend(q, k, v, decay, 3, distances=(q, nothing), block_size=4)
  np.testing.assert_allclose(o, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.devices
@pytest.mark.parametrize("window", [3, 20])
def test_split_time_is_the_whole(x64, window):
  """Outputs, last state and all gradients, from a state and with resets."""
  del x64
  devices, time = 4, 16
  reset = cases.masks(time, devices, 2)
  arrays = problem(time, rows=len(reset))
  rng = np.random.default_rng(1)
  state = fresh(*arrays[:2], window)
  state = jax.tree.map(lambda x: rng.normal(size=x.shape), state)
  lengths = np.resize([0.0, 2, window, window + 5], len(reset))
  state = state._replace(fades=-(state.fades**2), length=lengths)

  def evaluate(function):
    @jax.jit
    def run(arrays, state):
      out, pull = jax.vjp(lambda *x: function(*x, reset), arrays, state)
      rng = np.random.default_rng(2)
      draw = lambda x: jnp.asarray(rng.normal(size=x.shape))  # noqa: E731
      return out, pull(jax.tree.map(draw, out))

    return run(arrays, state)

  def run(arrays, state, reset, **options):
    return attend(*arrays, window, state, reset=reset, **options)

  along = P(None, "sp")
  split = jax.shard_map(
    functools.partial(run, axis="sp"),
    mesh=cases.mesh_of(devices),
    in_specs=(along, P(), along),
    out_specs=(along, P()),
  )
  chex.assert_trees_all_close(
    evaluate(split),
    evaluate(run),
    rtol=1e-10,  # float64 sums in another order.
    atol=1e-11,
  )


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"decay": np.ones((2, 5, 3))}, r"decay: got shape \(2, 5, 3\), expected"),
    ({"decay": np.ones((2, 5, 4), int)}, "decay: got dtype int"),
    (
      {"init": recurrence.WindowState(*np.ones((2, 2, 3, 2, 3)), np.ones(2))},
      "init: got 'WindowState', expected a FadingWindowState, with a decay",
    ),
    ({"decay": None}, "decay: got None, expected decays, as init has fades"),
    (
      {"search": recurrence.hip.Hip(4, 2, 1, 0)},
      "search: got Hip.*, expected None with a decay",
    ),
  ],
)
def test_bad_arguments_are_named(changes, message):
  q, k, v, decay = problem(5)
  arguments = {"decay": decay, "init": fresh(q, k, 3)} | changes
  with pytest.raises(ValueError, match=message):
    recurrence.window_attention(q, k, v, 3, **arguments)


def test_kernels_take_no_decays():
  q, k, v, decay = problem(5)
  with pytest.raises(NotImplementedError, match="got decays"):
    attend(q, k, v, decay, 3, method="pallas")
