import functools
import math

from gymnax.environments import spaces as gymnax_spaces
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl import envs
from jaxseq.rl import meta
from jaxseq.rl import meta_suites
from jaxseq.rl import projections
from tests.rl import toy


@pytest.mark.parametrize("shape", [(4, 2), (2, 4), (12, 16), (5, 5), (1, 3)])
def test_orthonormal_is_the_factor_of_a_gaussian_matrix(shape):
  key = jax.random.key(3)
  drawn = np.asarray(projections.orthonormal(key, shape))
  assert drawn.shape == shape
  assert drawn.dtype == np.float32
  # Gram-Schmidt is the QR decomposition with a positive diagonal.
  vectors = jax.random.normal(key, (min(shape), max(shape)), jnp.float32)
  q, r = np.linalg.qr(np.asarray(vectors, np.float64).T)
  expected = q * np.sign(np.diag(r))
  expected = expected.T if shape[0] <= shape[1] else expected
  # Float32, times the condition number of a small Gaussian matrix.
  np.testing.assert_allclose(drawn, expected, atol=2e-5)
  small = drawn @ drawn.T if shape[0] <= shape[1] else drawn.T @ drawn
  np.testing.assert_allclose(small, np.eye(min(shape)), atol=1e-6)


def test_orthonormal_has_no_preferred_direction():
  keys = jax.random.split(jax.random.key(0), 10_000)
  drawn = jax.jit(jax.vmap(lambda key: projections.orthonormal(key, (4, 2))))(
    keys
  )
  flat = np.asarray(drawn).reshape(-1, 8)
  # Each entry has mean 0 and variance 1/4; entries are uncorrelated. Five
  # standard errors.
  np.testing.assert_allclose(flat.mean(axis=0), 0, atol=5 * 0.5 / 100)
  np.testing.assert_allclose(flat.T @ flat / 10_000, np.eye(8) / 4, atol=0.015)


def test_distributions_of_the_maps():
  env = projections.Projected(
    toy.Walk(bounds=(-1.0, 1.0)), 3, "gaussian", action_size=2
  )
  keys = jax.random.split(jax.random.key(0), 10_000)
  _, state = jax.jit(jax.vmap(env.reset))(keys)
  assert state.observation_map.shape == (10_000, 3, 2)
  # Six uncorrelated entries of variance 1 / d, d = 2. Five standard errors.
  flat = np.asarray(state.observation_map).reshape(-1, 6)
  np.testing.assert_allclose(flat.T @ flat / 10_000, np.eye(6) / 2, atol=0.036)
  assert state.action_map.shape == (10_000, 1, 2)
  np.testing.assert_allclose(
    np.linalg.norm(state.action_map, axis=-1), 1, rtol=1e-6
  )
  np.testing.assert_allclose(state.action_map.mean(axis=0), 0, atol=0.036)
  env = projections.Projected(toy.Walk(), 4)
  _, state = jax.jit(env.reset)(jax.random.key(0))
  np.testing.assert_allclose(
    state.observation_map.T @ state.observation_map, 2 * np.eye(2), atol=1e-6
  )
  assert state.action_map is None


def _replay(env, params, state, actions, key):
  """Plays given actions with the keys that `toy.play` uses for its steps."""
  keys = jax.random.split(jax.random.split(key)[1], actions.shape[0])

  def body(state, step):
    key, action = step
    stepped = env.step(jax.random.split(key)[1], state, action, params)
    return stepped[1], stepped

  return jax.lax.scan(body, state, (keys, actions))[1]


@pytest.mark.parametrize(
  "bounds", [pytest.param(None, marks=pytest.mark.slow), (-0.5, 1.5)]
)
def test_it_is_the_same_trajectory_through_the_maps(bounds):
  bare = toy.Walk(bounds=bounds)
  env = projections.Projected(
    bare, 3, "gaussian", action_size=None if bounds is None else 2
  )
  params, key = env.default_params, jax.random.key(0)
  first, state, actions, steps = toy.play(env, params, key, 60)
  shown, states, *rest, info = jax.tree.map(np.asarray, steps)
  # Nothing draws the maps again, though the environment starts again.
  assert (rest[1] | rest[2]).sum() >= 5
  assert (states.observation_map == np.asarray(state.observation_map)).all()
  acted = actions
  if bounds is not None:
    # Actions of this size are clipped now and then.
    turned = np.asarray(actions) @ np.asarray(state.action_map).T
    assert (np.abs(turned) > 1).any()
    acted = 0.5 + np.clip(turned, -1, 1)
  expected = jax.jit(_replay, static_argnums=0)(
    bare, params, state.env_state, jnp.asarray(acted), key
  )
  through = np.asarray(state.observation_map).T
  # Sums of two products in float32, of positions up to 4 and times up to 6;
  # positions add up six roundings.
  close = functools.partial(np.testing.assert_allclose, rtol=0, atol=2e-5)
  close(first, bare.observe(state.env_state, params) @ through)
  close(shown, expected[0] @ through)
  close(info["final_observation"], expected[5]["final_observation"] @ through)
  jax.tree.map(close, tuple(rest), expected[2:5])
  jax.tree.map(close, states.env_state, expected[1])
  assert env.observation_space(params).shape == first.shape == (3,)


def test_maps_last_for_a_meta_episode():
  env = meta.Trials(projections.Projected(toy.Walk(), 4), num_trials=3)
  _, state, _, steps = toy.play(env, env.default_params, jax.random.key(0), 60)
  _, states, _, terminated, _, info = jax.tree.map(np.asarray, steps)
  maps = np.concatenate(
    [
      state.env_state.observation_map[None],
      states.env_state.observation_map,
    ]
  )
  changed = (maps[1:] != maps[:-1]).any(axis=(1, 2))
  np.testing.assert_array_equal(changed, terminated)
  assert terminated.sum() >= 3
  assert info["trial_ended"].sum() == pytest.approx(3 * terminated.sum(), abs=2)


@pytest.mark.slow
def test_projected_cartpole():
  env, params = envs.make("ProjectedCartPole")
  bare, bare_params = envs.make("PositionOnlyCartPoleEasy")
  assert env == meta_suites.projected_cartpole()
  assert params.env == bare_params
  assert env.num_trials == 16
  assert params.max_steps_in_episode == 16 * 200 + 1
  key = jax.random.key(0)
  first, start, actions, steps = jax.tree.map(
    np.asarray, toy.play(env, params, key, 800)
  )
  shown, states, reward, terminated, truncated, info = steps
  np.testing.assert_allclose(reward, 1 / 200, rtol=1e-6)
  # One meta-episode of 16 trials; those of random play last some 22 steps.
  (over,) = np.flatnonzero(terminated)[:1]
  ended = info["trial_ended"][: over + 1]
  assert ended.sum() == 16
  assert not truncated.any()
  np.testing.assert_allclose(
    info["trial_returns"][over].sum(), (over + 1) / 200, rtol=1e-5
  )
  # Observations: the map's 4 numbers, the last action, two flags.
  through = start.env_state.observation_map.T
  np.testing.assert_allclose(through @ through.T, 2 * np.eye(2), atol=1e-6)
  base = jax.tree.map(lambda leaf: leaf[: over + 1], states.env_state.env_state)
  seen = np.stack([base.x, base.theta], axis=-1)[:over] @ through
  np.testing.assert_allclose(shown[:over, :4], seen, atol=1e-6)
  np.testing.assert_array_equal(shown[:over, 4], actions[:over])
  np.testing.assert_array_equal(shown[:over, 5], ended[:over])
  np.testing.assert_array_equal(shown[:over, 6], 0)
  np.testing.assert_array_equal(first[4:], [0, 0, 1])
  np.testing.assert_array_equal(shown[over, 4:], [0, 0, 1])
  # Every trial starts where the first one has started.
  for t in np.flatnonzero(ended)[:-1]:
    np.testing.assert_array_equal(shown[t, :4], first[:4])
    assert base.x_dot[t] == start.env_state.env_state.x_dot
  assert not np.allclose(shown[over, :4], first[:4], atol=1e-3)
  # From there on the dynamics are those of the plain environment.
  _, expected, *_ = jax.jit(bare.step)(
    key, start.env_state.env_state, actions[0], bare_params
  )
  np.testing.assert_allclose(expected.theta, base.theta[0], atol=1e-6)


def test_projected_cartpole_with_noise():
  env = meta_suites.projected_cartpole(noise_sigma=0.05)
  _, start, _, steps = jax.tree.map(
    np.asarray, toy.play(env, env.default_params, jax.random.key(0), 400)
  )
  shown, states, *_, info = steps
  # Steps of the first meta-episode after which the same trial goes on.
  (over,) = np.flatnonzero(steps[3])[:1]
  played = ~info["trial_ended"][:over]
  base = jax.tree.map(lambda leaf: leaf[:over], states.env_state.env_state)
  back = np.linalg.pinv(start.env_state.observation_map)
  seen = shown[:over, :4] @ back.T
  error = (seen - np.stack([base.x, base.theta], axis=-1))[played]
  # Some 300 numbers: their deviation is off by 4 %, their mean by 6 %.
  np.testing.assert_allclose(error.std(axis=0), 0.05, rtol=0.2)
  np.testing.assert_allclose(error.mean(axis=0), 0, atol=0.015)


@pytest.mark.parametrize(
  ("number", "choice"),
  [
    (-9, 0),
    (-1, 0),
    (-0.34, 0),
    (-0.32, 1),
    (0.3, 1),
    (0.4, 2),
    (1, 2),
    (5, 2),
  ],
)
def test_choices_are_equal_parts_of_the_numbers(number, choice):
  space = gymnax_spaces.Discrete(3)
  chosen = projections.from_numbers(space, jnp.float32([number]))
  assert chosen.dtype == jnp.int32
  assert chosen == choice


def test_actions_of_another_shape_are_refused():
  env = projections.Projected(toy.Walk(bounds=(-1.0, 1.0)), 3, action_size=2)
  _, state = env.reset(jax.random.key(0))
  with pytest.raises(ValueError, match=r"action: got float32\[3\], expected"):
    env.step(jax.random.key(0), state, jnp.zeros(3))


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"observation_size": 0}, "observation_size: got 0, expected an integer"),
    ({"kind": "uniform"}, "kind: got 'uniform', expected one of 'orth"),
    ({"action_size": 0}, "action_size: got 0, expected an integer of at"),
  ],
  ids=lambda value: value if isinstance(value, str) else None,
)
def test_wrong_settings(options, message):
  with pytest.raises(ValueError, match=message):
    projections.Projected(toy.Walk(), **options)


@pytest.mark.parametrize(
  "env", [toy.Walk(bounds=(-math.inf, math.inf)), toy.Paid(choices=(2, 3))]
)
def test_actions_that_numbers_cannot_be_mapped_to_are_refused(env):
  with pytest.raises(ValueError, match="action_size: got 1, .* are neither"):
    projections.Projected(env, action_size=1)
