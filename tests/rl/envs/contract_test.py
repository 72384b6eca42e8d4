"""What holds for every game of the package."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl import envs
from jaxseq.rl.envs import spaces

_STEPS = 60
# None of them follows the default width of numbers.
_DTYPES = (jnp.int32, jnp.float32, jnp.bool_, jnp.uint8, jnp.uint32)


# The difficulties of a game differ in numbers only, and replays cover them.
# Others have tests of their own, and some need a package of their own.
_ELSEWHERE = (
  *("-Atari", "-MinAtar", "Blank", "Playground-", "Projected", "Trials"),
)
_GAMES = [
  name
  for name in envs.names()
  if not name.endswith(("Medium", "Hard"))
  and not name.startswith("Stateless")
  and not any(part in name for part in _ELSEWHERE)
]
# Cards, a board, a maze and numbers.
_FEW_GAMES = (
  "RepeatPreviousEasy",
  "BattleshipEasy",
  "LabyrinthExploreEasy",
  "PositionOnlyCartPoleEasy",
)


@pytest.fixture(params=_GAMES)
def made(request):
  return envs.make(request.param)


@functools.partial(jax.jit, static_argnums=0)
def _play(env, params, key):
  """Plays random actions: the first observation, the state, all steps.

  Each step comes with the data of its key and its action.
  """
  key_reset, key_steps = jax.random.split(key)
  first, state = env.reset(key_reset, params)

  def body(state, key):
    key_action, key_step = jax.random.split(key)
    action = env.action_space(params).sample(key_action)
    stepped = env.step(key_step, state, action, params)
    return stepped[1], (jax.random.key_data(key_step), action, stepped)

  state, (keys, actions, steps) = jax.lax.scan(
    body, state, jax.random.split(key_steps, _STEPS)
  )
  return first, state, (keys, actions), steps


def _no_action(env, params):
  """The action whose numbers are all 0."""
  return jnp.zeros_like(env.action_space(params).sample(jax.random.key(0)))


def _types(tree):
  return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


def test_types(made):
  env, params = made
  key = jax.random.key(0)
  first, state = jax.eval_shape(lambda: env.reset(key, params))
  observation, next_state, reward, terminated, truncated, info = jax.eval_shape(
    lambda state: env.step(key, state, _no_action(env, params), params), state
  )
  assert _types(observation) == _types(first)
  assert _types(info["final_observation"]) == _types(first)
  assert _types(next_state) == _types(state)
  assert _types(reward) == ((), jnp.float32)
  for flag in (terminated, truncated):
    assert _types(flag) == ((), jnp.bool_)
  assert set(info) == {"terminated", "truncated", "final_observation"}
  leaves = {
    "first observation": first,
    "first state": state,
    "observation": observation,
    "state": next_state,
    "reward": reward,
  }
  for path, leaf in jax.tree.leaves_with_path(leaves):
    name = jax.tree_util.keystr(path)
    assert not leaf.weak_type, f"{name}: expected a dtype, as of jnp.int32(0)"
    assert leaf.dtype in _DTYPES, f"{name}: {leaf.dtype}"


def test_types_do_not_follow_the_default_width(made):
  env, params = made

  def run(key):
    return _play(env, params, key)[:2]

  narrow = jax.eval_shape(run, jax.random.key(0))
  with jax.enable_x64(True):
    assert jax.eval_shape(run, jax.random.key(0)) == narrow


@pytest.mark.parametrize(
  "made",
  [
    pytest.param(game, marks=() if game in _FEW_GAMES else pytest.mark.slow)
    for game in _GAMES
  ],
  indirect=True,
)
def test_observations_are_in_their_space(made):
  env, params = made
  space = env.observation_space(params)
  first, _, _, steps = _play(env, params, jax.random.key(0))
  spaces.check("observation", space, first)
  shown, final = steps[0], steps[5]["final_observation"]
  seen = jax.tree.map(
    lambda one, *more: np.concatenate([one[None], *more]), first, shown, final
  )
  inside = jax.jit(jax.vmap(space.contains))(seen)
  outside = jax.tree.map(lambda leaf: leaf[np.argmin(inside)], seen)
  assert inside.all(), f"{outside} is not in {space}"


@pytest.mark.slow
def test_vmap_equals_single_environments(made):
  env, params = made
  keys = jax.random.split(jax.random.key(0), 4)
  together = jax.vmap(lambda key: _play(env, params, key))(keys)
  for i, key in enumerate(keys):
    alone = _play(env, params, key)
    # The cart-pole is chaotic, and vectorized sines differ in the last bit.
    jax.tree.map(
      lambda one, all_, i=i: np.testing.assert_allclose(
        one, all_[i], rtol=1e-4, atol=1e-5
      ),
      alone,
      together,
    )


@pytest.mark.parametrize(
  "game",
  [
    pytest.param(game, marks=() if game in _FEW_GAMES else pytest.mark.slow)
    for game in _GAMES
  ],
)
def test_auto_reset(game):
  env, params = envs.make(game)
  endless = params.replace(max_steps_in_episode=1000)
  params = params.replace(max_steps_in_episode=7)
  _, _, (keys, actions), steps = _play(env, params, jax.random.key(0))
  observation, state, _, terminated, truncated, info = steps
  np.testing.assert_array_equal(info["terminated"], terminated)
  np.testing.assert_array_equal(info["truncated"], truncated)
  done = np.asarray(terminated | truncated)
  assert done.sum() >= _STEPS // 7
  # The clock starts again with each episode.
  time = np.asarray(state.time)
  expected = 0
  for t in range(_STEPS):
    expected = 0 if done[t] else expected + 1
    assert time[t] == expected
  # Off an end, the two observations are one; on an end, the observation is
  # that of the new state and the final one that of the state before the reset.
  final = info["final_observation"]
  np.testing.assert_array_equal(
    np.asarray(final)[~done], np.asarray(observation)[~done]
  )
  # Another program may round sums of numbers up to about 1 in another way.
  np.testing.assert_allclose(
    observation,
    jax.jit(jax.vmap(lambda state: env.observe(state, params)))(state),
    rtol=1e-6,
    atol=1e-6,
  )

  # The same step, with a time limit that does not cut it off.
  @jax.jit
  def step_without_limit(key, state, action):
    seen, stepped, *_ = env.step(key, state, action, endless)
    return seen, env.observe(stepped, params)

  for t in np.flatnonzero(done & ~np.asarray(terminated)):
    before = jax.tree.map(lambda leaf, t=t: leaf[t - 1], state)
    key = jax.random.wrap_key_data(keys[t])
    seen, observed = step_without_limit(key, before, actions[t])
    np.testing.assert_allclose(final[t], seen, atol=1e-6)
    np.testing.assert_allclose(final[t], observed, atol=1e-6)


def test_the_time_limit_is_no_termination(made):
  env, params = made
  params = params.replace(max_steps_in_episode=1)
  *_, steps = _play(env, params, jax.random.key(0))
  _, _, _, terminated, truncated, _ = steps
  assert (terminated | truncated).all()
  # Some games can be over after a single step, but not after every first one.
  assert (truncated & ~terminated).any()


@pytest.mark.parametrize(
  "env_id", ["AutoencodeEasy", "PositionOnlyCartPoleEasy"]
)
def test_default_parameters_are_used_when_none_are_given(env_id):
  env, params = envs.make(env_id)
  key = jax.random.key(0)

  @jax.jit
  def run(*params):
    observation, state = env.reset(key, *params)
    action = env.action_space(*params).sample(key)
    return observation, env.step(key, state, action, *params)

  jax.tree.map(np.testing.assert_array_equal, run(), run(params))


@pytest.mark.parametrize(
  ("game", "impl"),
  [
    pytest.param(
      game,
      impl,
      marks=() if impl == "rbg" and game in _FEW_GAMES else pytest.mark.slow,
    )
    for impl in ("rbg", "unsafe_rbg")
    for game in _GAMES
  ],
)
def test_other_generators_work(game, impl):
  env, params = envs.make(game)
  keys = jax.random.split(jax.random.key(0, impl=impl), 16)

  @jax.jit
  def run(keys):
    first, state = jax.vmap(lambda key: env.reset(key, params))(keys)
    if not env.reset_words:
      # All is hidden at first: see what the first step shows.
      action = _no_action(env, params)
      first, *_ = jax.vmap(lambda *now: env.step(*now, action, params))(
        keys, state
      )
    return first, state

  first, state = run(keys)
  # Where the first observation tells nothing, what is hidden differs.
  leaves = jax.tree.leaves((first, state))
  assert any(len(np.unique(leaf, axis=0)) > 1 for leaf in leaves)


def test_a_batch_of_actions_without_vmap_is_refused(made):
  env, params = made
  key = jax.random.key(0)
  _, state = jax.eval_shape(lambda: env.reset(key, params))
  with pytest.raises(ValueError, match=r"action: got int32\[3\], expected"):
    jax.eval_shape(
      lambda state: env.step(key, state, jnp.zeros(3, jnp.int32), params), state
    )


def test_nothing_leaks(made):
  env, params = made
  with jax.checking_leaks():
    jax.eval_shape(lambda key: _play(env, params, key), jax.random.key(0))


def test_gradients_do_not_flow_through_the_dynamics():
  env, params = envs.make("PositionOnlyCartPoleEasy")
  _, state = env.reset(jax.random.key(0), params)

  def outcome(theta):
    observation, stepped, *_ = env.step(
      jax.random.key(1), state.replace(theta=theta), jnp.int32(0), params
    )
    return observation.sum() + stepped.x_dot + stepped.theta_dot

  assert jax.grad(outcome)(state.theta) == 0
