"""Several agents that share a network: IPPO, or MAPPO by a central critic."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl import encoders
from jaxseq.rl import evaluate
from jaxseq.rl import mixtures
from jaxseq.rl import policies
from jaxseq.rl import rendering
from jaxseq.rl import rollout
from jaxseq.rl.agents import ppo
from jaxseq.rl.agents import pqn
from jaxseq.rl.agents import r2d2
from jaxseq.rl.agents import sac
from jaxseq.rl.envs import action_masks
from jaxseq.rl.envs import teams
from tests.rl import team_games
from tests.rl import toy

_GAME = "JaxseqTest-Recall"
toy.register(
  Recall=team_games.Recall,
  RecallMixed=lambda: mixtures.Mixture((team_games.Recall(),) * 2),
)

critics = pytest.mark.parametrize(
  "critic", [pytest.param("separate", marks=pytest.mark.slow), "central"]
)


def small(algorithm=ppo, **options):
  """A configuration that compiles and runs in moments."""
  settings = {
    "env_id": _GAME,
    "network": toy.network("gru", 8),
    "num_envs": 4,
    "rollout_length": 8,
    "total_steps": 1024,
    "num_epochs": 1,
    "num_minibatches": 2,
    "learning_rate": 1e-3,
    "reward_normalization": "returns",
    "normalize_observation": True,
  }
  if algorithm is ppo:
    settings["critic"] = "central"
  return algorithm.Config(**(settings | options))


@functools.cache
def played(critic, limit=99):
  """The player, variables after an update, a rollout, and its start."""
  config = small(critic=critic, env_options=(("limit", limit),))
  runner = ppo.init(config, jax.random.key(0))
  runner, metrics = ppo.train(config, runner, 2)
  player = ppo.player(config)

  @jax.jit
  def collect(variables, world):
    key = jax.random.key(1)
    return rollout.collect(player, variables, world, key, 8, final_values=True)

  _, taken = collect(runner.variables, runner.world)
  taken = jax.tree.map(lambda x: np.swapaxes(x, 0, 1), taken)
  return config, player, runner, taken, metrics


def apply(player, *args):
  return jax.jit(player.network.apply)(*args)


@critics
def test_a_parallel_pass_is_what_each_agent_computes_step_by_step(critic):
  _, player, runner, taken, _ = played(critic)
  # Ends of episodes are inside, with 3 steps each.
  assert taken.reset[:, 1:].any()
  policy, value, _ = apply(
    player,
    runner.variables,
    taken.observation,
    runner.world.memory,
    taken.reset,
  )
  assert taken.value.shape == (8, 8)
  np.testing.assert_allclose(value, taken.value, atol=1e-5)
  log_prob = policy.log_prob(taken.action)
  np.testing.assert_allclose(log_prob, taken.log_prob, atol=1e-5)
  # A row alone, as an agent acts that knows of no others.
  alone, own_value, _ = apply(
    player,
    runner.variables,
    jax.tree.map(lambda x: x[3:4], taken.observation),
    jax.tree.map(lambda x: x[3:4], runner.world.memory),
    taken.reset[3:4],
  )
  row = alone.log_prob(taken.action[3:4])
  np.testing.assert_allclose(row, taken.log_prob[3:4], atol=1e-5)
  np.testing.assert_allclose(own_value, taken.value[3:4], atol=1e-5)


@critics
def test_agents_in_another_order_get_their_outputs_in_that_order(critic):
  _, player, runner, taken, _ = played(critic)
  order = np.array([5, 0, 7, 2, 1, 3, 6, 4])
  reordered = jax.tree.map(
    lambda x: x[order], (taken.observation, runner.world.memory, taken.reset)
  )
  policy, value, memory = apply(player, runner.variables, *reordered)
  inputs = taken.observation, runner.world.memory, taken.reset
  expected, values, memories = apply(player, runner.variables, *inputs)
  np.testing.assert_allclose(policy.logits, expected.logits[order], atol=1e-6)
  np.testing.assert_allclose(value, values[order], atol=1e-6)
  toy.equal(memory, jax.tree.map(lambda x: x[order], memories), atol=1e-6)


def test_what_others_see_reaches_the_critic_and_not_the_actor():
  _, player, runner, taken, _ = played("central")
  seen, mask = action_masks.split(taken.observation)

  def outputs(seen):
    observation = action_masks.join(seen, mask)
    inputs = observation, runner.world.memory, taken.reset
    policy, value, _ = player.network.apply(runner.variables, *inputs)
    # Of the first agent of the first game.
    return policy.log_prob(taken.action)[0].sum(), value[0].sum()

  actor, critic = jax.jit(jax.jacrev(outputs))(seen)
  assert not np.any(actor.state)
  assert np.any(critic.state[0])
  assert np.any(actor.own[0])
  # Rows are agents: no row but its own has any part in either.
  for gradient in (actor, critic):
    assert not np.any(gradient.own[1:])
    assert not np.any(gradient.state[1:])


@pytest.mark.parametrize("shows_state", [True, False])
def test_rows_are_the_agents_of_each_game(shows_state):
  game = team_games.Recall(length=2, shows_state=shows_state)
  _, first = game.reset(jax.random.key(0))
  config = small(env_options=(("length", 2), ("shows_state", shows_state)))
  player = ppo.player(config)
  world = rollout.begin(player, jax.random.key(3), 5)
  bits = world.env_state.env_state.bits
  seen, mask = action_masks.split(world.observation)
  assert isinstance(seen, teams.Observation)
  # The agent's number as a one-hot, its bit, no action before, a first step.
  rows = np.asarray(seen.own).reshape(5, 2, -1)
  np.testing.assert_array_equal(rows[..., :2], [np.eye(2)] * 5)
  np.testing.assert_array_equal(rows[..., 2], 2 * bits - 1)
  np.testing.assert_array_equal(rows[..., 3:], [[[0, 0, 1]] * 2] * 5)
  np.testing.assert_array_equal(mask, [[True, False]] * 10)
  states = np.asarray(seen.state).reshape(5, 2, -1)
  np.testing.assert_array_equal(states[:, 0], states[:, 1])
  if shows_state:
    np.testing.assert_array_equal(states[:, 0, :2], 2 * bits - 1)
  else:
    # What all agents see, one after the other.
    np.testing.assert_array_equal(states[:, 0], rows[..., :3].reshape(5, -1))
  _, step = mixtures.batched(player.env)
  keys = jax.random.split(jax.random.key(4), 5)
  state = world.env_state
  first = jnp.zeros(10, jnp.int32)
  _, state, reward, *ends, _ = step(keys, state, first, player.env_params)
  assert not np.any(reward)
  assert not np.any(ends)
  right = jnp.stack([bits[:, 0], 1 - bits[:, 1]], axis=1).reshape(-1)
  _, _, reward, terminated, truncated, info = step(
    keys, state, right, player.env_params
  )
  np.testing.assert_array_equal(reward, [1.0, 2.0] * 5)
  assert np.all(terminated)
  assert not np.any(truncated)
  # A return is the mean over the agents.
  np.testing.assert_array_equal(info["returned_episode_return"], [1.5] * 10)
  final, _ = action_masks.split(info["final_observation"])
  np.testing.assert_array_equal(final.own[:, 2], np.zeros(10))


@pytest.mark.parametrize("limit", [99, 2])
def test_a_time_limit_is_bootstrapped_and_an_end_is_not(limit):
  config, _, _, taken, metrics = played("central", limit)
  cut = limit == 2
  ended = taken.terminated | taken.truncated
  assert taken.truncated.any() == cut
  assert taken.terminated.any() != cut
  # The agents of a game end together, and count once.
  np.testing.assert_array_equal(ended[::2], ended[1::2])
  steps = 2 * config.rollout_length
  assert metrics["episodes"].sum() == 4 * (steps // min(limit, 3))
  np.testing.assert_array_equal(
    metrics["env_steps"], config.steps_per_update * np.arange(1, 3)
  )
  assert np.any(taken.final_value[taken.truncated]) == cut
  assert not np.any(taken.final_value[~taken.truncated])
  assert np.isfinite(metrics["loss"]).all()


def test_a_mask_leaves_agents_nothing_to_learn_where_one_action_is_allowed():
  _, player, runner, taken, _ = played("central")
  _, mask = action_masks.split(taken.observation)
  forced = ~mask[..., 1]
  assert forced.any()
  assert not forced.all()
  assert not taken.action[forced].any()

  def loss(variables):
    inputs = taken.observation, runner.world.memory, taken.reset
    policy, _, _ = player.network.apply(variables, *inputs)
    each = policy.log_prob(taken.action) + policy.entropy()
    return jnp.where(forced, each, 0).sum()

  gradients = jax.tree.leaves(jax.jit(jax.grad(loss))(runner.variables))
  assert not any(np.any(gradient) for gradient in gradients)


def test_a_run_that_is_resumed_is_the_same_run():
  config, _, first, _, _ = played("central")
  train = jax.jit(ppo.train, static_argnums=(0, 2))
  halfway, _ = train(config, first, 1)
  whole, _ = train(config, halfway, 1)
  stored = jax.tree.map(
    lambda x: (
      jax.random.wrap_key_data(np.asarray(jax.random.key_data(x)))
      if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
      else np.asarray(x)
    ),
    halfway,
  )
  resumed, _ = train(config, stored, 1)
  toy.equal(resumed, whole, rtol=0, atol=0)
  assert first.returns.returns.shape == (8,)


@critics
def test_a_policy_in_a_file_needs_an_agents_own_observation(critic, tmp_path):
  config, player, runner, _, _ = played(critic)
  path = tmp_path / "team.safetensors"
  policies.save(path, config, runner.variables)
  policy = policies.load(path)
  assert set(policy.observation_space.spaces) == {
    *("agent", "observation", "action_mask")
  }
  game = team_games.Recall()
  memories = [policy.initial_memory() for _ in range(2)]
  _, step = mixtures.batched(player.env)
  world = rollout.start(player, jax.random.key(5), 1, runner.variables)
  # The same game as agents see it in training.
  keys = jax.random.split(jax.random.key(5), 1)
  observation, state = game.reset(keys[0])
  for _ in range(3):
    greedy, _, memory = player.network.apply(
      runner.variables,
      world.observation,
      world.memory,
      world.reset,
      method="step",
    )
    chosen = []
    for i in range(2):
      own = jax.tree.map(lambda x, i=i: x[i], observation.own)
      action, memories[i] = policy.act(own, memories[i])
      chosen.append(action)
    np.testing.assert_array_equal(chosen, greedy.mode())
    actions, key = jnp.stack(chosen), jax.random.key(6)
    observation, state, *_ = game.step(key, state, actions)
    seen, env_state, *_ = step(
      key[None], world.env_state, actions, player.env_params
    )
    world = world._replace(env_state=env_state, observation=seen, memory=memory)


def test_an_evaluation_has_the_mean_return_of_the_agents():
  config, _, runner, _, _ = played("central")
  result = evaluate.evaluate(
    config, runner.variables, jax.random.key(2), num_episodes=6
  )
  assert result["complete"].all()
  np.testing.assert_array_equal(result["episode_length"], [3] * 6)
  assert set(np.asarray(result["episode_return"])) <= {0.0, 0.5, 1.0, 1.5}
  taken, states = evaluate.record(
    config, runner.variables, jax.random.key(3), 4
  )
  assert taken.reward.shape == (4,)
  assert states.bits.shape == (4, 2)
  # A film shows what the first agent sees.
  key = jax.random.key(3)
  (film,) = rendering.film(config, runner.variables, key, limit=4)
  assert film.seen(0).shape == (3,)


def test_q_learning_plays_agents_in_rows():
  config = small(pqn, normalize_observation=False)
  runner = jax.eval_shape(
    functools.partial(pqn.init, config), jax.random.key(0)
  )
  after, metrics = jax.eval_shape(lambda r: pqn.train(config, r, 2), runner)
  assert after.world.reset.shape == (8,)
  assert metrics["episodes"].shape == (2,)


@pytest.mark.parametrize("algorithm", [r2d2, sac])
def test_other_algorithms_refuse_several_agents(algorithm):
  config = algorithm.Config(env_id=_GAME, network=toy.network())
  with pytest.raises(ValueError, match="an environment of one player: PPO"):
    algorithm.player(config)


def test_what_does_not_fit_several_agents_is_refused():
  network = dataclasses.replace(
    toy.network(), encoder=encoders.Config(image_shape=(44, 44, 1))
  )
  for options, message in (
    ({"env_id": "RepeatPreviousEasy"}, "critic: got 'central', expected 'sepa"),
    ({"network": network}, "network.encoder: .* agents of .* are shown vec"),
    ({"env_id": "JaxseqTest-RecallMixed"}, "of one player in a mixture"),
  ):
    with pytest.raises(ValueError, match=message):
      ppo.player(small(**options))
  game = team_games.Recall()
  _, state = game.reset(jax.random.key(0))
  with pytest.raises(ValueError, match="an action of each of 2 agents"):
    game.step(jax.random.key(0), state, jnp.int32(0))


@pytest.mark.slow
@pytest.mark.parametrize("num_layers", [1, 0])
@critics
def test_memory_is_what_two_agents_solve_the_game_with(critic, num_layers):
  config = small(
    critic=critic,
    env_options=(("opposite", False),),
    network=toy.network("gru", 16, num_layers, widths=(16,), heads=(16,)),
    num_envs=32,
    rollout_length=16,
    num_epochs=4,
    num_minibatches=4,
    total_steps=30_720,
    learning_rate=5e-3,
    learning_rate_schedule="linear",
    normalize_observation=False,
    gae_lambda=0.95,
    entropy_coef=0.03,
  )
  runner = ppo.init(config, jax.random.key(0))
  runner, _ = ppo.train(config, runner, config.num_updates)
  result = evaluate.evaluate(
    config, runner.variables, jax.random.key(1), num_episodes=64, greedy=True
  )
  # 0.75 without a memory, whose answers are right half of the time.
  if num_layers:
    assert result["mean_return"] == 1.5
  else:
    assert result["mean_return"] < 1.2
