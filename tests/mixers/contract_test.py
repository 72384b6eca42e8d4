"""What holds for every registered mixer; the list is in the registry."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.mixers import cases

# float64 sums in another order, over at most 37 steps of decaying recurrences.
_FLOAT64 = {"rtol": 1e-9, "atol": 1e-10}


def _double(params):
  return jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)


def _fold_steps(mixer, params, x, state, reset=None):
  """`step` as the body of a scan; batch is one axis or none."""

  def body(state, element):
    x_t, reset_t = element
    y, state = mixer.module.step(mixer.config, params, x_t, state, reset_t)
    return state, y

  axis = x.ndim - 2
  xs = (
    jnp.moveaxis(x, axis, 0),
    None if reset is None else jnp.moveaxis(reset, axis, 0),
  )
  state, ys = jax.lax.scan(body, state, xs)
  return jnp.moveaxis(ys, 0, axis), state


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
  params = _double(mixer.params)
  x = cases.sequence(*batch, time)
  state = cases.used_state(mixer, params, batch)
  reset = np.random.default_rng(1).random((*batch, time)) < 0.3
  reset = jnp.asarray(reset)
  steps = jax.jit(functools.partial(_fold_steps, mixer))
  got = mixer.apply(params, x, state, reset)
  chex.assert_trees_all_close(got, steps(params, x, state, reset), **_FLOAT64)
  assert got[0].shape == x.shape


def test_apply_equals_steps(x64, mixer):
  _check_apply_equals_steps(mixer, (2,), 37)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_apply_equals_steps_with_batch_axes(x64, mixer, batch):
  _check_apply_equals_steps(mixer, batch, 2)


# 2. Halves with the state carried.


def test_halves_equal_whole(x64, mixer):
  split = 4
  params = _double(mixer.params)
  x = cases.sequence(2, 7)
  state = cases.used_state(mixer, params, (2,))
  reset = jnp.zeros((2, 7), bool).at[0, 2].set(True).at[1, 5].set(True)
  whole = mixer.apply(params, x, state, reset)
  first, state = mixer.apply(params, x[:, :split], state, reset[:, :split])
  second, state = mixer.apply(params, x[:, split:], state, reset[:, split:])
  y = jnp.concatenate([first, second], 1)
  chex.assert_trees_all_close((y, state), whole, **_FLOAT64)


# 3. Resets.

_RESETS = {
  "none": [[0, 0, 0, 0, 0], [0, 0, 0, 0, 0]],
  "first": [[1, 0, 0, 0, 0], [1, 0, 0, 0, 0]],
  "last": [[0, 0, 0, 0, 1], [0, 0, 0, 0, 1]],
  "every": [[1, 1, 1, 1, 1], [1, 1, 1, 1, 1]],
  "mixed": [[0, 1, 0, 0, 0], [1, 0, 0, 0, 1]],
}


def test_resets_equal_episodes_alone(x64, mixer):
  params = _double(mixer.params)
  x = cases.sequence(2, 5)
  used = cases.used_state(mixer, params, (2,))
  fresh = mixer.module.initial_state(mixer.config, (), jnp.float64)
  for kind, rows in _RESETS.items():
    reset = jnp.asarray(rows, bool)
    y, final = mixer.apply(params, x, used, reset)
    for i, row in enumerate(rows):
      state = jax.tree.map(lambda leaf: leaf[i], used)  # noqa: B023
      starts = [0, *(t for t in range(1, 5) if row[t])]
      for start, stop in zip(starts, [*starts[1:], 5]):
        if row[start]:
          state = fresh
        alone, state = mixer.apply(params, x[i, start:stop], state)
        np.testing.assert_allclose(
          y[i, start:stop], alone, err_msg=kind, **_FLOAT64
        )
      chex.assert_trees_all_close(
        jax.tree.map(lambda leaf: leaf[i], final),  # noqa: B023
        state,
        **_FLOAT64,
      )


def test_nothing_undefined_passes_a_reset(mixer):
  params = mixer.params
  x = cases.sequence(1, 6, dtype=jnp.float32)
  fresh, end = mixer.apply(params, x[:, 3:])
  state = jax.tree.map(
    lambda leaf: jnp.full_like(leaf, jnp.inf),
    mixer.module.initial_state(mixer.config, (1,)),
  )
  reset = jnp.asarray([[False, False, False, True, False, False]])
  for bad in (jnp.nan, jnp.inf):
    y, final = mixer.apply(params, x.at[:, :3].set(bad), state, reset)
    chex.assert_trees_all_close(
      (y[:, 3:], final), (fresh, end), **cases.FLOAT32
    )
  y, after = mixer.step(params, x[:, 3], state, reset[:, 3])
  _, expected = mixer.step(
    params, x[:, 3], mixer.module.initial_state(mixer.config, (1,))
  )
  np.testing.assert_allclose(y, fresh[:, 0], **cases.FLOAT32)
  chex.assert_trees_all_close(after, expected, **cases.FLOAT32)


# 4. Causality.


@pytest.mark.parametrize("t", [6, pytest.param(1, marks=pytest.mark.slow)])
def test_future_does_not_leak(x64, mixer, t):
  params = _double(mixer.params)
  x = cases.sequence(2, 7)
  before, _ = mixer.apply(params, x)
  after, _ = mixer.apply(params, x.at[:, t:].add(1.0))
  np.testing.assert_allclose(
    after[:, :t], before[:, :t], rtol=1e-13, atol=1e-13
  )
  assert jnp.abs(after[:, t] - before[:, t]).max() > 1e-6


# 5. Gradients.


def _gradient_problem(mixer):
  params = _double(mixer.params)
  x = cases.sequence(2, 4)
  state = cases.used_state(mixer, params, (2,))
  reset = jnp.zeros((2, 4), bool).at[0, 2].set(True)
  return params, x, state, reset


def test_gradients(x64, mixer):
  """Those of the fold of `step`, and the slopes of finite differences."""
  params, x, state, reset = _gradient_problem(mixer)
  arguments = params, x, _as_real(state)

  def value_and_gradients(function):
    def loss(params, x, real_state):
      y, final = function(params, x, _as_state(real_state, state), reset)
      leaves = [y, *jax.tree.leaves(_as_real(final))]
      weights = np.random.default_rng(3)
      return sum(jnp.sum(a * weights.normal(size=a.shape)) for a in leaves)

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))

  apply = value_and_gradients(
    functools.partial(mixer.module.apply, mixer.config)
  )
  steps = value_and_gradients(functools.partial(_fold_steps, mixer))
  _, got = apply(*arguments)
  chex.assert_trees_all_close(got, steps(*arguments)[1], **_FLOAT64)
  for leaf in jax.tree.leaves(got):
    assert jnp.abs(leaf).max() > 0

  rng = np.random.default_rng(4)
  # S5's fastest states turn by tens of radians per unit of log_step: larger
  # steps would be too coarse, smaller ones lose digits.
  epsilon = 1e-5
  for _ in range(3):
    direction = jax.tree.map(lambda a: rng.normal(size=a.shape), arguments)
    ends = (
      jax.tree.map(lambda a, d, e=e: a + e * d, arguments, direction)
      for e in (epsilon, -epsilon)
    )
    above, below = (apply(*end)[0] for end in ends)
    slope = sum(
      jnp.vdot(a, d)
      for a, d in zip(jax.tree.leaves(got), jax.tree.leaves(direction))
    )
    # Rounding of the two values over epsilon, and a third derivative.
    np.testing.assert_allclose(
      (above - below) / (2 * epsilon), slope, rtol=1e-5, atol=1e-5
    )


# 6. Dtypes; tests/mixers/transformations_test.py has the rest.


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.float64])
def test_states_keep_shapes_and_dtypes(x64, any_mixer, dtype):
  state_dtype = jnp.promote_types(dtype, jnp.float32)
  fresh = any_mixer.module.initial_state(any_mixer.config, (2, 3), state_dtype)
  for leaf in jax.tree.leaves(fresh):
    assert leaf.real.dtype == state_dtype
    assert leaf.shape[:2] == (2, 3)
  x = cases.sequence(2, 3, 7, dtype=dtype)
  for y, state in (
    jax.eval_shape(any_mixer.apply, any_mixer.params, x, fresh),
    jax.eval_shape(any_mixer.apply, any_mixer.params, x),
  ):
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    chex.assert_trees_all_equal_shapes_and_dtypes(state, fresh)
  y, state = jax.eval_shape(
    any_mixer.step, any_mixer.params, x[..., 0, :], fresh
  )
  assert (y.shape, y.dtype) == (x[..., 0, :].shape, x.dtype)
  chex.assert_trees_all_equal_shapes_and_dtypes(state, fresh)
