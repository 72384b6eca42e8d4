"""The recurrent soft actor-critic."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import nn
from jaxseq.rl import actions
from jaxseq.rl import encoders
from jaxseq.rl import evaluate
from jaxseq.rl import networks
from jaxseq.rl import policies
from jaxseq.rl.agents import _sac_loss
from jaxseq.rl.agents import _sequence_rollout
from jaxseq.rl.agents import sac
from jaxseq.rl.envs import spaces
from tests.rl import toy

toy.register(
  PaidSoftly=toy.Paid,
  WalkSoftly=functools.partial(toy.Walk, bounds=(-0.5, 1.5)),
)

_KEY = jax.random.key(0)

NUMBERS = {
  "env_id": "JaxseqTest-PaidSoftly",
  "env_options": (("continuous", 2),),
}


def small(mixer="gru", **options):
  """A configuration that compiles and runs in moments."""
  settings = {
    **sac.Config.published,
    "env_id": "JaxseqTest-PaidSoftly",
    "network": toy.network(mixer, 8, heads=(8,)),
    "num_envs": 4,
    "sequence_length": 8,
    "burn_in": 4,
    "total_steps": 512,
    "replay_sequences": 12,
    "learning_starts": 8,
    "num_minibatches": 2,
    "batch_size": 4,
    "learning_rate": 1e-3,
    "shortcut_width": 4,
  }
  return sac.Config(**(settings | options))


def whole(**options):
  """A configuration that learns from whole episodes."""
  return small(**({"start": "episode", "burn_in": 0} | options))


@functools.cache
def problem(config):
  """Networks, parameters, those of a target network, and the jitted loss."""
  runner = jax.eval_shape(functools.partial(sac.init, config), _KEY)
  parts = sac._networks(config, sac.player(config), runner.statistics)
  random = np.random.default_rng(0)
  params, target = (
    jax.tree.map(
      lambda x: 0.5 * random.normal(size=x.shape).astype(np.float32),
      runner.learned.params,
    )
    for _ in range(2)
  )

  @jax.jit
  def grad(params, target, batch):
    loss = functools.partial(_sac_loss.loss, config, parts, -1.0)
    arguments = params, target, batch, jnp.ones(1), _KEY
    gradients, (metrics, _) = jax.grad(loss, has_aux=True)(*arguments)
    return metrics, gradients

  return parts, params, target, grad


def rows_of(config, **flags):
  """One sequence of seven steps; `flags` are the rows of each."""
  size = jax.eval_shape(functools.partial(sac.init, config), _KEY)
  seen = size.world.observation
  random, rows = np.random.default_rng(1), 7
  spec = sac.player(config).network.actions
  action = random.integers(0, 2, (1, rows))
  if spec.kind == "gaussian":
    action = random.uniform(-1, 1, (1, rows, spec.num_outputs))
    action = action.astype(np.float32)

  def mark(name, length):
    return np.isin(np.arange(length), flags.get(name, []))[None]

  return _sequence_rollout.Sequence(
    memory=(),
    observation=jax.tree.map(
      lambda x: random.normal(size=(1, rows + 1, *x.shape[1:])).astype(
        np.float32
      ),
      seen,
    ),
    reset=mark("reset", rows + 1),
    action=action,
    reward=np.arange(1, rows + 1, dtype=np.float32)[None],
    terminated=mark("terminated", rows),
    cut=mark("cut", rows),
  )


def alone(batch, start, end):
  """The rows of one episode, with nothing done in as many as are left."""
  first = jax.tree.map(lambda x: np.roll(x, -start, axis=1), batch)
  rest = np.arange(batch.cut.shape[1]) >= end - start
  return first._replace(cut=first.cut | rest)


@pytest.mark.parametrize(
  "options", [{}, pytest.param(NUMBERS, marks=pytest.mark.slow)]
)
def test_a_sequence_is_the_episodes_in_it(options, monkeypatch):
  # What is drawn must not depend on the place.
  monkeypatch.setattr(
    nn.SquashedGaussian,
    "sample_with_log_prob",
    lambda self, key: self.of_noise(jnp.full(self.mean.shape, 0.3)),
  )
  config = whole(**options)
  _, params, target, grad = problem(config)
  # Three steps that are cut off, two that end, and two more.
  batch = rows_of(config, reset=[4, 6], terminated=[5], cut=[3])
  together, gradients = grad(params, target, batch)
  pieces = [
    grad(params, target, alone(batch, *rows))
    for rows in ((0, 4), (4, 6), (6, 7))
  ]
  counts = np.array([3, 2, 1]) / 6
  for name in ("critic_loss", "actor_loss", "td_error", "entropy", "q_value"):
    expected = sum(n * metrics[name] for n, (metrics, _) in zip(counts, pieces))
    # Float32 rounding of sums over some tens of numbers.
    np.testing.assert_allclose(together[name], expected, rtol=1e-5, atol=1e-5)
  expected = jax.tree.map(
    lambda *x: sum(n * leaf for n, leaf in zip(counts, x)),
    *(tree for _, tree in pieces),
  )
  toy.equal(gradients, expected, rtol=1e-4, atol=1e-4)


def test_a_cut_is_continued_by_its_value_and_an_end_is_not():
  config = whole()
  _, params, target, grad = problem(config)
  other = jax.tree.map(lambda x: x + 0.1, target)
  for flags, continues in (({"terminated": [0]}, False), ({"cut": [1]}, True)):
    end = 2 if continues else 1
    batch = alone(rows_of(config, **flags), 0, end)
    losses = [grad(params, x, batch)[0]["critic_loss"] for x in (target, other)]
    assert (losses[0] != losses[1]) == continues
    # What comes after is another episode's.
    batch.observation[:, end:] += 1.0
    again = grad(params, target, batch)[0]["critic_loss"]
    np.testing.assert_array_equal(again, losses[0])


@pytest.mark.slow
def test_each_loss_learns_its_own_part():
  config = whole(shared_encoder=True, temperature="fixed", **NUMBERS)
  (_, features, values), params, target, grad = problem(config)
  assert set(params["actor"]) == {"actor", "shortcut"}
  batch = alone(rows_of(config, terminated=[0]), 0, 1)
  _, gradients = grad(params, target, batch)
  assert gradients["log_alpha"] == 0
  for leaf in jax.tree.leaves(gradients["actor"]):
    assert np.abs(leaf).max() > 0

  # Where an episode ends, the critic's loss knows no actor, and the actor's has
  # no gradient in the critic whose memory it reads.
  def errors(critic):
    x, seen, _ = features.apply(
      {"params": critic["features"]}, batch.observation
    )
    inputs = x[:, 0], seen[:, 0], batch.action[:, 0]
    q = values.apply({"params": critic["values"]}, *inputs)
    return jnp.square(q - batch.reward[:, 0]).sum()

  expected = jax.grad(errors)(params["critic"])
  toy.equal(gradients["critic"], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shared", [False, True])
def test_no_loss_of_the_actor_learns_how_the_critic_sees_images(shared):
  image = encoders.Config(
    image_shape=(10, 10, 4), channels=(4,), kernels=(3,), strides=(1,)
  )
  config = small(
    env_id="Breakout-MinAtar",
    network=dataclasses.replace(toy.network("gru", 8), encoder=image),
    shared_encoder=shared,
    burn_in=0,
  )
  parts, params, target, _ = problem(config)
  assert "image" in params["critic"]["features"]
  batch = rows_of(config)
  config = dataclasses.replace(config, start="episode")

  def actor_loss(params):
    loss = _sac_loss.loss(
      config, parts, 1.0, params, target, batch, jnp.ones(1), _KEY
    )
    return loss[1][0]["actor_loss"]

  gradients = jax.jit(jax.grad(actor_loss))(params)
  for leaf in jax.tree.leaves(gradients["critic"]):
    np.testing.assert_array_equal(leaf, 0)
  assert any(np.abs(x).max() > 0 for x in jax.tree.leaves(gradients["actor"]))


@pytest.mark.slow
def test_stored_memories_are_those_of_one_pass_over_all_that_was_seen():
  config = small(**NUMBERS)
  features = sac._networks(config, sac.player(config), None).features
  network = sac.player(config).network

  @jax.jit
  def play(key):
    runner = sac.init(config, key)
    _, first, _ = (runner := sac._play(config, runner, key))
    _, second, _ = sac._play(config, runner[0], jax.random.key(1))
    params = runner[0].learned.params
    seen = first.observation[:, :8], None, first.reset[:, :8]
    expected = {
      "actor": network.apply({"params": params["actor"]}, *seen)[2],
      "critic": features.apply({"params": params["critic"]["features"]}, *seen)[
        2
      ],
    }
    return first, second, expected

  first, second, expected = play(_KEY)
  # The second sequence begins with the last steps of the first.
  np.testing.assert_array_equal(
    second.observation[:, :5], first.observation[:, 8:]
  )
  assert first.reset[:, 4].all()
  toy.equal(second.memory, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_policies_are_kept_in_files_and_act_within_bounds(tmp_path):
  config = whole(
    env_id="JaxseqTest-WalkSoftly",
    shared_encoder=True,
    normalize_observation=True,
    learning_starts=4,
    temperature="log_alpha",
    initial_alpha=0.2,
    target_entropy=2.0,
  )
  runner = sac.init(config, jax.random.key(0))
  runner, metrics = sac.train(config, runner, 2)
  assert np.isfinite(metrics["critic_loss"]).all()
  # Below its target, so that the temperature rises.
  assert metrics["entropy"][0] < 2
  assert metrics["alpha"][1] > metrics["alpha"][0] >= 0.2
  # Every sequence begins with an episode, whose first step is marked.
  items = runner.replay.items
  assert items.memory == ()
  assert items.reset[:8, 0].all()
  assert (items.observation[:8, 0, -1] == 1).all()
  path = tmp_path / "agent.safetensors"
  policies.save(path, config, runner.variables)
  policy = policies.load(path)
  assert policy.config == config
  memory = policy.initial_memory()
  seen = np.zeros(2, np.float32)
  for key in (None, *jax.random.split(jax.random.key(1), 5)):
    action, memory = policy.act(seen, memory, key)
    assert action.shape == (1,)
    assert -0.5 < action[0] < 1.5


def test_numbers_are_scaled_to_their_bounds():
  low, high = (
    np.array([-2.0, 0.0], np.float32),
    np.array([2.0, 1.0], np.float32),
  )
  spec = actions.bounded_spec_of(spaces.Box(low, high, (2,)))
  np.testing.assert_allclose(
    spec.to_environment(jnp.array([0.0, -1.0])), [0.0, 0.0]
  )
  np.testing.assert_allclose(
    spec.to_environment(jnp.array([1.0, 0.5])), [2.0, 0.75]
  )
  assert sac._target_entropy(small(), spec) == -2
  choice = actions.bounded_spec_of(spaces.Discrete(4))
  assert sac._target_entropy(small(), choice) == 0.7 * np.log(4)
  for space in (
    spaces.Box(-np.inf, np.inf, (2,)),
    spaces.MultiDiscrete((2, 3)),
  ):
    with pytest.raises(ValueError, match="Discrete, or a Box with finite bou"):
      actions.bounded_spec_of(space)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"tau": 2.0}, "tau: got 2.0"),
    ({"start": "episode"}, 'burn_in: got 4, expected 0 with start="episode"'),
    ({"initial_alpha": 0.0}, "initial_alpha: got 0.0"),
    ({"temperature": "auto"}, "temperature: got 'auto', expected one of"),
    (
      {"network": networks.Config(nn.StackConfig("gru", dropout=0.1))},
      "dropout",
    ),
  ],
)
def test_wrong_settings(options, message):
  with pytest.raises(ValueError, match=message):
    small(**options)


def test_sequences_that_are_episodes_must_be_long_enough():
  # Five steps, and the observation of the cut.
  with pytest.raises(ValueError, match="sequence_length: got 5, expected at"):
    sac.init(whole(sequence_length=5), jax.random.key(0))
  jax.eval_shape(lambda: sac.init(whole(sequence_length=6), jax.random.key(0)))


def test_masks_of_actions_are_the_policys():
  config = small(env_id="BattleshipEasy", env_options=(("masked", True),))
  runner = jax.eval_shape(functools.partial(sac.init, config), _KEY)
  after, _ = jax.eval_shape(functools.partial(sac.update, config), runner)
  assert jax.tree.structure(after) == jax.tree.structure(runner)
  mask = runner.replay.items.observation["action_mask"]
  assert mask.shape == (12, 4 + 8 + 1, 64)


@pytest.mark.slow
@pytest.mark.parametrize("num_layers", [1, 0])
def test_memory_is_what_solves_a_memory_task(num_layers):
  # Name the card before the one before; 1/4 of the guesses are right.
  config = sac.Config(
    env_options=(("k", 3),),
    network=networks.Config(
      nn.StackConfig(
        "gru",
        d_model=32,
        num_layers=num_layers,
        activation="none",
        residual=False,
        norm="layer",
      ),
      encoder_widths=(),
      head_widths=(32,),
    ),
    num_envs=16,
    sequence_length=32,
    burn_in=8,
    total_steps=102_400,
    learning_starts=64,
    num_minibatches=8,
    batch_size=32,
    learning_rate=3e-3,
    gamma=0.5,
    tau=0.05,
    reward_normalization="none",
    reward_scale=25.0,
    initial_alpha=0.2,
    entropy_share=0.1,
  )
  runner = sac.init(config, jax.random.key(0))
  runner, _ = sac.train(config, runner, config.num_updates)
  scores = evaluate.evaluate(
    config, runner.variables, jax.random.key(1), num_episodes=32, greedy=True
  )
  assert scores["complete"].all()
  if num_layers:
    assert scores["mean_return"] > 0.85
  else:
    assert scores["mean_return"] < 0
