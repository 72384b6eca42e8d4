"""What holds for every registered mixer; the list is in the registry."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.mixers import cases
from tests.mixers import checks

# float64 sums in another order, over at most 37 steps of decaying recurrences.
_FLOAT64 = {"rtol": 1e-9, "atol": 1e-10}


# Gradients take the longest to compile.
_few = pytest.mark.parametrize(
  "mixer", list(cases.cases(pytest.mark.slow, few=True)), indirect=True
)

# Every sequence has this length, so that each mixer's `apply` and `step` are
# compiled once for most of these tests.
_TIME = 37


def _double(params):
  return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)


def _problem(mixer, *batch, time=_TIME):
  """Returns parameters, inputs and a state that others have left behind."""
  params = jax.device_put(_double(mixer.params))
  x = np.asarray(cases.sequence(*batch, time))
  return params, x, cases.used_state(mixer, params, batch)


def _steps(mixer, params, x, state, reset):
  """Folds the compiled `step`; batch is any number of axes."""
  outputs = []
  for t in range(x.shape[-2]):
    y, state = mixer.step(params, x[..., t, :], state, reset[..., t])
    outputs.append(y)
  return np.stack(outputs, -2), state


def _scan_steps(mixer, params, x, state, reset):
  """Folds `step` in one program, which has a gradient; batch is one axis."""

  def body(state, element):
    x_t, reset_t = element
    y, state = mixer.module.step(mixer.config, params, x_t, state, reset_t)
    return state, y

  elements = jnp.moveaxis(x, 1, 0), jnp.moveaxis(reset, 1, 0)
  state, ys = jax.lax.scan(body, state, elements)
  return jnp.moveaxis(ys, 0, 1), state


def _as_real(tree):
  """Complex leaves as pairs of real ones, for finite differences."""
  return jax.tree.map(
    lambda leaf: (
      jnp.stack([leaf.real, leaf.imag], -1) if jnp.iscomplexobj(leaf) else leaf
    ),
    tree,
  )


def _as_state(tree, like):
  return jax.tree.map(
    lambda leaf, target: (
      jax.lax.complex(leaf[..., 0], leaf[..., 1])
      if jnp.iscomplexobj(target)
      else leaf
    ),
    tree,
    like,
  )


# 1. `apply` is the fold of `step`.


def _check_apply_equals_steps(mixer, batch, time):
  params, x, state = _problem(mixer, *batch, time=time)
  reset = np.random.default_rng(1).random((*batch, time)) < 0.3
  got = mixer.apply(params, x, state, reset)
  expected = _steps(mixer, params, x, state, reset)
  chex.assert_trees_all_close(got, expected, **_FLOAT64)
  assert got[0].shape == x.shape


def test_apply_equals_steps(x64, mixer):
  _check_apply_equals_steps(mixer, (2,), _TIME)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_apply_equals_steps_with_batch_axes(x64, mixer, batch):
  _check_apply_equals_steps(mixer, batch, 2)


# 2. Pieces with the state carried.


def test_pieces_equal_whole(x64, mixer):
  """Three pieces of twelve elements and a last one by `step`."""
  params, x, state = _problem(mixer, 2)
  reset = np.zeros((2, _TIME), bool)
  reset[0, 2] = reset[1, 12] = reset[1, 30] = True
  whole = mixer.apply(params, x, state, reset)
  pieces = []
  for start in range(0, 36, 12):
    piece = slice(start, start + 12)
    y, state = mixer.apply(params, x[:, piece], state, reset[:, piece])
    pieces.append(y)
  y, state = mixer.step(params, x[:, 36], state, reset[:, 36])
  y = np.concatenate([*pieces, y[:, None]], 1)
  chex.assert_trees_all_close((y, state), whole, **_FLOAT64)


# 3. Resets; where each of two sequences has them.

_RESETS = {
  "none": [[], []],
  "first": [[0], [0]],
  "last": [[36], [36]],
  "every": [range(_TIME), range(_TIME)],
  "mixed": [[1], [0, 4, 20]],
}


def test_resets_equal_episodes_alone(x64, mixer):
  params, x, used = _problem(mixer, 2)
  fresh = cases.fresh(mixer, (2,), jnp.float64)
  fresh, used = jax.device_get((fresh, used))
  never = np.zeros(2, bool)
  for kind, places in _RESETS.items():
    reset = np.stack([np.isin(np.arange(_TIME), at) for at in places])
    outputs, state = [], used
    for t in range(_TIME):
      # Episodes begin from a fresh state, and no step knows of resets.
      begins = reset[:, t]
      state = jax.tree.map(
        lambda new, old: np.where(
          begins.reshape(2, *[1] * (new.ndim - 1)),  # noqa: B023
          new,
          old,
        ),
        fresh,
        state,
      )
      y, state = mixer.step(params, x[:, t], state, never)
      outputs.append(y)
    y, final = mixer.apply(params, x, used, reset)
    np.testing.assert_allclose(
      y, np.stack(outputs, 1), err_msg=kind, **_FLOAT64
    )
    chex.assert_trees_all_close(final, state, **_FLOAT64)


def test_packed_documents_do_not_touch_each_other(x64, mixer):
  """Not a bit changes with the document before, wherever the border lies."""
  params, x, used = _problem(mixer, 2)
  for border in (1, 3, 16, 36):
    reset = np.zeros((2, _TIME), bool)
    reset[:, border] = True
    before = mixer.apply(params, x, used, reset)
    changed = x.copy()
    changed[:, border - 1] += 1
    after = mixer.apply(params, changed, used, reset)
    assert np.any(before[0][:, border - 1] != after[0][:, border - 1])
    chex.assert_trees_all_equal(
      (before[0][:, border:], before[1]), (after[0][:, border:], after[1])
    )


def test_nothing_undefined_passes_a_reset(x64, mixer):
  params, x, used = _problem(mixer, 2)
  fresh = cases.fresh(mixer, (2,), jnp.float64)
  undefined = jax.tree.map(lambda leaf: np.full_like(leaf, np.inf), fresh)
  reset = np.zeros((2, _TIME), bool)
  reset[:, 3] = True
  y, end = mixer.apply(params, x, used, reset)
  for bad in (np.nan, np.inf):
    x_bad = x.copy()
    x_bad[:, :3] = bad
    y_bad, end_bad = mixer.apply(params, x_bad, undefined, reset)
    chex.assert_tree_all_finite((y_bad[:, 3:], end_bad))
    chex.assert_trees_all_close(
      (y_bad[:, 3:], end_bad), (y[:, 3:], end), **_FLOAT64
    )
  got = mixer.step(params, x[:, 3], undefined, reset[:, 3])
  expected = mixer.step(params, x[:, 3], fresh, np.zeros(2, bool))
  chex.assert_tree_all_finite(got)
  chex.assert_trees_all_close(got, expected, **_FLOAT64)
  np.testing.assert_allclose(got[0], y[:, 3], **_FLOAT64)


@_few
def test_nothing_undefined_passes_a_reset_backwards(x64, mixer, gradients):
  """A state that has diverged does not reach the gradient of parameters."""
  (params, x, _), apply = gradients
  reset = np.zeros((2, 4), bool)
  reset[:, 0] = True
  fresh = cases.fresh(mixer, (2,), jnp.float64)

  def slopes(state):
    return apply(params, x, jax.device_get(_as_real(state)), reset)[1][:2]

  expected = slopes(fresh)
  for bad in (np.nan, np.inf):
    got = slopes(
      jax.tree.map(lambda a, b=bad: np.full(a.shape, b, a.dtype), fresh)
    )
    chex.assert_trees_all_close(got, expected, **_FLOAT64)


_EPISODES = slice(0, 2), slice(2, 4), slice(4, 6)


@pytest.mark.parametrize(
  "mixer", list(cases.every(pytest.mark.slow)), indirect=True
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_undefined_numbers_stay_in_their_episode(mixer, dtype):
  """Of inputs and of cotangents: to other episodes they make no difference."""
  params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), mixer.params)
  x, weights = (cases.sequence(2, 6, dtype=dtype, seed=seed) for seed in (0, 1))
  fresh = cases.fresh(mixer, (2,), jnp.float32)
  reset = jnp.zeros((2, 6), bool).at[:, np.array([2, 4])].set(True)

  @jax.jit
  def run(x, weights):
    apply = functools.partial(mixer.module.apply, mixer.config, params)
    (y, end), pull = jax.vjp(lambda *x: apply(*x, reset), x, fresh)
    return y, pull((weights, jax.tree.map(jnp.zeros_like, end)))

  for number, episode in enumerate(_EPISODES):
    # Without a part in the loss, but for undefined cotangents.
    others = weights.at[:, episode].set(0)
    inside = np.isin(np.arange(6), np.r_[episode])

    def rest(y, gradients, inside=inside, first=number == 0):
      d_x, d_state = gradients
      return y[:, ~inside], d_x[:, ~inside], None if first else d_state

    expected = rest(*jax.device_get(run(x, others)))
    for bad in (np.nan, np.inf):
      for place in (episode, episode.start, episode.stop - 1):
        got = run(x.at[:, place].set(bad), others)
        chex.assert_trees_all_equal(rest(*jax.device_get(got)), expected)
        y, (d_x, d_state) = jax.device_get(run(x, others.at[:, place].set(bad)))
        chex.assert_trees_all_equal(rest(y, (d_x, d_state)), expected)
        # It is not hidden where it belongs.
        assert not np.all(np.isfinite(d_x[:, place].astype("f4")))


# 4. Causality.


def test_future_does_not_leak(x64, mixer):
  params, x, state = _problem(mixer, 2)
  never = np.zeros((2, _TIME), bool)
  before, _ = mixer.apply(params, x, state, never)
  for t in (1, 6):
    other = x.copy()
    # No shift of all features, which a norm of inputs would take away.
    other[:, t:] *= -2.0
    after, _ = mixer.apply(params, other, state, never)
    np.testing.assert_allclose(
      after[:, :t], before[:, :t], rtol=1e-13, atol=1e-13
    )
    assert np.abs(after[:, t] - before[:, t]).max() > 1e-6


# 5. Gradients.


def _gradient_problem(mixer):
  """Returns arguments, all real, and the compiled (value, gradients)."""
  params, x, state = _problem(mixer, 2, time=4)
  apply = functools.partial(mixer.module.apply, mixer.config)
  arguments = jax.device_get((params, x, jax.jit(_as_real)(state)))
  return arguments, _value_and_gradients(apply, state)


def _value_and_gradients(function, state):
  def loss(params, x, real_state, reset):
    y, final = function(params, x, _as_state(real_state, state), reset)
    leaves = [y, *jax.tree.leaves(_as_real(final))]
    weights = np.random.default_rng(3)
    return sum(jnp.sum(a * weights.normal(size=a.shape)) for a in leaves)

  return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))


@pytest.fixture(scope="module")
def gradients(mixer):
  """The gradient problem of a mixer, compiled once for its tests."""
  with jax.enable_x64(True):
    return _gradient_problem(mixer)


_RESET = np.array([[False, False, True, False], [False] * 4])


@_few
def test_gradients(x64, mixer, gradients):
  """None is missing, and their slopes are those of finite differences."""
  arguments, apply = gradients
  got = jax.device_get(apply(*arguments, _RESET)[1])
  own = checks.of(mixer.name)
  unused = own.optional_parameters
  used = [leaf for name, leaf in got[0].items() if name not in unused]
  for leaf in jax.tree.leaves((used, got[1:])):
    assert np.abs(leaf).max() > 0

  rng = np.random.default_rng(4)
  # S5's fastest states turn by tens of radians per unit of log_step: larger
  # steps would be too coarse, smaller ones lose digits.
  epsilon = own.finite_difference
  for _ in range(3):
    direction = jax.tree.map(lambda a: rng.normal(size=a.shape), arguments)
    ends = (
      jax.tree.map(lambda a, d, e=e: a + e * d, arguments, direction)
      for e in (epsilon, -epsilon)
    )
    above, below = (apply(*end, _RESET)[0] for end in ends)
    slope = sum(
      np.vdot(a, d)
      for a, d in zip(jax.tree.leaves(got), jax.tree.leaves(direction))
    )
    # Rounding of the two values over epsilon, and a third derivative.
    np.testing.assert_allclose(
      (np.asarray(above) - np.asarray(below)) / (2 * epsilon),
      slope,
      rtol=1e-5,
      atol=1e-5,
    )


@_few
@pytest.mark.parametrize(
  "dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)]
)
def test_no_gradient_crosses_a_border(x64, mixer, dtype):
  """Not a bit of it, however much one of two documents counts."""
  _, x, state = _problem(mixer, 2)
  params = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), mixer.params)
  x = np.asarray(x, dtype)
  state = jax.tree.map(
    lambda leaf: (
      np.asarray(leaf, np.result_type(dtype, 1j))
      if np.iscomplexobj(leaf)
      else np.asarray(leaf, dtype)
    ),
    jax.device_get(state),
  )

  @jax.jit
  def cotangents(reset, of_outputs, of_states):
    def run(x, state):
      return mixer.module.apply(mixer.config, params, x, state, reset)

    (y, end), pull = jax.vjp(run, x, state)
    weights = 1e4 * np.random.default_rng(3).normal(size=y.shape)
    of_end = jax.tree.map(lambda leaf: of_states * jnp.ones_like(leaf), end)
    return pull(((of_outputs * weights).astype(y.dtype), of_end))

  for border in (1, 21):
    first = (np.arange(_TIME) < border)[None, :, None]
    reset = np.zeros((2, _TIME), bool)
    reset[:, border] = True
    d_x, d_state = cotangents(reset, ~first, 1.0)
    assert np.any(d_x[:, border:] != 0)
    np.testing.assert_array_equal(d_x[:, :border], 0)
    chex.assert_trees_all_equal(d_state, jax.tree.map(np.zeros_like, d_state))
    d_x, _ = cotangents(reset, first, 0.0)
    assert np.any(d_x[:, :border] != 0)
    np.testing.assert_array_equal(d_x[:, border:], 0)


def test_gradients_equal_those_of_steps(x64, common_mixer):
  arguments, apply = _gradient_problem(common_mixer)
  state = cases.used_state(common_mixer, arguments[0], (2,))
  steps = functools.partial(_scan_steps, common_mixer)
  expected = _value_and_gradients(steps, state)(*arguments, _RESET)[1]
  chex.assert_trees_all_close(
    apply(*arguments, _RESET)[1], expected, **_FLOAT64
  )


# 6. Dtypes; tests/mixers/transformations_test.py has the rest.


@pytest.mark.parametrize(
  "dtype",
  [
    jnp.bfloat16,
    *(pytest.param(x, marks=pytest.mark.slow) for x in ("f4", "f8")),
  ],
)
def test_states_keep_shapes_and_dtypes(x64, mixer, dtype):
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
