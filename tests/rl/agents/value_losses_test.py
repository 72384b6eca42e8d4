"""Values as histograms, in every agent that has them."""

import dataclasses
import importlib
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import optimize

from jaxseq.rl import algorithms
from jaxseq.rl import evaluate
from jaxseq.rl import policies
from jaxseq.rl import q_networks
from jaxseq.rl import rollout
from jaxseq.rl.agents import _r2d2_loss
from jaxseq.rl.agents import on_policy
from jaxseq.rl.agents import pqn
from jaxseq.rl.agents import value_losses
from jaxseq.rl.losses import histogram
from tests.rl import toy
from tests.rl.some_actions import SomeActions

toy.register(SomeByValues=SomeActions, PaidByValues=toy.Paid)

CASES = [("pqn", "hl_gauss"), ("r2d2", "hl_gauss"), ("r2d2", "c51")]


def small(name, **options):
  module = importlib.import_module(f"tests.rl.agents.{name}_test")
  return module.small(**options)


def test_all_agents_with_the_option_are_tried():
  having = {
    name
    for name in algorithms.names()
    if issubclass(algorithms.get(name).Config, value_losses.Options)
  }
  assert having == {name for name, _ in CASES}


@pytest.mark.parametrize(
  ("name", "value_loss"),
  [
    pytest.param(*case, marks=pytest.mark.slow if case[0] == "r2d2" else ())
    for case in CASES
  ],
)
def test_a_policy_of_histograms_is_trained_saved_and_played(
  name, value_loss, tmp_path
):
  config = small(
    name,
    env_id="JaxseqTest-SomeByValues",
    env_options=(("choices", (3,)),),
    value_loss=value_loss,
    value_bins=11,
    value_range=[-4, 4],
    reward_normalization="returns",
  )
  algorithm = algorithms.get(name)
  runner = algorithm.init(config, jax.random.key(0))
  runner, metrics = algorithm.train(config, runner, 4)
  for field in ("loss", "td_error", "q_value", "value_clipped"):
    assert np.isfinite(metrics[field][-1]), field
  # Masks are respected, and allowed actions alone have finite values.
  player = algorithm.player(config)
  world = rollout.start(player, jax.random.key(1), 4, runner.variables)
  play = jax.jit(rollout.collect, static_argnums=(0, 4))
  _, taken = play(player, runner.variables, world, jax.random.key(2), 8)
  assert (np.asarray(taken.reward) == 1).all()
  assert np.all(np.abs(taken.value) < 4)

  path = tmp_path / "agent.safetensors"
  policies.save(path, config, runner.variables)
  loaded = policies.load(path)
  assert loaded.config == config
  toy.equal(loaded.variables, runner.variables, rtol=0, atol=0)
  played = [
    evaluate.evaluate(
      config, variables, jax.random.key(3), num_episodes=4, greedy=True
    )["mean_return"]
    for variables in (runner.variables, loaded.variables)
  ]
  assert played[0] == played[1] == 4


@pytest.mark.slow
@pytest.mark.parametrize(("name", "value_loss"), CASES)
def test_rewards_of_any_size_are_learned_from_alike(name, value_loss):
  algorithm, learned = algorithms.get(name), []
  # Powers of two round nothing, so that each number must be the same.
  for pay in (1.0, 2.0**10, 2.0**-10):
    config = small(
      name,
      env_id="JaxseqTest-PaidByValues",
      env_options={"limit": 5, "pay": pay},
      value_loss=value_loss,
      reward_normalization="returns",
    )
    runner = algorithm.init(config, jax.random.key(0))
    learned.append(algorithm.train(config, runner, 4)[0].variables)
  for other in learned[1:]:
    toy.equal(other, learned[0], rtol=1e-4, atol=1e-5)


_SCALES = {
  "none": lambda x: x,
  "rescale": lambda x: np.sign(x) * (np.sqrt(abs(x) + 1) - 1) + 1e-3 * x,
  "symlog": lambda x: np.sign(x) * np.log(1 + abs(x)),
}


def _distributions(config, probs, batch, rescaled):
  """Targets of one sequence, atom by atom, as C51's paper has them."""
  z = np.linspace(config.value_range[0], config.value_range[1], 9)
  width, length = z[1] - z[0], len(batch.reward[0])
  out = np.zeros((length, 9))
  for t in range(length):
    total, discount, i = 0.0, 1.0, t
    while i < min(t + config.num_steps, length) and not batch.cut[0, i]:
      total += discount * config.reward_scale * batch.reward[0, i]
      discount *= 0 if batch.terminated[0, i] else config.gamma
      i += 1
      if not discount:
        break
    for atom, chance in zip(z, probs[min(i, length)]):
      value = optimize.brentq(lambda x, atom: rescaled(x) - atom, -99, 99, atom)
      moved = rescaled(total + discount * value)
      near = np.clip(1 - abs(np.clip(moved, z[0], z[-1]) - z) / width, 0, 1)
      out[t] += chance * near
  return out


@pytest.mark.parametrize("scale", _SCALES)
def test_targets_of_c51_are_those_of_its_paper(x64, scale):
  config = small(
    "r2d2",
    value_loss="c51",
    value_bins=9,
    value_range=(-3.0, 3.0),
    num_steps=3,
    gamma=0.8,
    reward_scale=2.0,
    rescale_values=scale == "rescale",
    value_symlog=scale == "symlog",
  )
  rng = np.random.default_rng(0)
  terminated, cut = rng.random((2, 1, 12)) < 0.25
  batch = types.SimpleNamespace(
    reward=rng.normal(size=(1, 12)), terminated=terminated & ~cut, cut=cut
  )
  assert cut.any()
  assert batch.terminated.any()
  logits = rng.normal(size=(1, 13, 2, 9))
  q = rng.normal(size=(1, 13, 2))
  got = _r2d2_loss.distributions(
    config, jnp.asarray(q), jnp.asarray(logits), batch
  )
  best = logits[0, np.arange(13), q[0].argmax(axis=-1)]
  probs = np.asarray(jax.nn.softmax(best))
  want = _distributions(config, probs, batch, _SCALES[scale])
  np.testing.assert_allclose(got[0], want, atol=1e-9)


def test_the_loss_of_pqn_is_the_cross_entropy_of_the_actions_taken():
  config = small("pqn", value_loss="hl_gauss", value_bins=9, segment_length=2)
  support = config.support
  table = jax.random.normal(jax.random.key(0), (2, 3, 9))

  class Table:
    def apply(self, variables, observation, memory, reset):
      logits = variables["table"][observation]
      values = histogram.mean(support, logits)
      policy = q_networks.EpsilonGreedy(values, 0.0, logits=logits)
      return policy, values.max(axis=-1), memory

  seen = jnp.array([[0, 1, 0, 1], [1, 1, 0, 0]])
  action = jnp.array([[0, 2, 1, 0], [0, 1, 0, 2]])
  returns = jnp.array([[2.0, 0.0, 2.0, -7.0], [3.0, 14.0, 0.0, 1.0]])
  unknown = dict.fromkeys(rollout.Transition._fields)
  known = {"observation": seen, "reset": seen > 1, "action": action}
  taken = rollout.Transition(**(unknown | known))
  batch = on_policy.Batch((), taken, returns, returns)
  total, metrics = pqn.loss(config, Table(), {"table": table}, batch)
  logits = table[seen, action]
  want = optax.losses.softmax_cross_entropy(
    logits, histogram.hl_gauss(support, returns)
  )
  np.testing.assert_allclose(total, want.mean(), rtol=1e-6)
  errors = returns - histogram.mean(support, logits)
  np.testing.assert_allclose(
    metrics["td_error"], np.abs(errors).mean(), rtol=1e-5
  )
  assert metrics["value_clipped"] == 1 / 8


@pytest.mark.slow
@pytest.mark.parametrize("value_symlog", [False, True])
@pytest.mark.parametrize("value_loss", ["hl_gauss", "c51"])
def test_values_of_reward_for_ever(value_loss, value_symlog):
  config = small(
    "r2d2",
    env_id="JaxseqTest-PaidByValues",
    env_options=(("cut", 0.25), ("limit", 50)),
    gamma=0.8,
    num_steps=3,
    total_steps=400 * 64,
    replay_sequences=200,
    learning_rate=3e-3,
    learning_rate_schedule="linear",
    target_period=10,
    rescale_values=False,
    value_loss=value_loss,
    value_bins=21,
    value_symlog=value_symlog,
    value_range=(-2.5, 2.5) if value_symlog else (-10, 10),
  )
  algorithm = algorithms.get("r2d2")
  runner = algorithm.init(config, jax.random.key(0))
  _, metrics = algorithm.train(config, runner, config.num_updates)
  # Each step pays 1, and nothing ends.
  np.testing.assert_allclose(metrics["q_value"][-20:].mean(), 5, rtol=0.05)


@pytest.mark.parametrize(
  ("name", "options", "message"),
  [
    ("pqn", {"value_loss": "c51"}, "'c51', expected 'squared' or 'hl_gauss'"),
    ("pqn", {"value_loss": "huber"}, "value_loss: got 'huber', expected one"),
    ("pqn", {"value_symlog": True}, "value_symlog: got True, expected False"),
    ("r2d2", {"value_bins": 1}, "value_bins: got 1, expected an integer"),
    ("r2d2", {"value_range": (1, 1)}, r"value_range: got \(1, 1\), expected"),
    ("r2d2", {"value_range": 10.0}, "value_range: got 10.0, expected two num"),
    (
      "r2d2",
      {"value_loss": "c51", "targets": "lambda"},
      "'c51', expected 'squared' or 'hl_gauss' with targets='lambda'",
    ),
  ],
)
def test_wrong_settings(name, options, message):
  with pytest.raises(ValueError, match=message):
    small(name, **options)


def test_a_squared_loss_has_the_network_of_one_number():
  config = small("pqn", env_id="JaxseqTest-PaidByValues")
  network = pqn.player(config).network
  assert network.support is None
  other = dataclasses.replace(config, value_loss="hl_gauss", value_bins=7)
  assert pqn.player(other).network.support == histogram.Support(-10, 10, 7)
