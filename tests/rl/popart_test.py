import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl import policies
from jaxseq.rl import popart
from jaxseq.rl.agents import ppo
from tests.rl import toy
from tests.rl.agents import contract_test
from tests.rl.agents import ppo_test

toy.register(PaidInItsUnits=toy.Paid)

CONFIG = ppo_test.small(
  env_id="JaxseqTest-PaidInItsUnits",
  env_options={"limit": 7},
  network=toy.network(heads=(8,)),
  reward_normalization="popart",
  normalize_observation=True,
  critic="separate",
  gae_lambda=0.9,
)


@pytest.fixture(scope="module")
def first():
  return ppo.init(CONFIG, jax.random.key(0))


def test_values_stay_as_they_are_when_their_scale_changes(first):
  player, rng = ppo.player(CONFIG), np.random.default_rng(0)
  observation = rng.normal(size=(3, 5, *first.world.observation.shape[1:]))

  @jax.jit
  def values(variables):
    return player.network.apply(variables, observation.astype("f"))[1]

  update, variables = jax.jit(popart.update), first.variables
  assert not np.asarray(values(variables)).any()
  for mean, scale in ((5, 3), (-2e4, 1e3), (7, 1e-2)):
    before = values(variables)
    target = (mean + scale * rng.normal(size=(4, 32))).astype("f")
    variables = update(variables, target)
    size = max(abs(mean), scale, np.abs(before).max())
    np.testing.assert_allclose(
      values(variables), before, rtol=0, atol=1e-5 * size
    )
    # A critic that has learned something, so that there is a layer to rescale.
    variables["params"]["critic"]["mlp"]["dense_1"]["kernel"] += 0.5
  assert values(variables).std() > 100


def test_statistics_are_those_of_the_targets(first):
  rng = np.random.default_rng(1)
  target = (3e3 + 20 * rng.normal(size=(4, 32))).astype("f")
  variables = popart.update(first.variables, target[:, :8])
  variables = popart.update(variables, target[:, 8:])
  held = variables[popart.COLLECTION]
  np.testing.assert_allclose(held["mean"], target.mean(), rtol=1e-6)
  np.testing.assert_allclose(held["scale"], target.std(), rtol=1e-5)
  scaled = np.asarray(popart.normalize(variables, target))
  np.testing.assert_allclose([scaled.mean(), scaled.std()], [0, 1], atol=1e-3)


def test_targets_that_are_alike_or_not_finite(first):
  same = popart.update(first.variables, jnp.full((4, 8), 0.1))
  held = same[popart.COLLECTION]
  np.testing.assert_allclose(held["mean"], 0.1, rtol=1e-6)
  assert held["scale"] == 0
  toy.equal(same["params"], first.variables["params"])
  broken = popart.update(same, jnp.full((4, 8), jnp.inf))
  toy.equal(broken, same)


def test_rewards_of_any_size_and_a_run_that_is_resumed(first, tmp_path):
  def train(config, runner):
    return ppo.train(config, runner, 2)[0]

  halfway = train(CONFIG, first)
  whole = train(CONFIG, halfway)
  toy.equal(
    train(CONFIG, contract_test.on_the_host(halfway)).variables,
    whole.variables,
    rtol=0,
    atol=0,
  )
  pay = 2.0**10
  paid = dataclasses.replace(CONFIG, env_options={"limit": 7, "pay": pay})
  after = train(paid, train(paid, first)).variables
  toy.equal(after["params"], whole.variables["params"], rtol=1e-4, atol=1e-5)
  for name in ("mean", "scale"):
    size, held = after[popart.COLLECTION][name], whole.variables["popart"][name]
    assert held > 0.1
    np.testing.assert_allclose(size, pay * held, rtol=1e-4)
  path = tmp_path / "agent.safetensors"
  policies.save(path, CONFIG, whole.variables)
  toy.equal(policies.load(path).variables, whole.variables, rtol=0, atol=0)
