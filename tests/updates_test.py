"""No update of an agent or a problem uses a random key twice."""

import functools

import jax
import optax
import pytest

from jaxseq import nn
from jaxseq.dts import autoencoder
from jaxseq.dts import decoders
from jaxseq.dts import methods
from jaxseq.dts import series_encoders
from jaxseq.rl.agents import ppo
from jaxseq.spr import agent
from jaxseq.spr import runner
from jaxseq.training import supervised
from tests import key_reuse
from tests.dts import problem_test
from tests.rl.agents import ppo_test
from tests.rl.agents import r2d2_test
from tests.rl.agents import sac_test
from tests.spr import agent_test
from tests.spr import games
from tests.spr import memory_test
from tests.training import supervised_test

KEY = jax.random.key(0)


def twice(step):
  """Two steps, one after the other: what is used again is found as well."""
  return lambda state: step(step(state))


def check_agent(module, config):
  state = jax.eval_shape(functools.partial(module.init, config), KEY)
  step = twice(lambda state: module.update(config, state)[0])
  return key_reuse.check(step, state)


@pytest.mark.parametrize(
  "normalize", [pytest.param(False, marks=pytest.mark.slow), True]
)
def test_ppo(normalize):
  config = ppo_test.small(
    env_id="NoisyPositionOnlyCartPoleEasy",
    num_envs=2,
    rollout_length=4,
    total_steps=16,
    normalize_observation=normalize,
  )
  assert check_agent(ppo, config) > 10


@pytest.mark.slow
@pytest.mark.parametrize(
  "dropout", [pytest.param(0.0, marks=pytest.mark.slow), 0.5]
)
def test_r2d2(dropout):
  network = r2d2_test.with_dropout(dropout).network
  config = r2d2_test.small(num_envs=2, network=network)
  assert check_agent(r2d2_test.r2d2, config) > 10


@pytest.mark.slow
@pytest.mark.parametrize("make", [sac_test.small, sac_test.whole])
def test_sac(make):
  config = make(num_envs=2, **sac_test.NUMBERS)
  assert check_agent(sac_test.sac, config) > 10


ENCODER = {
  "channels": (2, 2),
  "kernels": (3, 2),
  "strides": (1, 1),
  "dropout": 0.5,
}


def check_spr(config, game):
  state = jax.eval_shape(functools.partial(runner.init, config, game), KEY)

  def step(state):
    state, action = agent.choose(config, state, learning=True)
    key, key_game = jax.random.split(state.key)
    at, seen = game.step(state.game, action, key_game)
    state = state._replace(key=key, game=at)
    state, _ = agent.observe(config, state, action, seen)
    return agent.learn(config, state)[0]

  return key_reuse.check(twice(step), state)


AUGMENTED = {"augmentation": {"pad": 1}}


def test_spr():
  game = games.make()
  learning = agent_test.CHANGES["learning"] | AUGMENTED
  config = agent_test.config_for(game, encoder=ENCODER, learning=learning)
  assert check_spr(config, game) > 10


@pytest.mark.slow
def test_spr_with_a_memory():
  game = memory_test.vivid()
  learning = agent_test.CHANGES["learning"] | AUGMENTED
  learning |= {"num_predictions": 2, "sequence": memory_test.SEQUENCE}
  stack = {"mixer": "gru", "d_model": 4, "dropout": 0.5}
  config = memory_test.config_for(
    "gru",
    game=game,
    encoder=ENCODER,
    learning=learning,
    memory={"stack": stack},
    transition={"stack": stack},
  )
  assert check_spr(config, game) > 10


def test_resets_of_spr():
  game = games.make()
  config = agent_test.config_for(game)
  state = jax.eval_shape(functools.partial(runner.init, config, game), KEY)
  step = twice(functools.partial(agent.reset, config))
  assert key_reuse.check(step, state) > 2


def check_problem(problem, optimizer):
  init = functools.partial(supervised.init, problem, optimizer)
  assert key_reuse.check(init, KEY) >= 1
  state = jax.eval_shape(init, KEY)
  step = twice(
    lambda state: supervised.update(problem, optimizer, state, problem.data)[0]
  )
  return key_reuse.check(step, state)


def test_supervised():
  problem = supervised_test.make_problem(noise=0.1)
  assert check_problem(problem, optax.adam(0.1)) >= 4


@pytest.mark.slow
@pytest.mark.parametrize(
  "method",
  [
    "dts",
    pytest.param("factor_vae", marks=pytest.mark.slow),
    pytest.param("info_vae", marks=pytest.mark.slow),
  ],
)
def test_dts(method):
  stack = nn.StackConfig("gru", d_model=4, num_layers=2, dropout=0.5)
  arm = problem_test.problem.ArmConfig(
    model=autoencoder.ModelConfig(
      series_encoders.EncoderConfig(stack=stack),
      decoders.DecoderConfig(stack=stack, form="ar", word_dropout=0.5),
      latent=3,
    ),
    objective=methods.Config(method=method),
    batch_size=8,
    prefix_rate=0.5,
  )
  problem = problem_test.problem.Problem(arm, problem_test.make_splits(), 10)
  optimizer = problem_test.problem.make_optimizer(arm, 10)
  assert check_problem(problem, optimizer) >= 6
