import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxseq import mixers
from jaxseq import nn
from jaxseq.rl import networks
from jaxseq.rl import rollout
from jaxseq.rl.agents import ppo
from tests.rl import toy

toy.register(
  Paid=toy.Paid, PaidEnding=functools.partial(toy.Paid, 50, longest=9)
)


def small(mixer="gru", **options):
  """A configuration that compiles and runs in moments."""
  settings = {
    **ppo.Config.published,
    "network": toy.network(mixer, 16, widths=(16,), heads=(16,)),
    "num_envs": 4,
    "rollout_length": 32,
    "total_steps": 1024,
    "num_epochs": 2,
    "num_minibatches": 2,
    "learning_rate": 1e-3,
  }
  return ppo.Config(**(settings | options))


@functools.cache
def play(config, num_rollouts=2):
  """Collects rollouts; returns the last one and where it started."""
  key_init, *keys = jax.random.split(jax.random.key(0), num_rollouts + 1)
  runner = ppo.init(config, key_init)
  player = ppo.player(config)
  world = runner.world

  @jax.jit
  def collect(world, key):
    return rollout.collect(
      player,
      runner.variables,
      world,
      key,
      config.rollout_length,
      final_values=True,
    )

  for key in keys:
    before = world
    world, taken = collect(before, key)
  taken = jax.tree.map(lambda x: np.swapaxes(x, 0, 1), taken)
  return player, runner.variables, before, world, taken


# `make test-slow` has the others.
_QUICK = ("gru",)


@pytest.mark.parametrize(
  "mixer",
  [
    name if name in _QUICK else pytest.param(name, marks=pytest.mark.slow)
    for name in mixers.names()
  ],
)
def test_ratio_is_one_before_the_first_optimizer_step(mixer):
  # 120 steps of RepeatPreviousEasy hold two ends of an episode each. The
  # second rollout starts from the memory that the first one left.
  config = small(mixer, rollout_length=120, total_steps=10_000)
  player, variables, before, _, taken = play(config)
  assert taken.reset.sum() >= 4
  assert any(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(before.memory))
  policy, value, _ = jax.jit(player.network.apply)(
    variables, taken.observation, before.memory, taken.reset
  )
  ratio = jnp.exp(policy.log_prob(taken.action) - taken.log_prob)
  # Float32 rounding, accumulated over a recurrence of 240 steps.
  np.testing.assert_allclose(ratio, 1, rtol=0, atol=1e-5)
  np.testing.assert_allclose(value, taken.value, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_an_update_starts_from_the_memory_of_its_rollout():
  # A single step on the whole rollout: the loss is that of the policy that has
  # played, and so of ratio 1. Episodes do not end with the rollouts.
  config = small(
    rollout_length=30,
    num_epochs=1,
    num_minibatches=1,
    learning_rate=0.05,
    max_grad_norm=10.0,
  )
  runner = ppo.init(config, jax.random.key(0))
  _, metrics = ppo.train(config, runner, 8)
  # By then the policy depends on what it remembers.
  assert metrics["entropy"][-1] < 0.95 * np.log(4)
  # Rounding of 1 less 1 in float32, squared or averaged; a memory that is not
  # the right one makes 1e-6 to 1e-4 of it.
  assert np.abs(metrics["approx_kl"]).max() < 1e-8
  assert metrics["clip_fraction"].max() == 0


def test_a_shift_of_the_flags_is_seen_by_the_ratio():
  config = small(rollout_length=120, total_steps=10_000)
  player, variables, before, _, taken = play(config)
  done = taken.terminated | taken.truncated
  policy, _, _ = jax.jit(player.network.apply)(
    variables, taken.observation, before.memory, done
  )
  ratio = np.exp(policy.log_prob(taken.action) - taken.log_prob)
  assert np.abs(ratio - 1).max() > 1e-4


def test_reset_flags_are_the_ends_of_the_steps_before():
  config = small(rollout_length=120, total_steps=10_000)
  _, _, before, after, taken = play(config)
  done = taken.terminated | taken.truncated
  np.testing.assert_array_equal(taken.reset[:, 1:], done[:, :-1])
  np.testing.assert_array_equal(taken.reset[:, 0], before.reset)
  np.testing.assert_array_equal(after.reset, done[:, -1])
  # The last number of an observation is the first-step flag.
  np.testing.assert_array_equal(taken.observation[..., -1] == 1, taken.reset)


@pytest.mark.slow
@pytest.mark.parametrize(
  "mixer", ["gru", pytest.param("none", marks=pytest.mark.slow)]
)
def test_final_values_of_all_steps_are_those_of_each(mixer, monkeypatch):
  # Episodes are cut off here and there.
  config = small(env_id="JaxseqTest-PaidEnding", rollout_length=40)
  if mixer == "none":
    stack = dataclasses.replace(config.network.stack, num_layers=0)
    network = dataclasses.replace(config.network, stack=stack)
    config = dataclasses.replace(config, network=network)
  player = ppo.player(config)
  runner = ppo.init(config, jax.random.key(0))
  params = player.env_params.replace(max_steps_in_episode=4)
  player = player._replace(env_params=params)

  def collect(limit):
    monkeypatch.setattr(rollout, "_KEPT_BYTES", limit)
    return jax.jit(
      functools.partial(
        rollout.collect, player, num_steps=40, final_values=True
      )
    )(runner.variables, runner.world, jax.random.key(1))[1]

  at_once, one_by_one = collect(2**28), collect(-1)
  cut = np.asarray(at_once.truncated & ~at_once.terminated)
  assert 0 < cut.any(axis=1).mean() < 1
  assert (at_once.final_value[cut] != 0).all()
  # The same products, in batches of another size.
  toy.equal(at_once, one_by_one, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
  "mixer", ["gru", pytest.param("s5", marks=pytest.mark.slow)]
)
def test_final_value_continues_the_episode(mixer):
  config = small(mixer, env_id="JaxseqTest-Paid")
  player, variables, before, _, taken = play(config)
  # All environments are cut off together, every five steps.
  ends = np.flatnonzero(taken.truncated[0])
  assert ends.size == 6
  assert (taken.truncated == taken.truncated[:1]).all()
  # Each step that was cut off led to an observation that the rollout lacks.
  action = jax.nn.one_hot(taken.action[:, ends], 2)
  clock = jnp.full((*action.shape[:2], 1), jnp.sin(5.0))
  final = jnp.concatenate([clock, action, jnp.zeros_like(clock)], axis=-1)
  whole = np.insert(taken.observation, ends + 1, final, axis=1)
  reset = np.insert(taken.reset, ends + 1, False, axis=1)
  _, value, _ = jax.jit(player.network.apply)(
    variables, whole, before.memory, reset
  )
  places = ends + 1 + np.arange(ends.size)
  np.testing.assert_allclose(
    value[:, places], taken.final_value[:, ends], rtol=0, atol=1e-5
  )
  np.testing.assert_array_equal(taken.final_value[~taken.truncated], 0)


@pytest.mark.slow
@pytest.mark.parametrize(
  "bootstrap", [True, pytest.param(False, marks=pytest.mark.slow)]
)
def test_bootstrapping_makes_a_time_limit_invisible(bootstrap):
  # Reward 1 for ever is worth 1 / (1 - gamma). A critic that says so is right
  # at every step, also at time limits, exactly if these are bootstrapped.
  config = small(
    env_id="JaxseqTest-Paid",
    gamma=0.9,
    gae_lambda=0.95,
    bootstrap_truncated=bootstrap,
    value_coef=1.0,
    num_epochs=1,
  )
  runner = ppo.init(config, jax.random.key(0))
  runner = runner._replace(
    variables=toy.constant_critic(runner.variables, 10.0)
  )
  after, metrics = ppo.update(config, runner)
  # An equal configuration is the same program.
  size = ppo.update._cache_size()
  ppo.update(dataclasses.replace(config), after)
  assert ppo.update._cache_size() == size
  if bootstrap:
    assert metrics["value_loss"] < 1e-8
  else:
    assert metrics["value_loss"] > 1


@pytest.mark.slow
@pytest.mark.parametrize("bootstrap", [True, False])
def test_the_critic_learns_the_value_of_reward_for_ever(bootstrap):
  # Every step is the last with probability 1/4: a critic that takes a cut for
  # an end learns 1 / (1 - 3/4 gamma).
  config = small(
    env_id="JaxseqTest-Paid",
    env_options=(("cut", 0.25), ("limit", 50)),
    gamma=0.8,
    num_envs=8,
    total_steps=100 * 8 * 32,
    learning_rate=3e-3,
    learning_rate_schedule="linear",
    bootstrap_truncated=bootstrap,
    clip_value=False,
  )
  runner = ppo.init(config, jax.random.key(0))
  runner, metrics = ppo.train(config, runner, config.num_updates)
  player = ppo.player(config)
  _, taken = rollout.collect(
    player, runner.variables, runner.world, jax.random.key(1), 50
  )
  expected = 5.0 if bootstrap else 2.5
  np.testing.assert_allclose(taken.value.mean(), expected, rtol=0.1)


def stacked(config, key, num_seeds):
  """Returns the initial states of several seeds, one by one and stacked."""
  runners = [ppo.init(config, k) for k in jax.random.split(key, num_seeds)]
  return runners, jax.tree.map(lambda *leaves: jnp.stack(leaves), *runners)


@pytest.mark.slow
def test_a_branch_stays_a_branch_under_vmap():
  config = small(env_id="JaxseqTest-Paid")
  _, runners = stacked(config, jax.random.key(0), 2)
  program = jax.make_jaxpr(jax.vmap(functools.partial(ppo.update, config)))(
    runners
  )
  assert " cond[" in str(program)


# What the next two tests run.
RUN = small(env_id="JaxseqTest-PaidEnding")


@functools.cache
def trained():
  """Returns the state and the metrics of four updates in one call."""
  return ppo.train(RUN, ppo.init(RUN, jax.random.key(4)), 4)


@pytest.mark.slow
def test_single_updates_are_the_same_run():
  whole, metrics = trained()
  runner, parts = ppo.init(RUN, jax.random.key(4)), []
  for _ in range(4):
    runner, part = ppo.update(RUN, runner)
    parts.append(part)
  # Two programs, so that rounding may differ.
  toy.equal(runner, whole, rtol=1e-4, atol=1e-5)
  parts = jax.tree.map(lambda *x: np.stack(x), *parts)
  toy.equal(parts, metrics, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_metrics():
  runner, metrics = trained()
  assert runner.num_updates == 4
  np.testing.assert_array_equal(metrics["env_steps"], [128, 256, 384, 512])
  # Every step pays 1, so that return and length agree.
  assert (metrics["episodes"] > 5).all()
  np.testing.assert_allclose(
    metrics["episode_return"], metrics["episode_length"], rtol=1e-6
  )
  assert all(np.isfinite(value).all() for value in metrics.values())
  assert (metrics["grad_norm"] > 0).all()
  assert (
    (metrics["clip_fraction"] >= 0) & (metrics["clip_fraction"] <= 1)
  ).all()
  assert (metrics["entropy"] <= np.log(2) + 1e-6).all()


@pytest.mark.slow
def test_no_episode_end_gives_no_return():
  config = small(rollout_length=8)
  _, metrics = ppo.update(config, ppo.init(config, jax.random.key(0)))
  assert metrics["episodes"] == 0
  assert np.isnan(metrics["episode_return"])
  finite = set(metrics) - {"episode_return", "episode_length"}
  assert all(np.isfinite(metrics[name]) for name in finite)


@pytest.mark.parametrize(
  "options", [{"continuous": 2}, {"choices": (3, 2)}], ids=str
)
def test_an_update_keeps_the_form_of_the_state(options):
  config = small(env_id="JaxseqTest-Paid", env_options=tuple(options.items()))
  runner = jax.eval_shape(
    functools.partial(ppo.init, config), jax.random.key(6)
  )
  after, metrics = jax.eval_shape(functools.partial(ppo.update, config), runner)
  chex.assert_trees_all_equal_shapes_and_dtypes(after, runner)
  chex.assert_shape(list(metrics.values()), ())


@pytest.mark.slow
@pytest.mark.parametrize(
  "options", [{"continuous": 2}, {"choices": (3, 2)}], ids=str
)
def test_action_spaces(options):
  config = small(
    env_id="JaxseqTest-Paid",
    env_options=tuple(options.items()),
    entropy_coef=0.01,
  )
  runner, metrics = ppo.train(config, ppo.init(config, jax.random.key(6)), 2)
  assert all(np.isfinite(value).all() for value in metrics.values())


@pytest.mark.slow
def test_gymnax_environments_and_their_parameters():
  config = small(
    env_id="MemoryChain-bsuite", env_params=(("memory_length", 3),)
  )
  _, metrics = ppo.update(config, ppo.init(config, jax.random.key(7)))
  assert metrics["episode_length"] == 4


@pytest.mark.slow
def test_the_linear_schedule_ends_at_zero():
  config = small(learning_rate_schedule="linear")
  runner = ppo.init(config, jax.random.key(0))
  runner, _ = ppo.train(config, runner, config.num_updates)
  before = runner.variables
  runner, _ = ppo.update(config, runner)
  toy.equal(runner.variables, before, rtol=0, atol=0)


@pytest.mark.slow
def test_the_ssm_learning_rate_factor():
  # Adam's first step is the learning rate, whatever the gradient.
  config = small("s5", num_epochs=1, num_minibatches=1, adam_epsilon=1e-12)
  config = dataclasses.replace(config, ssm_learning_rate_factor=0.1)
  runner = ppo.init(config, jax.random.key(0))
  after, _ = ppo.update(config, runner)
  before = jax.tree_util.tree_leaves_with_path(runner.variables)
  for (path, old), new in zip(before, jax.tree.leaves(after.variables)):
    name = jax.tree_util.keystr(path)
    slow = any(
      f"'{part}'" in name for part in mixers.traits("s5").ssm_parameters
    )
    np.testing.assert_allclose(
      np.abs(new - old).max(),
      1e-4 if slow else 1e-3,
      rtol=0.02,
      # A float32 sum is exact to half a unit in the last place.
      atol=np.spacing(np.abs(old).max()),
      err_msg=name,
    )


@pytest.mark.slow
@pytest.mark.parametrize("num_layers", [1, 0])
def test_memory_is_what_solves_a_memory_task(num_layers):
  # Name the card before the one before; 1/4 of the guesses are right.
  config = ppo.Config(
    env_options=(("k", 3),),
    network=networks.Config(
      nn.StackConfig(
        "s5",
        mixer_options=(("ssm_size", 32), ("blocks", 1)),
        d_model=32,
        num_layers=num_layers,
        norm="layer",
        final_norm=False,
        activation="full_glu",
      ),
      encoder_widths=(),
      head_widths=(32,),
    ),
    num_envs=16,
    rollout_length=64,
    total_steps=204_800,
    num_epochs=4,
    num_minibatches=4,
    learning_rate=3e-3,
    learning_rate_schedule="linear",
    gamma=0.9,
    gae_lambda=0.95,
  )
  runner = ppo.init(config, jax.random.key(0))
  _, metrics = ppo.train(config, runner, config.num_updates)
  np.testing.assert_allclose(metrics["episode_return"][0], -0.5, atol=0.1)
  reached = np.mean(metrics["episode_return"][-10:])
  if num_layers:
    # 0.97 with each of three seeds.
    assert reached > 0.85
  else:
    # More than chance: the previous action, which is seen, is some memory.
    assert reached < 0


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"num_minibatches": 3}, "num_minibatches: got 3, expected a divisor"),
    ({"num_envs": 0}, "num_envs: got 0, expected an integer of at least 1"),
    ({"gamma": 1.5}, "gamma: got 1.5, expected a finite number from 0 to 1"),
    (
      {"entropy_coef": -1.0},
      "entropy_coef: got -1.0, expected a finite number of",
    ),
    (
      {"total_steps": 100},
      r"total_steps: got 100, expected at least 128, .*num_envs = 4.* Lower"
      r" num_envs to 3, or",
    ),
    ({"total_steps": 9}, "Lower rollout_length to 2, or raise total_steps"),
    ({"total_steps": 2**31}, "total_steps: got 2147483648, expected less than"),
    (
      {"network": networks.Config(nn.StackConfig("gru", dropout=0.1))},
      "stack.dropout: got 0.1, expected 0.0: the network that learns",
    ),
    ({"learning_rate_schedule": "exp"}, "learning_rate_schedule: got 'exp'"),
  ],
  ids=lambda value: value if isinstance(value, str) else None,
)
def test_wrong_settings(options, message):
  with pytest.raises(ValueError, match=message):
    small(**options)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"env_id": "RepeatPreviousEsay"}, "env_id: .* did you mean"),
    ({"env_options": (("kk", 1),)}, "options: RepeatPreviousEasy"),
    ({"env_params": (("length", 1),)}, "env_params: got 'length'"),
    ({"returns_per_trial": True}, "RepeatPreviousEasy have no trials"),
  ],
  ids=lambda value: value if isinstance(value, str) else None,
)
def test_wrong_environments(options, message):
  with pytest.raises(ValueError, match=message):
    ppo.init(small(**options), jax.random.key(0))


@pytest.mark.parametrize("mixer", ["gru", "s5"])
def test_a_critic_of_its_own_leaves_the_policy_alone(mixer):
  config = small(mixer, critic="separate", env_id="JaxseqTest-Paid")
  network = ppo.player(config).network
  observation = jax.random.normal(jax.random.key(0), (2, 7, 3))
  variables = network.init(jax.random.key(1), observation)

  def outputs(params):
    actor, value, states = network.apply({"params": params}, observation)
    return actor.logits, value, states

  def reached(output):
    gradient = jax.grad(
      lambda params: jnp.square(outputs(params)[output]).sum()
    )(variables["params"])
    return {name for name, x in gradient.items() if optax.tree.norm(x) > 0}

  assert reached(0) == {"encoder", "memory", "actor"}
  assert reached(1) == {"critic_encoder", "critic_memory", "critic"}
  fresh = network.initial_state((2,), variables=variables)
  chex.assert_trees_all_equal_shapes_and_dtypes(
    outputs(variables["params"])[2], fresh
  )
