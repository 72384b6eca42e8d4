import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl import algorithms
from jaxseq.rl import evaluate
from jaxseq.rl import meta
from jaxseq.rl import rollout
from jaxseq.rl.agents import ppo
from tests.rl import toy

_TRIALS = 3
_STEPS = 80
_ENVS = 4


@functools.partial(jax.jit, static_argnums=(0, 3))
def _play_many(env, params, keys, num_steps):
  return jax.vmap(lambda key: toy.play(env, params, key, num_steps))(keys)


def _played(env, params=None):
  """Random play in a batch, as numpy arrays; the first axis is the batch."""
  params = env.default_params if params is None else params
  keys = jax.random.split(jax.random.key(0), _ENVS)
  return jax.tree.map(np.asarray, _play_many(env, params, keys, _STEPS))


class _Reference:
  """What `Trials` of `toy.Walk` should do, given where each trial starts.

  Observations are position, time, previous action (one-hot), previous reward,
  trial-ended flag and meta-start flag.
  """

  def __init__(self, first, limit=10_000):
    self.limit = limit
    self.restart(first)

  def restart(self, first):
    np.testing.assert_array_equal(first[1:], [0, 0, 0, 0, 0, 1])
    self.start = self.position = first[0]
    self.time = self.trial = self.total_time = 0
    self.returns = np.zeros(_TRIALS)

  def step(self, action, stepped):
    """Checks one step."""
    shown, state, reward, terminated, truncated, info = stepped
    self.position += 2 * action - 1
    self.time += 1
    self.total_time += 1
    np.testing.assert_allclose(reward, self.position, atol=1e-6)
    self.returns[self.trial] += self.position
    assert info["trial"] == self.trial
    cut = self.time == 6
    over = cut or abs(self.position) > 3
    self.trial += over
    last = self.trial == _TRIALS
    assert info["trial_ended"] == over
    assert info["trial_truncated"] == cut
    # Sums of up to 6 float32 numbers.
    np.testing.assert_allclose(info["trial_returns"], self.returns, atol=1e-5)
    assert terminated == info["terminated"] == last
    assert truncated == info["truncated"] == (self.total_time == self.limit)
    final = info["final_observation"]
    history = [1 - action, action, reward, over, 0]
    np.testing.assert_allclose(final[2:], history, atol=1e-6)
    where = [self.position, self.time]
    if over and not last:
      assert final[1] == 0
      self.position, self.time = final[0], 0
    else:
      np.testing.assert_allclose(final[:2], where, atol=1e-6)
    if terminated or truncated:
      self.restart(shown)
    else:
      np.testing.assert_array_equal(shown, final)
    assert state.trial == self.trial
    assert state.time == self.total_time
    return bool(over), bool(cut)


def _check(env, played, limit=10_000):
  """Checks every step, and returns where each trial of each episode starts."""
  first, _, actions, steps = played
  starts, ends = [], []
  for i in range(_ENVS):
    reference = _Reference(first[i], limit)
    starts.append([[reference.start]])
    for t in range(_STEPS):
      stepped = jax.tree.map(lambda leaf, i=i, t=t: leaf[i, t], steps)
      over, cut = reference.step(actions[i, t], stepped)
      done = stepped[3] or stepped[4]
      ends.append((over, cut, bool(done)))
      if done:
        starts[-1].append([reference.start])
      elif over:
        starts[-1][-1].append(reference.position)
  # Trials end in both ways, within and at the end of meta-episodes.
  assert set(ends) >= {
    (True, True, False),
    (True, False, False),
    (True, True, True),
    (True, False, True),
  }
  return starts


def test_fresh_starts():
  env = meta.Trials(toy.Walk(), _TRIALS, previous_reward=True)
  played = _played(env)
  starts = _check(env, played)
  every = [
    start for episodes in starts for trials in episodes for start in trials
  ]
  assert len(set(every)) == len(every) > 20


def test_the_same_start_for_all_trials_of_a_meta_episode():
  env = meta.Trials(toy.Walk(), _TRIALS, same_start=True, previous_reward=True)
  starts = _check(env, _played(env))
  episodes = [trials for episodes in starts for trials in episodes]
  assert max(map(len, episodes)) == _TRIALS
  for trials in episodes:
    assert len(set(trials)) == 1
  assert len({trials[0] for trials in episodes}) == len(episodes) > 10


def test_the_time_limit_of_a_meta_episode_is_a_truncation():
  env = meta.Trials(toy.Walk(), _TRIALS, previous_reward=True)
  params = env.default_params
  assert params.max_steps_in_episode == 3 * 6 + 1
  assert env.num_steps == 3 * 6
  played = _played(env, params.replace(max_steps_in_episode=13))
  terminated, truncated = played[3][3:5]
  _check(env, played, limit=13)
  assert truncated.any()
  assert (truncated & ~terminated).any()
  assert (terminated & ~truncated).any()


def test_without_vmap_it_is_the_same():
  env = meta.Trials(toy.Walk(), _TRIALS, previous_reward=True)
  together = _played(env)
  keys = jax.random.split(jax.random.key(0), _ENVS)
  alone = toy.play(env, env.default_params, keys[1], _STEPS)
  jax.tree.map(
    lambda one, all_: np.testing.assert_allclose(one, all_[1], atol=1e-6),
    alone,
    together,
  )


def test_trial_steps_and_reward_scale():
  env = meta.Trials(toy.Walk(edge=100.0), 2, trial_steps=4, reward_scale=0.5)
  assert env.default_params.env.max_steps_in_episode == 4
  _, _, actions, steps = _played(env)
  _, state, reward, terminated, _, info = steps
  ends = np.arange(1, _STEPS + 1)
  np.testing.assert_array_equal(
    info["trial_truncated"], np.broadcast_to(ends % 4 == 0, reward.shape)
  )
  np.testing.assert_array_equal(
    terminated, np.broadcast_to(ends % 8 == 0, reward.shape)
  )
  final = info["final_observation"]
  inside = ~info["trial_ended"]
  np.testing.assert_array_equal(reward[inside], 0.5 * final[inside][:, 0])


def test_the_previous_action_as_a_number():
  env = meta.Trials(toy.Walk(), previous_action="number")
  first, _, actions, steps = _played(env)
  assert first.shape == (_ENVS, 2 + 1 + 2)
  assert env.observation_space().shape == (5,)
  np.testing.assert_array_equal(first[:, 2], 0)
  final = steps[5]["final_observation"]
  np.testing.assert_array_equal(final[..., 2], actions)
  done = steps[3]
  np.testing.assert_array_equal(steps[0][..., 2], np.where(done, 0, actions))


def test_a_step_is_traced_once_and_a_start_is_a_branch():
  env = meta.Trials(toy.Walk(), _TRIALS, same_start=True)
  traces = []

  @jax.jit
  def step(keys, state, actions):
    traces.append(keys)
    return jax.vmap(env.step)(keys, state, actions)

  keys = jax.random.split(jax.random.key(0), 2)
  _, state = jax.vmap(env.reset)(keys)
  actions = jnp.zeros((2,), jnp.int32)
  program = jax.make_jaxpr(jax.vmap(env.step))(keys, state, actions)
  assert " cond[" in str(program)
  for _ in range(3):
    for leaf in jax.tree.leaves(state):
      assert not leaf.weak_type
    _, state, *_ = step(keys, state, actions)
  assert len(traces) == 1


def test_types_do_not_follow_the_default_width():
  env = meta.Trials(toy.Walk(), same_start=True, previous_reward=True)

  def run(key):
    first, state = env.reset(key)
    return first, state, env.step(key, state, jnp.int32(0))

  narrow = jax.eval_shape(run, jax.random.key(0))
  with jax.enable_x64(True):
    assert jax.eval_shape(run, jax.random.key(0)) == narrow


@pytest.fixture(scope="module")
def config():
  return dataclasses.replace(
    algorithms.published(ppo.Config),
    env_id="ProjectedCartPole",
    env_options=(("num_trials", 2), ("max_steps", 12)),
    network=toy.network(widths=(8,), heads=(8,)),
    rollout_length=64,
    total_steps=1024,
    **toy.QUICK,
  )


@functools.cache
def started(config):
  return ppo.init(config, jax.random.key(0))


@pytest.mark.slow
def test_memory_is_reset_at_the_end_of_a_meta_episode_alone(config):
  runner = started(config)
  player = ppo.player(config)
  _, taken = jax.jit(rollout.collect, static_argnums=(0, 4))(
    player, runner.variables, runner.world, jax.random.key(1), 64
  )
  # Nothing is added to what the trials show.
  assert taken.observation.shape == (64, 4, 7)
  ended, start = np.moveaxis(np.asarray(taken.observation[..., -2:]), -1, 0)
  done = np.asarray(taken.terminated)
  assert not taken.truncated.any()
  np.testing.assert_array_equal(taken.reset[1:], done[:-1])
  np.testing.assert_array_equal(start[1:] == 1, done[:-1])
  assert (ended == 1).any()
  assert not ((ended == 1) & np.asarray(taken.reset)).any()
  np.testing.assert_array_equal(
    np.diff(taken.trial, axis=0) == 1, ended[1:] == 1
  )


@pytest.mark.slow
def test_memory_can_be_made_fresh_before_each_trial(config):
  options = (*config.env_options, ("keep_memory", False))
  config = dataclasses.replace(config, env_options=options)
  runner = ppo.init(config, jax.random.key(0))
  _, taken = jax.jit(rollout.collect, static_argnums=(0, 4))(
    ppo.player(config), runner.variables, runner.world, jax.random.key(1), 64
  )
  ended, start = np.moveaxis(np.asarray(taken.observation[..., -2:]), -1, 0)
  # Every trial begins like a meta-episode: nothing of the last one is shown.
  np.testing.assert_array_equal(taken.reset[1:], start[1:] == 1)
  assert not ended.any()
  assert not np.asarray(taken.observation)[start == 1][:, 4].any()
  np.testing.assert_array_equal(
    np.diff(taken.trial, axis=0) != 0, start[1:] == 1
  )
  # Rewards are still those of one episode.
  assert start[1:].sum() > taken.terminated[:-1].sum() > 0


@pytest.mark.slow
@pytest.mark.parametrize(
  "per_trial", [True, pytest.param(False, marks=pytest.mark.slow)]
)
def test_trials_can_be_credited_apart(config, per_trial):
  config = dataclasses.replace(
    config, returns_per_trial=per_trial, gamma=1.0, gae_lambda=0.0
  )
  runner = started(config)
  # A critic is wrong by its value where the future it promised has ended.
  runner = runner._replace(variables=toy.constant_critic(runner.variables, 2.0))
  _, key, _ = jax.random.split(runner.key, 3)
  _, taken = jax.jit(rollout.collect, static_argnums=(0, 4))(
    ppo.player(config), runner.variables, runner.world, key, 64
  )
  over = taken.trial_ended if per_trial else taken.terminated
  assert (taken.trial_ended & ~taken.terminated).any()
  expected = 0.5 * np.mean((taken.reward - np.where(over, 2.0, 0.0)) ** 2)
  _, metrics = ppo.update(config, runner)
  # Means of 256 float32 numbers.
  np.testing.assert_allclose(metrics["value_loss"], expected, rtol=1e-5)


@pytest.mark.slow
def test_evaluation_reports_the_return_of_each_trial(config):
  runner = started(config)
  result = evaluate.evaluate(
    config, runner.variables, jax.random.key(1), num_episodes=8
  )
  assert result["complete"].all()
  assert result["trial_returns"].shape == (8, 2)
  assert (result["trial_returns"] > 0).all()
  # Sums of up to 24 float32 rewards of 1/12.
  np.testing.assert_allclose(
    result["trial_returns"].sum(axis=1), result["episode_return"], rtol=1e-5
  )
  np.testing.assert_allclose(
    result["episode_return"], result["episode_length"] / 12, rtol=1e-5
  )
  np.testing.assert_allclose(
    result["mean_trial_returns"], result["trial_returns"].mean(axis=0)
  )


toy.register(
  Guesses=functools.partial(
    meta.Trials, toy.Guess(), same_start=True, previous_reward=True
  )
)


@pytest.mark.slow
def test_what_the_first_trial_shows_is_learned_to_be_used_in_the_others(config):
  # When the next trial starts, the reward of a guess is two steps old: it has
  # to be remembered from one trial to the next.
  config = dataclasses.replace(
    config,
    env_id="JaxseqTest-Guesses",
    env_options=(),
    num_envs=32,
    rollout_length=32,
    total_steps=60_000,
    num_epochs=4,
    num_minibatches=4,
    learning_rate=5e-3,
    gamma=0.9,
    gae_lambda=0.9,
  )
  runner = ppo.init(config, jax.random.key(0))
  runner, _ = ppo.train(config, runner, config.num_updates)
  result = evaluate.evaluate(
    config, runner.variables, jax.random.key(1), num_episodes=256
  )
  first, *others = result["mean_trial_returns"]
  # A coin: five standard errors.
  np.testing.assert_allclose(first, 0.5, atol=0.16)
  assert min(others) > 0.9


def test_equal_by_value():
  one, two = meta.Trials(toy.Walk(), 2), meta.Trials(toy.Walk(), 2)
  assert one == two
  assert hash(one) == hash(two)
  assert one != dataclasses.replace(one, same_start=True)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"num_trials": 0}, "num_trials: got 0, expected an integer of at"),
    ({"trial_steps": 0}, "trial_steps: got 0, expected an integer of at"),
    ({"previous_action": "flat"}, "previous_action: got 'flat', expected"),
    ({"reward_scale": float("nan")}, "reward_scale: got nan, expected a fin"),
  ],
  ids=lambda value: value if isinstance(value, str) else None,
)
def test_wrong_settings(options, message):
  with pytest.raises(ValueError, match=message):
    meta.Trials(toy.Walk(), **options)
