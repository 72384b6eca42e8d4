import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxseq import mixers
from jaxseq import nn
from jaxseq.rl import evaluate
from jaxseq.rl import networks
from jaxseq.rl import q_networks
from jaxseq.rl.agents import _r2d2_loss
from jaxseq.rl.agents import off_policy
from jaxseq.rl.agents import r2d2
from jaxseq.rl.replay import sequences
from jaxseq.training.devices import device_mesh
from tests.rl import toy

toy.register(
  Paid=toy.Paid,
  PaidEnding=functools.partial(toy.Paid, 50, longest=9),
  PaidBoth=functools.partial(toy.Paid, 7, longest=12, cut=0.1),
)


SLOW = pytest.mark.slow


def small(mixer="gru", **options):
  """A configuration that compiles and runs in moments."""
  settings = {
    **r2d2.Config.published,
    "env_id": "JaxseqTest-PaidEnding",
    "network": toy.network(mixer, 16, heads=(16,)),
    "num_envs": 4,
    "sequence_length": 16,
    "burn_in": 8,
    "total_steps": 1280,
    "replay_sequences": 12,
    "learning_starts": 8,
    "num_minibatches": 2,
    "batch_size": 4,
    "learning_rate": 1e-3,
    "adam_epsilon": 1e-8,
    "target_period": 3,
  }
  return r2d2.Config(**(settings | options))


def stack(trees):
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@functools.partial(jax.jit, static_argnums=0)
def play_and_replay(config, key):
  """Plays four sequences per environment into a ring that holds three.

  Returns what was played, the ring, the values that the network gives to what
  was played, and those that it gives if resets come one step late.
  """
  runner = r2d2.init(config, key)
  # Some mixers begin with an output of zeros, behind which nothing would show.
  rng, params = np.random.default_rng(0), runner.learned.params
  memory = jax.tree.map(
    lambda x: x + 0.05 * rng.normal(size=x.shape), params["memory"]
  )
  params = {**params, "memory": memory}
  runner = runner._replace(learned=runner.learned._replace(params=params))
  network = r2d2.player(config).network

  def play(carry, key):
    world, tail, replay = carry
    world, tail, sequence, taken = off_policy.play(
      config, r2d2.player(config), runner.variables, world, tail, key
    )
    replay = sequences.add(replay, sequence)
    return (world, tail, replay), (sequence, taken)

  (_, _, replay), played = jax.lax.scan(
    play,
    (runner.world, runner.tail, runner.replay),
    jax.random.split(runner.key, 4),
  )

  def values(sequence):
    return _r2d2_loss.action_values(
      config, network, runner.learned.params, sequence
    )

  sequence = played[0]
  late = sequence._replace(reset=jnp.roll(sequence.reset, 1, axis=-1))
  both = jax.tree.map(lambda *x: jnp.concatenate(x), sequence, late)
  return played, replay, *jnp.split(jax.lax.map(values, both), 2)


# Kinds of memory with the length of the burn-in.
BURN_IN = {"gru": 0, "s5": 16}
MIXERS = [
  pytest.param(name, BURN_IN.get(name, 8), marks=[] if name == "s5" else SLOW)
  for name in mixers.names()
]


@pytest.mark.slow
@pytest.mark.parametrize(("mixer", "burn_in"), MIXERS)
def test_replayed_values_are_those_of_acting(mixer, burn_in):
  # Episodes of up to seven steps, so that every sequence has resets; some are
  # cut off and some end. The memory crosses the bounds of three sequences.
  config = small(mixer, env_id="JaxseqTest-PaidBoth", burn_in=burn_in)
  (sequence, taken), replay, values, late = jax.device_get(
    play_and_replay(config, jax.random.key(0))
  )
  assert taken.terminated.sum() > 5
  assert taken.truncated.sum() > 5
  # Float32 rounding, accumulated over 64 steps.
  tolerance = {"rtol": 0, "atol": 5e-8}
  assert values.std() > 1e-3
  np.testing.assert_allclose(
    values[:, :, :-1].max(axis=-1), taken.value, **tolerance
  )
  np.testing.assert_allclose(
    values[:-1, :, -1].max(axis=-1), taken.value[1:, :, 0], **tolerance
  )
  # Far more, if resets came late; S5 starts with short memories.
  assert np.abs(late - values).max() > 5e-6
  # What is stored is what was seen and done.
  done = taken.terminated | taken.truncated
  np.testing.assert_array_equal(sequence.reset[:, :, burn_in:-1], taken.reset)
  np.testing.assert_array_equal(sequence.reset[:, :, burn_in + 1 :], done)
  np.testing.assert_array_equal(
    sequence.observation[:, :, burn_in:-1], taken.observation
  )
  np.testing.assert_array_equal(
    sequence.observation[1:, :, burn_in], sequence.observation[:-1, :, -1]
  )
  np.testing.assert_array_equal(
    sequence.observation[1:, :, :burn_in],
    sequence.observation[:-1, :, -1 - burn_in : -1],
  )
  for name in ("action", "reward", "terminated"):
    np.testing.assert_array_equal(
      getattr(sequence, name), getattr(taken, name), err_msg=name
    )
  np.testing.assert_array_equal(sequence.cut, taken.truncated)
  # The ring holds the last three, the very last in the place of the first.
  toy.equal(
    jax.tree.map(lambda x: x.reshape(3, 4, *x.shape[1:]), replay.items),
    jax.tree.map(lambda x: x[[3, 1, 2]], sequence),
    rtol=0,
    atol=0,
  )


def test_no_gradient_flows_through_the_burn_in():
  config = small(env_id="JaxseqTest-PaidBoth")
  runner = r2d2.init(config, jax.random.key(0))
  # Nothing has been stored: memory, actions and rewards are zeros.
  sequence = sequences.take(runner.replay, jnp.arange(4))
  observation = jax.random.normal(jax.random.key(1), sequence.observation.shape)

  @jax.jit
  def gradient(observation):
    return jax.value_and_grad(
      lambda observation: _r2d2_loss.loss(
        config,
        r2d2.player(config).network,
        runner.learned.params,
        runner.learned.target,
        sequence._replace(observation=observation),
        jnp.ones(4),
      )[0]
    )(observation)

  total, flows = gradient(observation)
  flows = np.abs(flows).max(axis=(0, 2))
  np.testing.assert_array_equal(flows[:8], 0)
  # Beyond the last step, values are targets only.
  assert (flows[8:-1] > 0).all()
  assert flows[-1] == 0
  # What is seen there counts all the same: it renews the stored memory.
  other, _ = gradient(observation.at[:, :8].add(1))
  assert other != total


def with_dropout(rate):
  network = small().network
  stack = dataclasses.replace(network.stack, dropout=rate)
  return small(network=dataclasses.replace(network, stack=stack))


@pytest.mark.slow
def test_dropout_is_on_in_what_learns_alone():
  config = with_dropout(0.5)
  runner = r2d2.init(config, jax.random.key(0))
  batch = sequences.take(runner.replay, jnp.arange(4))
  reward = jax.random.normal(jax.random.key(1), batch.reward.shape)
  seen = jax.random.normal(jax.random.key(2), batch.observation.shape)
  batch = batch._replace(reward=reward, observation=seen)
  params, target = runner.learned.params, runner.learned.target

  @functools.partial(jax.jit, static_argnums=0)
  def gradient(config, key):
    network = r2d2.player(config).network
    arguments = params, target, batch, jnp.ones(4), key
    q = _r2d2_loss.action_values(config, network, params, batch)
    grad = jax.grad(_r2d2_loss.loss, argnums=2, has_aux=True)
    return grad(config, network, *arguments)[0], q

  (one, q), (two, _) = (
    gradient(config, jax.random.key(seed)) for seed in (3, 4)
  )
  toy.equal(q, gradient(with_dropout(0.0), None)[1], rtol=1e-5, atol=1e-6)
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two)):
    assert np.isfinite(a).all()
    assert not np.allclose(a, b, atol=1e-9)


@pytest.mark.slow
def test_a_run_with_dropout_learns():
  config = with_dropout(0.5)
  runner = r2d2.init(config, jax.random.key(0))
  before = runner.learned.params["memory"]
  runner, metrics = r2d2.train(config, runner, 4)
  assert np.isfinite(metrics["loss"][-1])
  after = runner.learned.params["memory"]
  changed = jax.tree.map(lambda a, b: (a != b).any(), before, after)
  assert all(jax.tree.leaves(changed))


@pytest.mark.slow
def test_dropout_of_single_layers_is_that_of_all():
  losses = []
  for fields in (
    {"dropout": 0.5},
    {"layers": ({"dropout": 0.5},), "num_layers": 1},
  ):
    network = small().network
    stack = dataclasses.replace(network.stack, **{"num_layers": 1} | fields)
    config = small(network=dataclasses.replace(network, stack=stack))
    runner = r2d2.init(config, jax.random.key(0))
    _, metrics = r2d2.train(config, runner, 4)
    losses.append(metrics["loss"])
  toy.equal(*losses, rtol=1e-6, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("bootstrap", [True, False])
def test_values_of_reward_for_ever(bootstrap):
  # Every step is the last with probability 1/4: who takes a cut for an end
  # learns 1 / (1 - 3/4 gamma), who does not 1 / (1 - gamma).
  config = small(
    env_id="JaxseqTest-Paid",
    env_options=(("cut", 0.25), ("limit", 50)),
    gamma=0.8,
    num_steps=3,
    total_steps=400 * 64,
    replay_sequences=200,
    learning_rate=3e-3,
    learning_rate_schedule="linear",
    target_period=10,
    bootstrap_truncated=bootstrap,
  )
  runner = r2d2.init(config, jax.random.key(0))
  runner, metrics = r2d2.train(config, runner, config.num_updates)
  expected = 5.0 if bootstrap else 2.5
  # sqrt(6) - 1 + 0.005 on the network's scale, for example.
  scaled = np.sqrt(expected + 1) - 1 + 1e-3 * expected
  np.testing.assert_allclose(metrics["q_value"][-20:].mean(), scaled, rtol=0.05)


@pytest.mark.slow
def test_vectors_learn_as_arrays_do(monkeypatch):
  """As on one GPU; of one step, as Adam makes much of gradients that are 0."""
  config = small("s5", learning_starts=4, num_minibatches=1)
  runner = r2d2.init(config, jax.random.key(0))
  learned = []
  for whether in (False, True):
    monkeypatch.setattr(device_mesh, "on_one_gpu", lambda on=whether: on)
    update = jax.jit(functools.partial(r2d2.update.__wrapped__, config))
    learned.append(update(runner)[0].learned)
  arrays, vectors = learned
  moments = [leaf for leaf in jax.tree.leaves(arrays.opt_state) if leaf.ndim]
  assert optax.tree.norm(moments) > 0
  toy.equal(vectors.target, arrays.target, rtol=0, atol=0)
  # The global norm is summed up in another order.
  toy.equal(vectors.opt_state, arrays.opt_state, rtol=1e-5, atol=1e-8)


# What the next two tests run.
RUN = small(
  env_id="JaxseqTest-PaidBoth",
  num_minibatches=1,
  targets="lambda",
  dueling=False,
)


@pytest.mark.slow
def test_the_run_of_one_seed():
  config = RUN
  runner = r2d2.init(config, jax.random.key(5))
  seen = []
  size = None
  for i in range(7):
    before = runner
    runner, metrics = r2d2.update(config, runner)
    # The second call is the first program.
    size = size or r2d2.update._cache_size()
    seen.append(metrics)
    if i == 0:
      # Eight sequences are needed, and four are there.
      toy.equal(runner.learned, before.learned, rtol=0, atol=0)
      assert np.isnan(metrics["loss"])
      continue
    # Every third optimizer step, counted from the first, is copied.
    copied = before.learned.target if i % 3 else runner.learned.params
    toy.equal(runner.learned.target, copied, rtol=0, atol=0)
    assert metrics["grad_norm"] > 0
    assert np.isfinite(metrics["loss"])
    assert (runner.replay.priorities.rows.ravel()[:8] != 1).any()
  assert r2d2.update._cache_size() == size
  assert runner.num_updates == 7
  assert runner.replay.count == 28
  metrics = stack(seen)
  np.testing.assert_array_equal(metrics["env_steps"], 64 * np.arange(1, 8))
  # Every step pays 1, so that return and length agree.
  np.testing.assert_allclose(
    metrics["episode_return"], metrics["episode_length"], rtol=1e-6
  )
  assert (metrics["episode_length"] <= 7).all()
  # From 1 to 0.05 in a fifth of 20 updates.
  np.testing.assert_allclose(
    metrics["epsilon"], [1, 0.7625, 0.525, 0.2875, 0.05, 0.05, 0.05], rtol=1e-6
  )


@pytest.mark.slow
def test_chunks_and_seeds_are_the_same_runs():
  config = RUN
  runners = [r2d2.init(config, k) for k in jax.random.split(jax.random.key(3))]
  train = functools.partial(r2d2.train, config, num_updates=3)
  together, metrics = jax.vmap(train)(stack(runners))
  for i, runner in enumerate(runners):
    alone = []
    for _ in range(3):
      runner, one = r2d2.update(config, runner)
      alone.append(one)
    # Batched products round differently, and a value on the brink may flip an
    # action: none does here.
    toy.equal(
      jax.tree.map(lambda x, i=i: x[i], together), runner, rtol=1e-4, atol=1e-5
    )
    toy.equal(
      jax.tree.map(lambda x, i=i: x[i], metrics),
      stack(alone),
      rtol=1e-3,
      atol=1e-4,
    )


@pytest.mark.slow
def test_a_branch_stays_a_branch_under_vmap():
  config = small()
  runners = jax.eval_shape(
    jax.vmap(functools.partial(r2d2.init, config)),
    jax.random.split(jax.random.key(0)),
  )
  program = jax.make_jaxpr(jax.vmap(functools.partial(r2d2.update, config)))(
    runners
  )
  assert " cond[" in str(program)


def test_epsilon_greedy():
  values = jnp.array([[0.0, 2.0, 1.0, -1.0]]).repeat(8000, axis=0)
  policy = q_networks.EpsilonGreedy(values, jnp.float32(0.4))
  drawn = policy.sample(jax.random.key(0))
  assert drawn.dtype == jnp.int32
  shares = np.bincount(drawn, minlength=4) / 8000
  # A standard error is below 0.0055.
  np.testing.assert_allclose(shares, [0.1, 0.7, 0.1, 0.1], atol=0.025)
  np.testing.assert_allclose(
    np.exp(policy.log_prob(jnp.arange(4)[:, None]))[:, 0],
    [0.1, 0.7, 0.1, 0.1],
    rtol=1e-6,
  )
  never = policy._replace(epsilon=jnp.float32(0))
  assert (never.sample(jax.random.key(0)) == 1).all()


def memory_task(num_layers):
  """Name the card before the one before; 1/4 of the guesses are right."""
  return r2d2.Config(
    env_options=(("k", 3),),
    network=networks.Config(
      nn.StackConfig(
        "gru",
        d_model=32,
        num_layers=num_layers,
        activation="none",
        residual=False,
        norm="none",
      ),
      encoder_widths=(),
      head_widths=(32,),
    ),
    num_envs=16,
    sequence_length=32,
    burn_in=8,
    total_steps=30_720,
    replay_sequences=1024,
    learning_starts=64,
    num_minibatches=4,
    batch_size=32,
    learning_rate=3e-3,
    learning_rate_schedule="linear",
    adam_epsilon=1e-8,
    max_grad_norm=10.0,
    gamma=0.5,
    reward_normalization="none",
    reward_scale=25.0,
    num_steps=2,
    target_period=50,
    epsilon_end=0.02,
    exploration_fraction=0.4,
    rescale_values=False,
  )


@pytest.mark.slow
@pytest.mark.parametrize("num_layers", [1, pytest.param(0, marks=SLOW)])
def test_memory_is_what_solves_a_memory_task(num_layers):
  config = memory_task(num_layers)
  runner = r2d2.init(config, jax.random.key(0))
  runner, metrics = r2d2.train(config, runner, config.num_updates)
  returns = np.asarray(metrics["episode_return"])
  first = returns[np.isfinite(returns)][0]
  np.testing.assert_allclose(first, -0.5, atol=0.25)
  if not num_layers:
    # More than chance: the previous action, which is seen, is some memory.
    assert np.nanmean(returns[-20:]) < 0
    return
  played = evaluate.evaluate(
    config, runner.variables, jax.random.key(1), num_episodes=32, greedy=True
  )
  assert played["complete"].all()
  # 0.96 and more in training with each of two other seeds.
  assert played["mean_return"] > 0.85


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"num_envs": 0}, "num_envs: got 0, expected an integer of at least 1"),
    ({"gamma": 1.5}, "gamma: got 1.5, expected a finite number from 0 to 1"),
    ({"burn_in": -1}, "burn_in: got -1, expected a finite number of"),
    ({"burn_in": 5}, "burn_in: got 5, expected 0 or a divisor"),
    (
      {"targets": "td"},
      "targets: got 'td', expected one of 'n_step', 'lambda'",
    ),
    ({"replay_sequences": 3}, "replay_sequences: got 3, expected at least"),
    ({"learning_starts": 13}, "learning_starts: got 13, expected at most"),
    (
      {"total_steps": 127},
      r"total_steps: got 127, expected at least 128, .*learning_starts = \d.*"
      r" Lower learning_starts to 4, or raise total_steps\.",
    ),
    ({"total_steps": 63}, "Lower num_envs and learning_starts to 3, or raise"),
    ({"total_steps": 9}, "Lower sequence_length to 1, or raise total_steps"),
    ({"learning_rate_schedule": "exp"}, "learning_rate_schedule: got 'exp'"),
    ({"ssm_learning_rate_factor": 0.1}, "the mixer 'gru' names no parameters"),
  ],
  ids=lambda value: value if isinstance(value, str) else None,
)
def test_wrong_settings(options, message):
  with pytest.raises(ValueError, match=message):
    small(**options)


@pytest.mark.parametrize("options", [{"continuous": 2}, {"choices": (3, 2)}])
def test_actions_must_be_one_choice(options):
  config = dataclasses.replace(small(), env_options=tuple(options.items()))
  with pytest.raises(ValueError, match="expected an environment with Discrete"):
    r2d2.init(config, jax.random.key(0))
