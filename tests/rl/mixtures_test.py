import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl import envs
from jaxseq.rl import evaluate
from jaxseq.rl import meta
from jaxseq.rl import meta_suites
from jaxseq.rl import mixtures
from jaxseq.rl import projections
from jaxseq.rl import rollout
from jaxseq.rl import wrappers
from jaxseq.rl.agents import ppo
from tests.rl import toy

_WALKS = (toy.Walk(), toy.Walk(limit=4), toy.Walk(edge=1.0))


@functools.partial(jax.jit, static_argnums=(0, 3))
def _play(mixture, params, key, num_steps):
  """Plays random actions in a batch of six."""
  keys = jax.random.split(key, 6)
  first, state = mixture.reset(keys, params)

  def body(state, key):
    keys = jax.random.split(key, 6)
    action = jax.vmap(mixture.action_space(params).sample)(keys)
    stepped = mixture.step(keys, state, action, params)
    return stepped[1], (keys, action, stepped)

  return (
    keys,
    first,
    jax.lax.scan(body, state, jax.random.split(key, num_steps)),
  )


@pytest.mark.slow
@pytest.mark.parametrize("limit", [None, 3])
def test_each_block_is_its_environment(limit):
  mixture = mixtures.Mixture(_WALKS)
  params = mixture.default_params
  assert params.max_steps_in_episode == 6
  limits = [6, 4, 6]
  if limit is not None:
    params = params.replace(max_steps_in_episode=limit)
    limits = [3, 3, 3]
  reset_keys, first, (_, (keys, actions, steps)) = _play(
    mixture, params, jax.random.key(0), 30
  )
  observation, states, *rest, info = steps
  for i, (env, max_steps) in enumerate(zip(_WALKS, limits)):
    block = slice(2 * i, 2 * i + 2)
    env_params = env.default_params.replace(max_steps_in_episode=max_steps)
    seen, state = jax.vmap(env.reset)(reset_keys[block])
    np.testing.assert_array_equal(first[block], seen)

    @jax.jit
    def replay(state, keys, actions, env=env, env_params=env_params):
      def body(state, step):
        stepped = jax.vmap(env.step, in_axes=(0, 0, 0, None))(
          step[0], state, step[1], env_params
        )
        return stepped[1], stepped

      return jax.lax.scan(body, state, (keys, actions))[1]

    expected = replay(state, keys[:, block], actions[:, block])
    jax.tree.map(
      np.testing.assert_array_equal,
      jax.tree.map(
        lambda leaf, block=block: leaf[:, block], (observation, *rest, info)
      ),
      (expected[0], *expected[2:]),
    )
    jax.tree.map(np.testing.assert_array_equal, states[i], expected[1])
    assert expected[4].any()


def test_members():
  mixture = mixtures.Mixture(_WALKS)
  np.testing.assert_array_equal(mixture.members(6), [0, 0, 1, 1, 2, 2])
  with pytest.raises(ValueError, match="num_envs: got 7, expected a multiple"):
    mixture.reset(jax.random.split(jax.random.key(0), 7))


def test_spaces_and_sizes_are_those_of_one_member():
  mixture = mixtures.Mixture(_WALKS)
  assert mixture.observation_space().shape == (2,)
  assert mixture.action_space().n == 2
  assert mixture.num_steps == math.inf
  assert mixture.num_trials == 0
  trials = mixtures.Mixture(
    tuple(meta.Trials(walk, num_trials=2) for walk in _WALKS)
  )
  assert trials.num_trials == 2
  assert trials.num_steps == 12
  assert trials.default_params.max_steps_in_episode == 13
  assert hash(trials) == hash(dataclasses.replace(trials))


def test_what_does_not_fit_together_is_refused():
  with pytest.raises(ValueError, match=r"envs: got \(\), expected 1 or more"):
    mixtures.Mixture(())
  with pytest.raises(ValueError, match="action_space of envs: got .* for all"):
    mixtures.Mixture((toy.Walk(), toy.Walk(bounds=(-1.0, 1.0))))
  with pytest.raises(ValueError, match="observation_space of envs: got"):
    mixtures.Mixture((toy.Walk(), toy.Paid()))


@dataclasses.dataclass(frozen=True)
class _Telling(wrappers.Wrapper):
  """Reports one thing in its own shape, and one that others do not report."""

  size: int = 1

  def step(self, key, state, action, params=None):
    *stepped, info = self.env.step(key, state, action, params)
    told = {"told": jnp.zeros((self.size,)), f"told_{self.size}": jnp.zeros(())}
    return *stepped, info | told


def test_info_is_what_all_report_in_one_shape():
  keys = jax.random.split(jax.random.key(0), 2)
  for sizes, told in (((1, 2), set()), ((1, 1), {"told", "told_1"})):
    mixture = mixtures.Mixture(
      tuple(_Telling(toy.Walk(), size) for size in sizes)
    )
    _, state = mixture.reset(keys)
    *_, info = mixture.step(keys, state, jnp.zeros((2,), jnp.int32))
    usual = {"terminated", "truncated", "final_observation"}
    assert set(info) == usual | told


def test_memories_are_forgotten_where_an_environment_asks_for_it():
  trials = [
    meta.Trials(toy.Walk(limit=2, edge=99.0), 2, keep_memory=keeps)
    for keeps in (True, False)
  ]
  mixture = mixtures.Mixture(tuple(trials))
  keys, action = jax.random.split(jax.random.key(0), 2), jnp.zeros(2, jnp.int32)
  _, state = mixture.reset(keys)
  for forgets in (False, True):
    _, state, *_, info = mixture.step(keys, state, action)
    np.testing.assert_array_equal(info["forget"], [False, forgets])


@pytest.mark.slow
def test_control_tasks():
  assert set(meta_suites.HELD_OUT_TASKS).isdisjoint(meta_suites.TRAINING_TASKS)
  mixture, params = envs.make(
    "ProjectedControl", tasks=meta_suites.CONTROL_TASKS
  )
  assert len(mixture.envs) == 5
  # Projection, action, reward, two flags.
  assert mixture.observation_space().shape == (12 + 2 + 1 + 2,)
  assert mixture.action_space().shape == (2,)
  assert params.max_steps_in_episode == 4 * 200 + 1

  @jax.jit
  def play(key):
    keys = jax.random.split(key, 10)
    _, state = mixture.reset(keys, params)

    def step(state, key):
      keys = jax.random.split(key, 10)
      action = 3 * jax.random.normal(key, (10, 2))
      _, state, *ends, info = mixture.step(keys, state, action, params)
      return state, (*ends, info["trial_returns"])

    return jax.lax.scan(step, state, jax.random.split(key, 800))[1]

  reward, terminated, truncated, returns = play(jax.random.key(0))
  assert np.isfinite(reward).all()
  assert not truncated.any()
  # No trial ends before its time, unless a car arrives.
  steady = mixture.members(10) != 1
  assert (terminated[:, steady].sum(axis=0) == 1).all()
  assert terminated[-1, steady].all()
  # Scaled so that a trial adds up to between -1 and 1.
  assert np.abs(reward).max() <= 1
  assert np.abs(returns).max() <= 1
  # PointRobot pays where it happens to get to.
  paying = mixture.members(10) != 2
  assert (np.abs(returns[:, paying]).max(axis=(0, 2)) > 0).all()


@pytest.mark.slow
@pytest.mark.parametrize(
  "same_start", [pytest.param(False, marks=pytest.mark.slow), True]
)
def test_control_tasks_start_where_they_did(same_start):
  mixture, params = envs.make(
    "ProjectedControl",
    tasks=("PointRobot-misc",),
    num_trials=2,
    trial_steps=3,
    same_start=same_start,
  )
  keys = jax.random.split(jax.random.key(0), 2)
  _, first = mixture.reset(keys, params)
  state = first
  for _ in range(3):
    _, state, *_ = mixture.step(keys, state, jnp.ones((2, 2)), params)
  robots = [trials[0].env_state.env_state for trials in (first, state)]
  for name in ("goal", "pos"):
    values = [getattr(robot, name) for robot in robots]
    assert np.array_equal(*values) == same_start


@pytest.mark.slow
def test_cart_poles_fall_as_their_physics_say():
  assert set(meta_suites.HELD_OUT_CART_POLES).isdisjoint(
    meta_suites.TRAINING_CART_POLES
  )
  mixture, params = envs.make(
    "ProjectedControl",
    tasks=meta_suites.CART_POLES,
    trial_steps=25,
    action_size=None,
  )
  assert mixture.action_space().n == 2
  assert [float(p.env.gravity) for p in params.envs] == [
    9.8, 9.8, 20.0, 9.8, 15.0, 24.8
  ]  # fmt: skip
  for trial in params.envs:
    physics = trial.env
    # What the equations of motion use of mass and length agrees with them.
    assert physics.polemass_length == pytest.approx(
      physics.masspole * physics.length
    )
    assert physics.max_steps_in_episode == 25
  num_envs = 2 * len(mixture.envs)
  keys = jax.random.split(jax.random.key(0), num_envs)
  observation, state = mixture.reset(keys, params)
  # 12 projected numbers, two choices, reward, two flags.
  assert observation.shape == (num_envs, 12 + 2 + 1 + 2)
  pushes = jnp.ones((num_envs,), jnp.int32)
  _, after, reward, *_ = mixture.step(keys, state, pushes, params)
  np.testing.assert_allclose(reward, 1 / 25, rtol=1e-6)
  for before, now, trial in zip(state, after, params.envs):
    before, now = before.env_state.env_state, now.env_state.env_state
    # A step of 0.02 s moves a cart and its pole, 1.1 kg; the pole, up to 3
    # degrees aslant, takes or gives a tenth of that.
    change = 0.02 * float(trial.env.force_mag) / 1.1
    np.testing.assert_allclose(now.x_dot - before.x_dot, change, rtol=0.15)


def test_unknown_tasks_are_refused():
  with pytest.raises(ValueError, match="tasks: got 'CartPole-v0', expected"):
    envs.make("ProjectedControl", tasks=("CartPole-v0",))
  with pytest.raises(
    ValueError, match="trial_steps: got 0, expected an integer"
  ):
    envs.make("ProjectedControl", trial_steps=0)


def _there_and_back(directions):
  """Walks that can only go up, or down, seen through random maps."""
  bounds = {"up": (0.5, 1.5), "down": (-1.5, -0.5)}
  return mixtures.Mixture(
    tuple(
      meta.Trials(
        projections.Projected(
          toy.Walk(limit=5, edge=100.0, bounds=bounds[direction]),
          observation_size=3,
          action_size=2,
        ),
        num_trials=3,
        previous_reward=True,
      )
      for direction in directions
    )
  )


toy.register(Mixture=_there_and_back)


@pytest.mark.slow
def test_a_policy_learns_and_is_evaluated_on_a_mixture():
  config = ppo.Config(
    env_id="JaxseqTest-Mixture",
    env_options=(("directions", ("up", "down")),),
    network=toy.network(heads=(8,)),
    rollout_length=32,
    total_steps=1024,
    **toy.QUICK,
  )
  runner = ppo.init(config, jax.random.key(0))
  runner, metrics = ppo.update(config, runner)
  assert all(np.isfinite(value) for value in metrics.values())
  # Two whole meta-episodes of 15 steps in each of 4 environments.
  assert metrics["episodes"] == 8
  assert metrics["episode_length"] == 15
  # Another mixture for the same policy.
  other = dataclasses.replace(
    config, env_options=(("directions", ("up", "down", "up")),)
  )
  result = evaluate.evaluate(
    other, runner.variables, jax.random.key(1), num_episodes=6
  )
  assert result["complete"].all()
  np.testing.assert_allclose(
    result["trial_returns"].sum(axis=1), result["episode_return"], atol=1e-4
  )
  # Positions from -1 on, up by 0.5 or more each time, add up to 2.5 or more.
  expected = np.array([1, 1, -1, -1, 1, 1])[:, None]
  assert (result["trial_returns"] * expected > 0).all()


toy.register(Walks=lambda: mixtures.Mixture(_WALKS))


def test_what_agents_see_of_a_mixture_without_trials():
  env, params = rollout.environment("JaxseqTest-Walks")
  keys = jax.random.split(jax.random.key(0), 3)
  first, state = env.reset(keys, params)
  # Position and time, previous action, first-step flag.
  assert first.shape == (3, 2 + 2 + 1)
  np.testing.assert_array_equal(first[:, -1], 1)
  seen, *_, info = env.step(
    keys, state, jnp.array([0, 1, 1], jnp.int32), params
  )
  # The first two cannot be over.
  np.testing.assert_array_equal(seen[:2, 2:], [[1, 0, 0], [0, 1, 0]])
  assert info["returned_episode_return"].shape == (3,)
