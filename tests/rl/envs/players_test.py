"""Returns of players whose returns are known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl import envs


@functools.partial(jax.jit, static_argnums=(0, 2, 3))
def _returns(env, key, num_episodes, player, params=None):
  """Returns and lengths of one episode in each of many environments.

  A player is a function of the observations so far (num_steps, ...), the
  time, the state and a key.
  """
  params = env.default_params if params is None else params
  num_steps = env.default_params.max_steps_in_episode

  def episode(key):
    key_reset, key_steps = jax.random.split(key)
    first, state = env.reset(key_reset, params)
    seen = jnp.zeros((num_steps + 1, *first.shape), first.dtype)

    def body(carry, t):
      state, seen, alive = carry
      key_action, key_step = jax.random.split(jax.random.fold_in(key_steps, t))
      action = player(seen, t, state, key_action)
      observation, state, reward, terminated, truncated, _ = env.step(
        key_step, state, action, params
      )
      seen = seen.at[t + 1].set(observation)
      return (state, seen, alive & ~(terminated | truncated)), (
        jnp.where(alive, reward, 0),
        alive,
        alive & truncated,
      )

    carry = (state, seen.at[0].set(first), jnp.bool_(True))
    _, (rewards, alive, truncated) = jax.lax.scan(
      body, carry, jnp.arange(num_steps)
    )
    return rewards.sum(), alive.sum(), truncated.any()

  return jax.vmap(episode)(jax.random.split(key, num_episodes))


def _random(num_actions):
  def player(seen, t, state, key):
    del seen, t, state
    return jax.random.randint(key, (), 0, num_actions)

  return player


def _previous(k):
  def player(seen, t, state, key):
    del state, key
    return seen[jnp.maximum(t - k + 1, 0)]

  return player


def _first(seen, t, state, key):
  del t, state, key
  return seen[0]


def _balance(seen, t, state, key):
  """Pushes towards where the pole falls and the cart drifts."""
  del t, key, seen
  lean = state.theta + 0.4 * state.theta_dot + 0.05 * state.x
  return (lean + 0.1 * state.x_dot > 0).astype(jnp.int32)


def _integrate(seen, t, state, key):
  """The same, from velocities and where the cart and the pole were at first."""
  del state, key
  times = jnp.arange(len(seen))
  # The first observation shows positions, and the first velocities never show.
  known = jnp.where(((times > 0) & (times < t))[:, None], seen, 0)
  place = seen[0] + _TAU * known.sum(axis=0)
  velocity = jnp.where(t > 0, seen[t], 0)
  lean = place[1] + 0.4 * velocity[1] + 0.05 * place[0] + 0.1 * velocity[0]
  return (lean > 0).astype(jnp.int32)


def _slow(*values):
  return pytest.param(*values, marks=pytest.mark.slow)


_TAU = 0.02  # Seconds of a step.
_CARD_GAMES = {
  "RepeatPreviousEasy": _previous(4),
  "RepeatPreviousMedium": _previous(32),
  "RepeatPreviousHard": _previous(64),
  "RepeatFirstEasy": _first,
  "RepeatFirstMedium": _first,
  "RepeatFirstHard": _first,
}


_GAMES = [
  env_id if env_id.endswith("Easy") else _slow(env_id) for env_id in _CARD_GAMES
]


@pytest.mark.parametrize("env_id", _GAMES)
def test_perfect_memory_earns_one(env_id):
  env, _ = envs.make(env_id)
  returns, lengths, truncated = _returns(
    env, jax.random.key(0), 16, _CARD_GAMES[env_id]
  )
  # A sum of up to 831 float32 rewards.
  np.testing.assert_allclose(returns, 1, atol=2e-5)
  np.testing.assert_array_equal(lengths, env.num_cards - 1)
  assert not truncated.any()


@pytest.mark.parametrize("env_id", ["RepeatPreviousEasy"])
def test_one_card_off_is_chance(env_id):
  env, _ = envs.make(env_id)
  returns, _, _ = _returns(env, jax.random.key(0), 256, _previous(env.k + 1))
  # Right a little less than one time in four, for the same suit is rarer.
  assert -0.56 < float(returns.mean()) < -0.46


@pytest.mark.parametrize("env_id", _GAMES)
def test_random_play_of_card_games(env_id):
  env, _ = envs.make(env_id)
  returns, _, _ = _returns(env, jax.random.key(1), 512, _random(4))
  # One answer in four is right. The standard error is at most
  # 0.87 / sqrt(48 * 512) = 0.0055 (RepeatPreviousEasy).
  np.testing.assert_allclose(returns.mean(), -0.5, atol=0.025)


@pytest.mark.parametrize(
  ("env_id", "expected"),
  [
    ("PositionOnlyCartPoleEasy", 0.11),
    _slow("PositionOnlyCartPoleMedium", 0.06),
    _slow("PositionOnlyCartPoleHard", 0.04),
    _slow("VelocityOnlyCartPoleEasy", 0.11),
    _slow("VelocityOnlyCartPoleMedium", 0.05),
    _slow("VelocityOnlyCartPoleHard", 0.04),
  ],
)
def test_random_play_of_the_cartpole(env_id, expected):
  env, _ = envs.make(env_id)
  returns, lengths, truncated = _returns(
    env, jax.random.key(2), 512, _random(2)
  )
  # The expected values are rounded to 0.01, and both means are of a few
  # hundred episodes with a standard deviation of half their length.
  np.testing.assert_allclose(returns.mean(), expected, atol=0.012)
  np.testing.assert_allclose(returns, lengths / env.max_steps, rtol=1e-4)
  assert not truncated.any()


@pytest.mark.parametrize("difficulty", ["Easy", _slow("Medium"), _slow("Hard")])
@pytest.mark.parametrize(
  ("game", "player"),
  [("PositionOnlyCartPole", _balance), ("VelocityOnlyCartPole", _integrate)],
)
def test_a_good_controller_balances_to_the_limit(game, player, difficulty):
  env, _ = envs.make(game + difficulty)
  returns, lengths, truncated = _returns(env, jax.random.key(3), 16, player)
  # A sum of up to 600 float32 rewards.
  np.testing.assert_allclose(returns, 1, atol=2e-5)
  np.testing.assert_array_equal(lengths, env.max_steps)
  assert truncated.all()


@pytest.mark.parametrize(
  "env_id",
  [
    "RepeatPreviousEasy",
    _slow("RepeatPreviousHard"),
    _slow("RepeatFirstMedium"),
  ],
)
def test_every_episode_deals_the_whole_deck(env_id):
  env, params = envs.make(env_id)
  num_steps = env.num_cards - 1

  def play(key):
    key_reset, key_steps = jax.random.split(key)
    first, state = env.reset(key_reset, params)

    def body(carry, key):
      state, card = carry
      observation, state, *_, info = env.step(key, state, card, params)
      return (state, observation), (card, info["final_observation"])

    keys = jax.random.split(key_steps, 3 * num_steps)
    _, (shown, final) = jax.lax.scan(body, (state, first), keys)
    return shown.reshape(3, num_steps), final.reshape(3, num_steps)

  keys = jax.random.split(jax.random.key(0), 4)
  shown, final = jax.jit(jax.vmap(play))(keys)
  # Three episodes in a row, each with a deck of its own.
  cards = np.concatenate([shown, final[..., -1:]], axis=-1).reshape(12, -1)
  for dealt in cards:
    np.testing.assert_array_equal(np.bincount(dealt), [13 * env.num_decks] * 4)
  assert len({dealt.tobytes() for dealt in cards}) == 12


def test_cartpole_starts_are_uniform():
  env, params = envs.make("PositionOnlyCartPoleEasy")
  keys = jax.random.split(jax.random.key(0), 20_000)
  _, state = jax.vmap(lambda key: env.reset(key, params))(keys)
  for name in ("x", "x_dot", "theta", "theta_dot"):
    values = np.asarray(getattr(state, name))
    counts, _ = np.histogram(values, bins=10, range=(-0.05, 0.05))
    assert counts.sum() == 20_000
    # 9 degrees of freedom, at 1 - 1e-4.
    assert np.sum((counts - 2000) ** 2 / 2000) < 33.7
  correlation = np.corrcoef([state.x, state.x_dot, state.theta])
  # Five standard errors of 1 / sqrt(20,000).
  np.testing.assert_allclose(correlation, np.eye(3), atol=0.036)
