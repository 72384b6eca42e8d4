"""Replays of cart-poles and pendulums that the original POPGym has recorded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl import envs
from jaxseq.rl.envs import cartpole
from jaxseq.rl.envs import pendulum
from tests.rl.envs import recordings

_DIFFICULTIES = ("Easy", "Medium", "Hard")
_CARTPOLE = ("x", "x_dot", "theta", "theta_dot")
_PENDULUM = ("theta", "theta_dot")
# For each game: the class of its states and their recorded fields.
_GAMES = {
  "VelocityOnlyCartPole": (cartpole.EnvState, _CARTPOLE),
  "NoisyPositionOnlyCartPole": (cartpole.EnvState, _CARTPOLE),
  "PositionOnlyPendulum": (pendulum.EnvState, _PENDULUM),
  "NoisyPositionOnlyPendulum": (pendulum.EnvState, _PENDULUM),
}


def _states(game, episode):
  """All recorded states of an episode, along a leading axis."""
  make, names = _GAMES[game]
  values = np.asarray(episode["states"], np.float32).T
  fields = dict(zip(names, values))
  if "noise" in episode:
    fields["noise"] = np.asarray(episode["noise"], np.float32)
  return make(time=np.arange(values.shape[1], dtype=np.int32), **fields)


def _step(env, params, state, action, noise):
  """One step from a recorded state, seen through the recorded noise.

  Returns what is seen, the state that it leads to (not the one after reset),
  reward and flags, what is seen with the noise that the step drew, and that
  noise.
  """
  key = jax.random.key(0)
  _, _, reward, terminated, truncated, info = env.step(
    key, state, action, params
  )
  _, stepped, *_ = env.step_env(key, state, action, params)
  drawn = None
  if noise is not None:
    drawn, stepped = stepped.noise, stepped.replace(noise=noise)
  seen = env.observe(stepped, params)
  return (
    seen,
    stepped,
    reward,
    terminated,
    truncated,
    info["final_observation"],
    drawn,
  )


_step_once = jax.jit(_step, static_argnums=0)
_steps = jax.jit(
  jax.vmap(_step, in_axes=(None, None, 0, 0, 0)), static_argnums=0
)


def _assert_replayed(game, stepped, episode, t):
  seen, state, reward, terminated, truncated, *_ = stepped
  np.testing.assert_array_equal(terminated, episode["terminated"][t])
  np.testing.assert_array_equal(truncated, episode["truncated"][t])
  # Rewards lie within 1 part of at least 100. One step in float32, from angles
  # of up to 64 radians, whose last bit is 4e-6.
  np.testing.assert_allclose(reward, episode["rewards"][t], rtol=0, atol=1e-7)
  np.testing.assert_allclose(seen, episode["obs"][t + 1], rtol=0, atol=1e-5)
  expected = np.moveaxis(episode["states"][t + 1], -1, 0)
  for name, value in zip(_GAMES[game][1], expected):
    np.testing.assert_allclose(getattr(state, name), value, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
  "difficulty",
  [
    *(pytest.param(x, marks=pytest.mark.slow) for x in ("Easy", "Medium")),
    "Hard",
  ],
)
@pytest.mark.parametrize("game", list(_GAMES))
def test_replay(golden, game, difficulty):
  env, params = envs.make(game + difficulty)
  episodes = recordings.episodes(golden(f"icrl/popgym_{game}"), difficulty)
  assert len(episodes) == 2
  longest = max(len(episode["actions"]) for episode in episodes)
  for episode in episodes:
    states = _states(game, episode)
    actions = episode["actions"]
    noise = states.noise
    # What every step of the episode starts from, padded to one length.
    places = np.minimum(np.arange(longest), len(actions) - 1)
    after = None if noise is None else noise[1:]

    def at(t, states=states, actions=actions, after=after):
      state = jax.tree.map(lambda leaf: leaf[t], states)
      return state, actions[t], None if after is None else after[t]

    stepped = _steps(env, params, *at(places))
    _assert_replayed(game, stepped, episode, places)
    for t in (0, len(actions) // 2, len(actions) - 1):
      stepped_once = _step_once(env, params, *at(t))
      _assert_replayed(game, stepped_once, episode, t)
    # The first observation, with the noise of the reset.
    first = jax.tree.map(lambda leaf: leaf[0], states)
    np.testing.assert_allclose(
      env.observe(first, params), episode["obs"][0], atol=1e-6
    )
    # What `step` itself shows differs by the noise alone.
    seen, state, *_, final, drawn = stepped
    if noise is None:
      np.testing.assert_array_equal(final, seen)
    else:
      observe = jax.vmap(lambda s: env.observe(s, params))
      shown = jax.jit(observe)(state.replace(noise=drawn))
      np.testing.assert_allclose(final, shown, rtol=0, atol=1e-6)


def test_the_recordings_reach_every_rule(golden):
  # Both ends of a cart-pole, clipped noise and clipped torque.
  for game in _GAMES:
    arrays = golden(f"icrl/popgym_{game}")
    of = {
      name: np.concatenate([v for k, v in arrays.items() if k.endswith(name)])
      for name in ("obs", "actions", "terminated", "truncated")
    }
    assert of["truncated"].any()
    if "CartPole" in game:
      assert of["terminated"].any()
    else:
      assert np.abs(of["actions"]).max() > 2
    if "Noisy" in game:
      high = envs.make(game + "Hard")[0].observation_space().high
      assert (np.abs(of["obs"]) == high).any()


@pytest.mark.slow
@pytest.mark.parametrize(
  ("game", "expected"),
  [
    ("NoisyPositionOnlyCartPole", (0.11, 0.10, 0.11)),
    ("VelocityOnlyCartPole", (0.11, 0.05, 0.04)),
    ("PositionOnlyPendulum", (0.24, 0.24, 0.24)),
    ("NoisyPositionOnlyPendulum", (0.24, 0.24, 0.24)),
  ],
)
def test_random_play(game, expected):
  for difficulty, mean in zip(_DIFFICULTIES, expected):
    env, params = envs.make(game + difficulty)
    returns = _random_returns(env, params, jax.random.key(0))
    # The expected values are means of a few hundred episodes, rounded to 0.01;
    # a return deviates by 0.06 (cart-poles) or 0.22 (pendulums).
    tolerance = 0.015 if "CartPole" in game else 0.03
    np.testing.assert_allclose(returns.mean(), mean, atol=tolerance)


def _random_returns(env, params, key, num_episodes=512):
  """Returns of random play, one episode in each environment."""

  @jax.jit
  def play(key):
    key_reset, key_steps = jax.random.split(key)
    _, state = env.reset(key_reset, params)

    def body(carry, key):
      state, alive = carry
      key_action, key_step = jax.random.split(key)
      action = env.action_space(params).sample(key_action)
      _, state, reward, terminated, truncated, _ = env.step(
        key_step, state, action, params
      )
      reward = jnp.where(alive, reward, 0)
      return (state, alive & ~(terminated | truncated)), reward

    keys = jax.random.split(key_steps, env.max_steps)
    _, rewards = jax.lax.scan(body, (state, jnp.bool_(True)), keys)
    return rewards.sum()

  return jax.vmap(play)(jax.random.split(key, num_episodes))


@pytest.mark.parametrize(
  "env_id", ["NoisyPositionOnlyCartPoleMedium", "NoisyPositionOnlyPendulumEasy"]
)
def test_noise_is_drawn_anew_at_every_step_and_reset(env_id):
  env, params = envs.make(env_id)
  params = params.replace(max_steps_in_episode=2)

  @jax.jit
  @jax.vmap
  def play(key):
    key_reset, key_one, key_two = jax.random.split(key, 3)
    _, first = env.reset(key_reset, params)
    action = jnp.zeros_like(env.action_space(params).sample(key))
    _, second, *_ = env.step(key_one, first, action, params)
    _, fresh, *_ = env.step(key_two, second, action, params)
    return first.noise, second.noise, fresh.noise, fresh.time

  *noises, time = play(jax.random.split(jax.random.key(0), 20_000))
  np.testing.assert_array_equal(time, 0)
  noise = np.concatenate(noises, axis=1) / env.noise_sigma
  # Five standard errors of 1 / sqrt(20,000), of a mean and of a correlation.
  np.testing.assert_allclose(noise.mean(axis=0), 0, atol=0.036)
  np.testing.assert_allclose(np.corrcoef(noise.T), np.eye(6), atol=0.036)
  np.testing.assert_allclose(noise.std(axis=0), 1, atol=0.026)
  # The fourth moment tells a normal distribution from others.
  np.testing.assert_allclose((noise**4).mean(), 3, atol=0.15)


@pytest.mark.parametrize("game", ["", "Noisy"])
def test_first_states_of_a_cart_pole_fill_their_bounds(game):
  env, params = envs.make(f"{game}PositionOnlyCartPoleEasy", max_start=0.15)
  keys = jax.random.split(jax.random.key(0), 1000)
  _, state = jax.jit(jax.vmap(lambda key: env.reset(key, params)))(keys)
  for name in ("x", "x_dot", "theta", "theta_dot"):
    values = getattr(state, name)
    # Of 1,000 numbers one is this close to a bound, but for one time in e^6.
    assert 0.148 < values.max() <= 0.15, name
    assert -0.15 <= values.min() < -0.148, name


def test_noise_sigma_below_zero_is_refused():
  for game in (
    "NoisyPositionOnlyCartPoleEasy",
    "NoisyPositionOnlyPendulumEasy",
  ):
    with pytest.raises(ValueError, match="noise_sigma: got -1.0, expected a f"):
      envs.make(game, noise_sigma=-1.0)


def test_max_steps_below_one_is_refused():
  with pytest.raises(ValueError, match="max_steps: got 0, expected an integer"):
    envs.make("PositionOnlyPendulumEasy", max_steps=0)
