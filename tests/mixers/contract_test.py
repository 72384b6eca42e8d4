"""What holds for every registered mixer; the list is in the registry.

Quick tests run over each mixer with its defaults, on short sequences; slow ones
also over other options, on longer ones.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import mixers
from tests.mixers import cases
from tests.mixers import checks
from tests.mixers import programs

# float64 sums in another order, over at most 37 steps of decaying recurrences.
_FLOAT64 = {"rtol": 1e-9, "atol": 1e-10}


def _problems():
  """Yields each mixer's case and the length of its sequences."""
  for case in cases.every():
    (bound,) = case.values
    if not bound[1]:
      yield pytest.param((bound, programs.SHORT), id=case.id)
    yield pytest.param(
      (bound, programs.LONG), id=f"{case.id}-long", marks=pytest.mark.slow
    )


@pytest.fixture(scope="module", params=list(_problems()))
def problem(request):
  """Every mixer with its inputs; its tests follow each other."""
  case, time = request.param
  with jax.enable_x64(True):
    return programs.problem(cases.bind(case), time)


@pytest.fixture(scope="module")
def used(problem):
  """A state that other sequences have left behind."""
  with jax.enable_x64(True):
    mixer, rows = problem.mixer, (programs.ROWS,)
    return jax.device_get(cases.used_state(mixer, problem.params, rows))


# 1. `apply` is the fold of `step`.


def test_apply_equals_steps(x64, problem, used):
  x = problem.x
  reset = np.random.default_rng(1).random(x.shape[:2]) < 0.3
  got = problem.apply(x, used, reset)
  chex.assert_trees_all_close(got, problem.steps(x, used, reset), **_FLOAT64)
  assert got[0].shape == x.shape


@pytest.mark.slow
@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_apply_equals_steps_with_batch_axes(x64, problem, batch):
  x = np.asarray(cases.sequence(*batch, 2))
  mixer, params = problem.mixer, problem.params
  state = cases.used_state(mixer, params, batch)
  reset = np.random.default_rng(1).random((*batch, 2)) < 0.3
  got = mixer.apply(params, x, state, reset)
  chex.assert_trees_all_close(got, problem.steps(x, state, reset), **_FLOAT64)


# 2. Pieces with the state carried.


def test_pieces_equal_steps(x64, problem, used):
  """Two pieces and an element, each from the state after the last."""
  time = problem.time
  x = np.asarray(cases.sequence(programs.ROWS, 2 * time + 1))
  reset = np.zeros(x.shape[:2], bool)
  reset[0, 2] = reset[1, time] = reset[1, 2 * time - 3] = True
  expected = problem.steps(x, used, reset)
  state, pieces = used, []
  for piece in (slice(time), slice(time, 2 * time)):
    y, state = problem.apply(x[:, piece], state, reset[:, piece])
    pieces.append(y)
  y, state = problem.steps(x[:, -1:], state, reset[:, -1:])
  got = np.concatenate([*pieces, y], 1), state
  chex.assert_trees_all_close(got, expected, **_FLOAT64)


@pytest.mark.slow
def test_pieces_equal_whole(x64, problem, used):
  """Pieces of another length than the whole."""
  mixer, params, x = problem.mixer, problem.params, problem.x
  reset = np.zeros(x.shape[:2], bool)
  reset[0, 2] = reset[1, 12] = reset[1, -7] = True
  whole = problem.apply(x, used, reset)
  pieces, state = [], used
  for start in range(0, problem.time - 1, 12):
    piece = slice(start, start + 12)
    y, state = mixer.apply(params, x[:, piece], state, reset[:, piece])
    pieces.append(y)
  y, state = problem.steps(x[:, -1:], state, reset[:, -1:])
  got = np.concatenate([*pieces, y], 1), state
  chex.assert_trees_all_close(got, whole, **_FLOAT64)


# 3. Resets.


def _episodes(problem, state, reset):
  """Folds `step`, of which no call knows of resets, over each episode."""
  outputs, never = [], np.zeros((programs.ROWS, 1), bool)
  for t in range(problem.time):
    begins = reset[:, t]
    state = jax.tree.map(
      lambda fresh, old: np.where(
        begins.reshape(-1, *[1] * (fresh.ndim - 1)),  # noqa: B023
        fresh,
        old,
      ),
      problem.fresh,
      state,
    )
    y, state = problem.steps(problem.x[:, t : t + 1], state, never)
    outputs.append(y)
  return np.concatenate(outputs, 1), state


def test_resets_equal_episodes_alone(x64, problem, used):
  time = problem.time
  for kind, places in {
    "no": [[], []],
    "first": [[0], [0]],
    "last": [[time - 1], [time - 1]],
    "every": [range(time), range(time)],
    "mixed": [[1], [0, 4, time - 5]],
  }.items():
    reset = np.stack([np.isin(np.arange(time), at) for at in places])
    y, final = problem.apply(problem.x, used, reset)
    expected, state = _episodes(problem, used, reset)
    np.testing.assert_allclose(y, expected, err_msg=kind, **_FLOAT64)
    chex.assert_trees_all_close(final, state, **_FLOAT64)


def test_packed_documents_do_not_touch_each_other(x64, problem, used):
  """Not a bit changes with the document before, wherever the border lies."""
  for border in (1, 3, problem.time // 2, problem.time - 1):
    reset = problem.reset(border)
    before = problem.apply(problem.x, used, reset)
    changed = problem.x.copy()
    changed[:, border - 1] += 1
    after = problem.apply(changed, used, reset)
    assert np.any(before[0][:, border - 1] != after[0][:, border - 1])
    chex.assert_trees_all_equal(
      (before[0][:, border:], before[1]), (after[0][:, border:], after[1])
    )


def test_nothing_undefined_passes_a_reset(x64, problem, used):
  x, reset = problem.x, problem.reset(3)
  undefined = jax.tree.map(
    lambda leaf: np.full_like(leaf, np.inf), problem.fresh
  )
  y, end = problem.apply(x, used, reset)
  for bad in (np.nan, np.inf):
    x_bad = x.copy()
    x_bad[:, :3] = bad
    y_bad, end_bad = problem.apply(x_bad, undefined, reset)
    chex.assert_tree_all_finite((y_bad[:, 3:], end_bad))
    chex.assert_trees_all_close(
      (y_bad[:, 3:], end_bad), (y[:, 3:], end), **_FLOAT64
    )
  element = x[:, 3:4]
  got = problem.steps(element, undefined, reset[:, 3:4])
  expected = problem.steps(element, problem.fresh, reset[:, :1])
  chex.assert_tree_all_finite(got)
  chex.assert_trees_all_close(got, expected, **_FLOAT64)
  np.testing.assert_allclose(got[0], y[:, 3:4], **_FLOAT64)


def test_nothing_undefined_passes_a_reset_backwards(x64, problem):
  """A state that has diverged does not reach the gradient of parameters."""
  reset = problem.reset(0, 3)

  def slopes(state):
    return problem.both(problem.x, state, reset)[1][:2]

  expected = slopes(problem.fresh)
  for bad in (np.nan, np.inf):
    got = slopes(
      jax.tree.map(lambda leaf, b=bad: np.full_like(leaf, b), problem.fresh)
    )
    chex.assert_trees_all_close(got, expected, **_FLOAT64)


def _check_undefined_numbers_stay(problem):
  """Those of inputs and cotangents make no difference to other episodes."""
  reset, (w_y, w_end) = problem.reset(2, 4), problem.weights
  w_end = jax.tree.map(np.zeros_like, w_end)

  def run(x, w_y):
    (y, _), (_, *slopes) = problem.both(x, problem.fresh, reset, (w_y, w_end))
    return y, *slopes

  def put(array, place, number):
    array = array.copy()
    array[:, place] = number
    return array

  episodes = slice(0, 2), slice(2, 4), slice(4, problem.time)
  for number, episode in enumerate(episodes):
    # Without a part in the loss, but for undefined cotangents.
    others = put(w_y, episode, 0)
    outside = np.ones(problem.time, bool)
    outside[episode] = False

    def rest(y, d_x, d_state, outside=outside, first=number == 0):
      return y[:, outside], d_x[:, outside], None if first else d_state

    expected = rest(*run(problem.x, others))
    for bad in (np.nan, np.inf):
      for place in (episode, episode.start, episode.stop - 1):
        got = run(put(problem.x, place, bad), others)
        chex.assert_trees_all_equal(rest(*got), expected)
        got = run(problem.x, put(others, place, bad))
        chex.assert_trees_all_equal(rest(*got), expected)
        # It is not hidden where it belongs.
        assert not np.all(np.isfinite(got[1][:, place].astype("f4")))


@pytest.mark.parametrize(
  ("dtype", "params_dtype"),
  [
    ("float64", "float64"),
    ("bfloat16", "float32"),
    pytest.param("float32", "float32", marks=pytest.mark.slow),
    pytest.param("bfloat16", "bfloat16", marks=pytest.mark.slow),
  ],
)
def test_undefined_numbers_stay_in_their_episode(problem, dtype, params_dtype):
  if dtype == "float64":
    with jax.enable_x64(True):
      _check_undefined_numbers_stay(problem)
  else:
    mixer, time = problem.mixer, problem.time
    narrow = programs.problem(mixer, time, dtype, params_dtype, problem.run)
    _check_undefined_numbers_stay(narrow)


# 4. Causality.


def test_future_does_not_leak(x64, problem, used):
  never = problem.reset()
  before, _ = problem.apply(problem.x, used, never)
  for t in (1, 6):
    other = problem.x.copy()
    # No shift of all features, which a norm of inputs would take away.
    other[:, t:] *= -2.0
    after, _ = problem.apply(other, used, never)
    np.testing.assert_allclose(
      after[:, :t], before[:, :t], rtol=1e-13, atol=1e-13
    )
    assert np.abs(after[:, t] - before[:, t]).max() > 1e-6


# 5. Gradients.


def _inner(tree, other):
  """Sum of the products of all numbers, a complex one being two."""
  products = jax.tree.map(lambda a, b: np.sum(a * b).real, tree, other)
  return sum(jax.tree.leaves(products))


def test_gradients(x64, problem, used):
  """None is missing, and their slopes are those of finite differences."""
  reset = np.zeros(problem.x.shape[:2], bool)
  reset[0, 2] = True
  params, x = jax.device_get(problem.params), problem.x

  def value_and_slopes(params, x, state):
    results, slopes = problem.both(x, state, reset, params=params)
    return _inner(results, problem.weights), slopes

  _, got = value_and_slopes(params, x, used)
  own = checks.of(problem.mixer.name)
  unused = own.optional_parameters
  needed = [leaf for name, leaf in got[0].items() if name not in unused]
  for leaf in jax.tree.leaves((needed, got[1:])):
    assert np.abs(leaf).max() > 0

  rng = np.random.default_rng(4)
  arguments = params, x, used
  # S5's fastest states turn by tens of radians per unit of log_step: larger
  # steps would be too coarse, smaller ones lose digits.
  epsilon = own.finite_difference
  for _ in range(3):
    direction = programs.normal(rng, arguments)
    above, below = (
      value_and_slopes(
        *jax.tree.map(lambda a, d, e=e: a + e * d, arguments, direction)
      )[0]
      for e in (epsilon, -epsilon)
    )
    # Rounding of the two values over epsilon, and a third derivative.
    np.testing.assert_allclose(
      (above - below) / (2 * epsilon),
      _inner(got, direction),
      rtol=1e-5,
      atol=1e-5,
    )


def test_no_gradient_crosses_a_border(x64, problem, used):
  """Not a bit of it, however much one of two documents counts."""
  w_y, w_end = 1e4 * problem.weights[0], problem.weights[1]
  nothing = jax.tree.map(np.zeros_like, w_end)
  for border in (1, problem.time // 2 + 3):
    reset = problem.reset(border)
    first = (np.arange(problem.time) < border)[None, :, None]
    weights = np.where(first, 0, w_y), w_end
    _, (_, d_x, d_state) = problem.both(problem.x, used, reset, weights)
    assert np.any(d_x[:, border:] != 0)
    np.testing.assert_array_equal(d_x[:, :border], 0)
    chex.assert_trees_all_equal(d_state, nothing)
    weights = np.where(first, w_y, 0), nothing
    _, (_, d_x, _) = problem.both(problem.x, used, reset, weights)
    assert np.any(d_x[:, :border] != 0)
    np.testing.assert_array_equal(d_x[:, border:], 0)


def test_gradients_equal_those_of_steps(x64, common_mixer):
  """One program of `step` has the gradients of that of `apply`."""
  problem = programs.problem(common_mixer, 4)
  module, config = common_mixer.module, common_mixer.config

  def fold(params, x, state, reset):
    def body(state, element):
      y, state = module.step(config, params, element[0], state, element[1])
      return state, y

    elements = jnp.moveaxis(x, 1, 0), jnp.moveaxis(reset, 1, 0)
    state, ys = jax.lax.scan(body, state, elements)
    return jnp.moveaxis(ys, 0, 1), state

  steps = problem._replace(run=programs.with_gradients(fold))
  inputs = problem.x, problem.fresh, problem.reset(2)
  chex.assert_trees_all_close(
    problem.both(*inputs), steps.both(*inputs), **_FLOAT64
  )


# 6. Dtypes; tests/mixers/transformations_test.py has the rest.


def test_bfloat16(problem):
  """States and gradients of parameters stay float32, as in `registry.py`."""
  mixer, reset = problem.mixer, problem.reset(5)
  narrow = programs.problem(
    mixer, problem.time, "bfloat16", "float32", problem.run
  )
  params, x, fresh = narrow.params, narrow.x, narrow.fresh
  (y, end), slopes = narrow.both(x, fresh, reset)
  step = jax.eval_shape(mixer.step, params, x[:, 0], fresh)
  chex.assert_trees_all_equal_shapes_and_dtypes(
    ((y, end), slopes, step), ((x, fresh), (params, x, fresh), (x[:, 0], fresh))
  )
  for leaf in jax.tree.leaves(cases.fresh(mixer, (2,), jnp.bfloat16)):
    assert leaf.real.dtype == jnp.float32
  if mixer.config != mixers.make_config(mixer.name, d_model=cases.D_MODEL):
    return  # Bounds are declared for the defaults.
  with jax.enable_x64(True):
    exact, _ = problem.apply(x.astype("f8"), problem.fresh, reset)
  error = np.abs(y.astype("f8") - exact).max() / np.abs(exact).max()
  own = checks.of(mixer.name)
  assert error <= own.bfloat16_largest, own.remedy("bfloat16_largest")


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.bfloat16, "f4", "f8"])
def test_states_keep_shapes_and_dtypes(x64, problem, dtype):
  mixer = problem.mixer
  state_dtype = jnp.promote_types(dtype, jnp.float32)
  fresh = cases.fresh(mixer, (2, 3), state_dtype)
  for leaf in jax.tree.leaves(fresh):
    assert leaf.real.dtype == state_dtype
    assert leaf.shape[:2] == (2, 3)
  x = cases.sequence(2, 3, 7, dtype=dtype)
  for y, state in (
    jax.eval_shape(mixer.apply, mixer.params, x, fresh),
    jax.eval_shape(mixer.apply, mixer.params, x),
  ):
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    chex.assert_trees_all_equal_shapes_and_dtypes(state, fresh)
  asked = jax.tree.map(jnp.zeros_like, fresh)
  if dtype == jnp.bfloat16:
    asked = cases.fresh(mixer, (2, 3), dtype)
  chex.assert_trees_all_equal_shapes_and_dtypes(asked, fresh)
  y, state = jax.eval_shape(mixer.step, mixer.params, x[..., 0, :], fresh)
  assert (y.shape, y.dtype) == (x[..., 0, :].shape, x.dtype)
  chex.assert_trees_all_equal_shapes_and_dtypes(state, fresh)
