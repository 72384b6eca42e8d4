"""A mixer whose fresh state is learned, in the contract and in networks."""

import dataclasses
import functools
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import generation
from jaxseq import mixers
from jaxseq import nn
from jaxseq import recurrence
from jaxseq._registry import Registry
from jaxseq.adapt import initial_states
from jaxseq.mixers import contract
from jaxseq.mixers import passes
from jaxseq.mixers import registry
from jaxseq.rl import networks
from jaxseq.rl import rollout
from jaxseq.rl.agents import common
from jaxseq.rl.agents import ppo

NAME = "learned"


@dataclasses.dataclass(frozen=True)
class Config(contract.Options):
  """Options of a decaying sum that begins with a parameter."""


def init(key, config):
  """Draws parameters."""
  draws = contract.Draws(key, "W h0")
  h0 = jax.random.normal(draws.keys["h0"], (config.d_model,))
  return {"W": draws("W", config.d_model, config.d_model), "h0": h0}


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32, params=None):
  """Returns the parameter."""
  h0 = jnp.asarray(params["h0"], dtype)
  return jnp.broadcast_to(h0, (*batch_shape, config.d_model))


def _run(over, config, params, x, state, reset):
  """Runs over a sequence; a reset puts the parameter back."""
  del config
  a, u = 0.5, recurrence.dense(x, params["W"])
  if reset is not None:
    u = u + jnp.where(reset[..., None], a * params["h0"], 0)
  h, state = over(
    recurrence.linear_scan, jnp.full_like(u, a), u, state, reset=reset
  )
  return h.astype(x.dtype), state


@pytest.fixture(autouse=True)
def _module(monkeypatch):
  """The mixer as a module in the registry."""
  module = types.ModuleType("tests_learned_state")
  apply, step = passes.make(Config, init, initial_state, _run)
  monkeypatch.setattr(Config, "__module__", module.__name__)
  vars(module).update(
    Config=Config,
    init=init,
    initial_state=initial_state,
    apply=apply,
    step=step,
    TRAITS=contract.Traits(memory=("",)),
  )
  monkeypatch.setitem(sys.modules, module.__name__, module)
  entries = {name: registry._MIXERS.path(name) for name in mixers.names()}
  entries[NAME] = module.__name__
  # Other tests of this process, which read all mixers, do not see it.
  monkeypatch.setattr(registry, "_MIXERS", Registry("mixer", entries))


def test_the_contract_holds(x64):
  del x64
  module, config = mixers.get(NAME), mixers.make_config(NAME, d_model=3)
  params = module.init(jax.random.key(0), config)
  x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 3)))
  reset = jnp.array([[False, False, True, False], [True, False, False, True]])
  apply = jax.jit(functools.partial(module.apply, config))
  step = jax.jit(functools.partial(module.step, config))
  y, last = apply(params, x, None, reset)
  alone = [(0, 0, 2), (0, 2, 4), (1, 0, 3), (1, 3, 4)]
  for row, start, stop in alone:
    piece, _ = apply(params, x[row, start:stop])
    np.testing.assert_allclose(y[row, start:stop], piece, rtol=1e-12)
  state = mixers.fresh_state(config, (2,), jnp.float64, params)
  np.testing.assert_allclose(state[0], params["h0"])
  for t in range(4):
    y_t, state = step(params, x[:, t], state, reset[:, t])
    np.testing.assert_allclose(y_t, y[:, t], rtol=1e-12)
  np.testing.assert_allclose(state, last, rtol=1e-12)

  def total(params):
    return jnp.sum(module.apply(config, params, x)[0])

  slope = jax.jit(jax.grad(total))(params)["h0"]
  np.testing.assert_allclose(slope, 2 * (0.5 + 0.25 + 0.125 + 0.0625))
  with pytest.raises(
    ValueError, match="params: got None, expected those of th"
  ):
    module.initial_state(config)


@pytest.mark.parametrize("scan_layers", [False, True])
def test_networks_begin_with_it(scan_layers):
  stack = nn.StackConfig(NAME, d_model=4, num_layers=2, scan_layers=scan_layers)
  network = nn.SequenceNetwork(nn.NetworkConfig(stack), 5, 5)
  tokens = jnp.array([[3, 1, 4, 1, 0, 2]])
  variables = jax.jit(network.init)(jax.random.key(0), tokens)
  states = network.initial_state((1,), variables=variables)
  layers = variables["params"]["stack"]
  if scan_layers:
    np.testing.assert_array_equal(states[0], layers["layers"]["mixer"]["h0"])
  else:
    np.testing.assert_array_equal(
      states[1][0], layers["layers_1"]["mixer"]["h0"]
    )
  whole, _ = jax.jit(network.apply)(variables, tokens)
  handed, _ = jax.jit(network.apply)(variables, tokens, states)
  np.testing.assert_allclose(handed, whole, rtol=1e-5, atol=1e-6)
  first, _ = network.apply(variables, tokens[:, 0], None, method="step")
  np.testing.assert_allclose(first, whole[:, 0], rtol=1e-5, atol=1e-6)
  with pytest.raises(
    ValueError, match="params: got None, expected those of th"
  ):
    network.initial_state((1,))
  # What is tuned is added.
  zeros = initial_states.parameters(network, variables)
  tuned = initial_states.attach(network, variables, zeros)
  begun, _ = jax.jit(network.apply)(tuned, tokens)
  np.testing.assert_allclose(begun, whole, rtol=1e-5, atol=1e-6)


def test_agents_begin_with_it():
  config = ppo.Config(
    env_id="CartPole-v1",
    network=networks.Config(
      nn.StackConfig(NAME, d_model=4, num_layers=1),
      encoder_widths=(),
      head_widths=(),
    ),
    num_envs=2,
    num_minibatches=1,
    critic="shared",
  )
  player = ppo.player(config)
  world, variables, _ = common.start(config, player, jax.random.key(0))
  (memory,) = world.memory
  h0 = variables["params"]["memory"]["layers_0"]["mixer"]["h0"]
  np.testing.assert_array_equal(memory, [h0, h0])
  later = rollout.start(player, jax.random.key(1), 2, variables)
  np.testing.assert_array_equal(later.memory[0], [h0, h0])


@pytest.mark.slow
def test_an_engine_begins_with_it():
  stack = nn.StackConfig(NAME, d_model=4, num_layers=1)
  network = nn.SequenceNetwork(nn.NetworkConfig(stack), 5, 5)
  prompts = [[3, 1, 4], [1], [0, 2, 2, 4, 1, 3]]
  variables = network.init(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
  engine = generation.Engine(
    network,
    variables,
    generation.EngineConfig(slots=2, lines=1, chunk=4, steps=2),
  )
  requests = [generation.Request(prompt, 4, seed=0) for prompt in prompts]
  for prompt, rows in zip(prompts, engine.run(requests)):
    tokens, _ = generation.generate(
      network, variables, [prompt], 4, jax.random.key(0)
    )
    np.testing.assert_array_equal(rows[0].tokens, tokens[0])
