"""Masks of actions, from the environment to what is learned and played."""

import functools
import types

import jax
from jax.experimental import checkify
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.nn import distributions
from jaxseq.rl import _policy_steps
from jaxseq.rl import actions
from jaxseq.rl import algorithms
from jaxseq.rl import conditioned_players
from jaxseq.rl import envs
from jaxseq.rl import meta
from jaxseq.rl import normalization
from jaxseq.rl import policies
from jaxseq.rl import projections
from jaxseq.rl import q_networks
from jaxseq.rl import recording
from jaxseq.rl import rollout
from jaxseq.rl import wrappers
from jaxseq.rl.agents import _r2d2_loss
from jaxseq.rl.agents import on_policy
from jaxseq.rl.agents import ppo
from jaxseq.rl.agents import pqn
from jaxseq.rl.agents import r2d2
from jaxseq.rl.agents import sac
from jaxseq.rl.envs import action_masks
from jaxseq.rl.envs import spaces
from jaxseq.rl.losses import advantages
from tests.rl import toy
from tests.rl.some_actions import SomeActions

toy.register(Some=SomeActions)

_CONFIGS = {"ppo": ppo.Config, "pqn": pqn.Config, "r2d2": r2d2.Config}
_OFF_POLICY = ("r2d2", "sac")


def _config(name, env_id="JaxseqTest-Some", **options):
  """A small configuration, which explores a lot."""
  settings = {
    "env_id": env_id,
    "network": toy.network("gru", 8),
    "num_envs": 4,
    "total_steps": 4096,
    "num_minibatches": 1,
  }
  if name in _OFF_POLICY:
    settings |= {
      "sequence_length": 8,
      "burn_in": 4,
      "replay_sequences": 8,
      "learning_starts": 4,
      "batch_size": 4,
    }
  else:
    settings |= {"rollout_length": 8, "num_epochs": 1}
  config = sac.Config if name == "sac" else _CONFIGS[name]
  return config(**dict(config.published) | settings | options)


def _untrained(config):
  """The player of a configuration, with variables whose heads say something."""
  player = algorithms.of(config).player(config)
  shown = rollout.begin(player, jax.random.key(0), 1).observation
  variables = jax.jit(player.network.init)(
    jax.random.key(1), jax.tree.map(lambda x: x[:, None], shown)
  )
  variables = {**variables, "params": _times(3, variables["params"])}
  if "exploration" not in variables and not isinstance(config, ppo.Config):
    variables["exploration"] = {"epsilon": jnp.float32(0.5)}
  return player, variables


def _times(factor, tree):
  return jax.tree.map(lambda x: factor * np.asarray(x), tree)


def test_golden_distributions(golden):
  arrays = golden("rl_more/action_masks")
  with jax.enable_x64(True):
    logits, mask, action = map(
      jnp.asarray, (arrays["logits"], arrays["mask"], arrays["action"])
    )

    def of(logits):
      return distributions.Categorical(logits).masked(mask)

    @jax.jit
    def values(logits, other):
      policy = of(logits)
      return {
        "log_prob": policy.log_prob(action),
        "entropy": policy.entropy(),
        "mode": policy.mode(),
        "probs": jax.nn.softmax(policy.logits),
        "grad_log_prob": jax.grad(lambda x: of(x).log_prob(action).sum())(
          logits
        ),
        "grad_entropy": jax.grad(lambda x: of(x).entropy().sum())(logits),
        "kl": policy.kl(of(other)),
      }

    tolerance = {"rtol": 1e-10, "atol": 1e-12}
    for name, value in values(logits, arrays["other_logits"]).items():
      np.testing.assert_allclose(value, arrays[name], **tolerance)
      if name.startswith("grad"):
        assert (np.asarray(value)[~arrays["mask"]] == 0).all()
    joint = actions.factored(
      tuple(arrays["factored_sizes"].tolist()),
      jnp.asarray(arrays["factored_logits"]),
    ).masked(jnp.asarray(arrays["factored_mask"]))
    taken = jnp.asarray(arrays["factored_action"])
    for name, value in {
      "log_prob": joint.log_prob(taken),
      "entropy": joint.entropy(),
    }.items():
      np.testing.assert_allclose(value, arrays[f"factored_{name}"], **tolerance)


def test_nothing_allowed_is_everything_allowed(golden):
  arrays = golden("rl_more/action_masks")
  logits = jnp.array([[1.0, 2.0, -1.0, 0.0, 0.5]])
  nothing = jnp.zeros(logits.shape, bool)
  free = distributions.Categorical(logits)
  policy = free.masked(nothing)
  np.testing.assert_array_equal(policy.entropy(), free.entropy())
  # Stable-Baselines3-contrib leaves a uniform one, whose entropy it calls 0.
  np.testing.assert_allclose(arrays["released_all_masked_probs"], 0.2)
  assert arrays["released_all_masked_entropy"] == 0
  values = q_networks.EpsilonGreedy(logits, jnp.float32(0.5)).masked(nothing)
  assert values.mask.all()


def test_everything_allowed_is_no_mask():
  logits = jax.random.normal(jax.random.key(0), (500, 7))
  everything, key = jnp.ones(logits.shape, bool), jax.random.key(1)
  for policy in (
    distributions.Categorical(logits),
    q_networks.EpsilonGreedy(logits, jnp.float32(0.5)),
    actions.factored((3, 4), logits),
  ):
    masked = policy.masked(everything)
    drawn = policy.sample(key)
    np.testing.assert_array_equal(masked.sample(key), drawn)
    np.testing.assert_array_equal(
      masked.log_prob(drawn), policy.log_prob(drawn)
    )


def test_exploration_is_uniform_over_what_is_allowed():
  values = jnp.broadcast_to(jnp.array([5.0, 1.0, 9.0, 2.0]), (40_000, 4))
  mask = jnp.array([True, True, False, True])
  policy = q_networks.EpsilonGreedy(values, jnp.float32(0.6)).masked(
    jnp.broadcast_to(mask, values.shape)
  )
  drawn = np.bincount(policy.sample(jax.random.key(0)), minlength=4) / 40_000
  expected = np.array([0.4 + 0.2, 0.2, 0, 0.2])
  # Four standard deviations of a share of 40,000.
  np.testing.assert_allclose(drawn, expected, atol=0.01)
  assert drawn[2] == 0
  assert (policy.mode() == 0).all()
  first = jax.tree.map(lambda x: x[:1] if x.ndim else x, policy)
  for action, chance in enumerate(expected):
    np.testing.assert_allclose(
      np.exp(first.log_prob(jnp.array([action]))), chance, rtol=1e-6
    )


def test_golden_targets(golden):
  arrays = golden("rl_more/pqn")
  with jax.enable_x64(True):
    q = q_networks.EpsilonGreedy(jnp.asarray(arrays["q"]), 0.0)

    def targets(q, truncated, final_value):
      v = jnp.swapaxes(q.values.max(axis=-1), 0, 1)
      first = jnp.swapaxes(jnp.asarray(arrays["reward"]), 0, 1)
      ended = jnp.asarray(arrays["done"] & ~truncated).T
      return advantages.gae(
        first,
        v[:, :-1],
        v[:, -1],
        ended,
        jnp.asarray(truncated).T,
        jnp.asarray(final_value).T,
        gamma=float(arrays["gamma"]),
        gae_lambda=float(arrays["lam"]),
      )[1].T

    never = np.zeros_like(arrays["done"]), np.zeros_like(arrays["reward"])
    cut = arrays["truncated"], arrays["final_value"]
    masked = q.masked(jnp.asarray(arrays["mask"]))
    for name, value in {
      "targets": targets(q, *never),
      "targets_truncated": targets(q, *cut),
      "targets_masked": targets(masked, *cut),
    }.items():
      np.testing.assert_allclose(value, arrays[name], rtol=1e-10, err_msg=name)


def test_replayed_targets_are_of_allowed_actions():
  q = jnp.array([[[1.0, 4.0], [3.0, 9.0]]])
  other = jnp.array([[[1.0, 4.0], [30.0, 90.0]]])
  mask = jnp.array([[[True, True], [True, False]]])
  no = jnp.zeros((1, 1), bool)
  batch = types.SimpleNamespace(reward=jnp.ones((1, 1)), terminated=no, cut=no)
  config = _config("r2d2", rescale_values=False, gamma=0.5)
  both = (
    q_networks.EpsilonGreedy(x, 0.0).masked(mask).values for x in (q, other)
  )
  np.testing.assert_allclose(
    _r2d2_loss.targets(config, *both, batch), [[1 + 0.5 * 30]]
  )


@pytest.mark.parametrize(
  "name", [pytest.param("ppo", marks=pytest.mark.slow), "r2d2"]
)
def test_networks_hand_on_no_gradient_of_forbidden_actions(name):
  config = _config(name)
  player, variables = _untrained(config)
  observation = {
    "observation": jnp.ones((1, 2, 5)),
    "action_mask": jnp.array([[[True, False, True], [False, False, False]]]),
  }

  def total(params):
    policy, value, _ = player.network.apply({"params": params}, observation)
    action = jnp.array([[2, 0]])
    if name == "ppo":
      return (policy.log_prob(action) + policy.entropy() + value).sum()
    return (policy.values[:, [0, 1], [2, 0]] + value).sum()

  gradients = jax.jit(jax.grad(total))(variables["params"])
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradients))
  policy, value, _ = jax.jit(player.network.apply)(variables, observation)
  numbers = policy.logits if name == "ppo" else policy.values
  np.testing.assert_array_equal(np.isneginf(numbers[0]), [[0, 1, 0], [0, 0, 0]])
  if name == "r2d2":
    np.testing.assert_array_equal(value, numbers.max(axis=-1))


@functools.partial(jax.jit, static_argnums=(0, 4))
def _play(player, variables, key, world, num_steps):
  return rollout.collect(player, variables, world, key, num_steps)[1]


def _forbidden(taken):
  """How many of the actions of transitions were not allowed."""
  _, mask = action_masks.split(taken.observation)
  mask = np.asarray(mask)
  picked = np.take_along_axis(mask, np.asarray(taken.action)[..., None], -1)
  return int((~picked[..., 0] & mask.any(-1)).sum())


def test_actions_are_taken_and_judged_under_the_mask_that_was_shown():
  config = _config("ppo", env_options=(("choices", (16,)), ("chance", 0.3)))
  player, variables = _untrained(config)
  world = rollout.start(player, jax.random.key(2), 2000, variables)
  taken = _play(player, variables, jax.random.key(3), world, 50)
  assert taken.action.size == 100_000
  assert _forbidden(taken) == 0
  # A mask that is made again, or left out, gives another ratio than 1.
  taken = jax.tree.map(lambda x: jnp.swapaxes(x[:, :8], 0, 1), taken)
  memory = jax.tree.map(lambda x: x[:8], world.memory)
  batch = on_policy.Batch(memory, taken, taken.value, taken.value)

  @jax.jit
  def log_prob(batch):
    return on_policy.replay(
      config,
      player.network,
      variables,
      batch,
      lambda policy, value, action: policy.log_prob(action),
    )

  np.testing.assert_allclose(log_prob(batch), taken.log_prob, atol=1e-5)
  late = jnp.roll(taken.observation["action_mask"], 1, axis=1)
  observation = {**taken.observation, "action_mask": late}
  wrong = batch._replace(transition=taken._replace(observation=observation))
  assert np.abs(log_prob(wrong) - taken.log_prob).max() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ppo", "pqn", "r2d2"])
def test_no_cell_is_shot_at_twice(name):
  config = _config(
    name, "BattleshipEasy", env_options=(("board_size", 6), ("masked", True))
  )
  player, variables = _untrained(config)
  world = rollout.start(player, jax.random.key(2), 1024, variables)
  taken = _play(player, variables, jax.random.key(3), world, 100)
  assert taken.action.size == 1024 * 100
  assert _forbidden(taken) == 0
  # All ships are sunk within as many shots as there are cells.
  ended = np.asarray(taken.terminated | taken.truncated)
  assert taken.terminated[ended].all()


@pytest.mark.slow
def test_a_million_draws_are_allowed():
  key_logits, key_mask, key = jax.random.split(jax.random.key(0), 3)
  logits = 10 * jax.random.normal(key_logits, (100_000, 36))
  # From one option that is allowed to almost all of them.
  shares = jnp.linspace(0, 1, len(logits))[:, None]
  mask = jax.random.uniform(key_mask, logits.shape) < shares
  mask |= jnp.arange(36) == jnp.arange(len(logits))[:, None] % 36
  policy = distributions.Categorical(logits).masked(mask)
  draw = jax.jit(policy.sample)
  for one in jax.random.split(key, 10):
    drawn = np.asarray(draw(one))
    assert np.take_along_axis(np.asarray(mask), drawn[:, None], -1).all()


@pytest.mark.slow
def test_a_player_at_random_keeps_to_the_mask():
  env, params = envs.make("JaxseqTest-Some", choices=(3, 2))
  spec = actions.spec_of(env.action_space(params))

  @jax.jit
  def play(key):
    first, state = env.reset(key, params)

    def body(carry, key):
      observation, state = carry
      _, mask = action_masks.split(observation)
      key_action, key_step = jax.random.split(key)
      action = actions.uniform(spec, mask).sample(key_action)
      observation, state, reward, *_ = env.step(key_step, state, action, params)
      return (observation, state), reward

    keys = jax.random.split(key, 100)
    return jax.lax.scan(body, (first, state), keys)[1]

  rewards = jax.vmap(play)(jax.random.split(jax.random.key(0), 1000))
  assert (np.asarray(rewards) == 1).all()


@pytest.mark.slow
@pytest.mark.parametrize("choices", [(3,), (3, 2)])
@pytest.mark.parametrize("name", [*_CONFIGS, "sac"])
def test_training_stays_finite_and_allowed(name, choices):
  if len(choices) > 1 and name != "ppo":
    return
  # One row in 30 forbids everything.
  config = _config(
    name,
    env_options=(("choices", choices),),
    normalize_observation=True,
  )
  algorithm = algorithms.get(name)
  runner = algorithm.init(config, jax.random.key(0))
  runner, metrics = algorithm.train(config, runner, 6)
  loss = "critic_loss" if name == "sac" else "loss"
  assert np.isfinite(metrics[loss][1:]).all()
  assert all(
    np.isfinite(x).all() for x in jax.tree.leaves(runner.variables["params"])
  )
  returns = np.asarray(metrics["episode_return"])
  np.testing.assert_array_equal(returns[np.isfinite(returns)], 4)


def test_the_mask_is_no_part_of_the_vector_unless_asked():
  env, params = envs.make("BattleshipEasy", masked=True)
  env = wrappers.FlattenHistory(env)
  first, state = env.reset(jax.random.key(0), params)
  seen, mask = action_masks.split(first)
  assert seen.shape == (2 + 64 + 1,)
  assert mask.shape == (64,)
  assert spaces.flat_size(env.shown_space(params)) == 2
  after = env.step(jax.random.key(0), state, jnp.int32(9), params)
  for shown in (after[0], after[5]["final_observation"]):
    np.testing.assert_array_equal(np.flatnonzero(~shown["action_mask"]), [9])
  told = wrappers.FlattenHistory(env.env, mask_in_observation=True)
  first, _ = told.reset(jax.random.key(0), params)
  assert first["observation"].shape == (2 + 64 + 64 + 1,)
  space = told.observation_space(params)
  assert space.spaces["observation"].shape == (131,)
  player, _ = _untrained(_config("ppo", normalize_observation=True))
  assert isinstance(player.network, normalization.Normalized)
  assert len(player.network.is_number) == 1 + 3 + 1


def test_other_wrappers_hand_the_mask_on():
  bare, _ = envs.make("JaxseqTest-Some")
  for env in (
    projections.Projected(bare, 5),
    meta.Trials(projections.Projected(bare, 5), 2),
    wrappers.Delay(wrappers.Flicker(bare, 0.5), 3),
  ):
    params = env.default_params
    first, state = env.reset(jax.random.key(0), params)
    stepped = env.step(jax.random.key(1), state, jnp.int32(0), params)
    space = env.observation_space(params)
    assert action_masks.is_masked(space)
    for shown in (first, stepped[0], stepped[5]["final_observation"]):
      assert shown["observation"].shape == space.spaces["observation"].shape
    inner = wrappers.innermost_state(stepped[1])
    np.testing.assert_array_equal(stepped[0]["action_mask"], inner.mask)


def test_masks_of_another_size_and_of_numbers_are_refused():
  with pytest.raises(ValueError, match="action space: got .* expected choices"):
    ppo.player(_config("ppo", env_options=(("numbers", True),)))
  space = action_masks.with_mask(spaces.Discrete(2), 3)
  with pytest.raises(ValueError, match=r"action_mask: got shape \(3,\)"):
    action_masks.check(space, spaces.Discrete(4))
  action_masks.check(spaces.Discrete(2), spaces.Discrete(4))


def test_checks_find_a_mask_that_allows_nothing():
  env = wrappers.CheckedMasks(SomeActions(chance=0.0))
  key = jax.random.key(0)
  # Unchecked it is played all the same.
  _, state = jax.jit(env.reset)(key)
  for call in (
    lambda: env.reset(key),
    lambda: env.step(key, state, jnp.int32(0)),
  ):
    error, _ = checkify.checkify(call)()
    with pytest.raises(checkify.JaxRuntimeError, match="got a choice"):
      error.throw()
  free = wrappers.CheckedMasks(SomeActions(chance=1.0))
  error, _ = checkify.checkify(lambda: free.reset(key))()
  error.throw()
  with pytest.raises(ValueError, match="expected observations with a mask"):
    wrappers.CheckedMasks(envs.make("RepeatFirstEasy")[0])


@pytest.mark.parametrize(
  "name", ["ppo", pytest.param("pqn", marks=pytest.mark.slow)]
)
def test_policies_keep_the_mask_in_files_and_programs(name, tmp_path):
  config = _config(name)
  player, variables = _untrained(config)
  path = tmp_path / "agent.safetensors"
  policies.save(path, config, variables)
  policy = policies.load(path)
  assert action_masks.is_masked(policy.observation_space)
  memory, key = policy.initial_memory(), jax.random.key(0)
  seen = np.zeros(1, np.float32)
  for allowed in range(3):
    observation = {"observation": seen, "action_mask": np.arange(3) == allowed}
    action, _ = policy.act(observation, memory)
    drawn, _ = policy.act(observation, memory, key)
    assert action == drawn == allowed
  with pytest.raises(ValueError, match="action_mask: allows no action, exp"):
    policy.act({**observation, "action_mask": np.zeros(3, bool)}, memory)
  step = _policy_steps.step_of(policy._player, policy.variables, False, {})
  assert {"observation_observation", "observation_action_mask"} < set(
    step.inputs
  )
  arrays = {
    "observation_observation": np.zeros((3, 1), np.float32),
    "observation_action_mask": np.eye(3, dtype=bool),
    "reset": np.ones(3, bool),
    "noise": np.full((3, 3 if name == "ppo" else 4), 0.1, np.float32),
  }
  states = jax.tree.map(
    lambda x: jnp.broadcast_to(x, (3, *jnp.shape(x))), step.states
  )
  outputs, _ = step.compute(arrays, states)
  np.testing.assert_array_equal(outputs["action"], [0, 1, 2])


@pytest.mark.slow
def test_a_recording_of_a_masked_game_holds_its_observations():
  config = _config("ppo")
  player, variables = _untrained(config)
  assert recording.observation_size(player) == 1
  recorded = recording.record(config, variables, jax.random.key(0), 2)
  assert recorded.observations.shape[-1] == 1
  with pytest.raises(ValueError, match="expected observations without a mask"):
    conditioned_players.actions_of(player)
