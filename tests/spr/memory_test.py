"""Tests of agents with a memory: what they act upon is what they learn from."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import spr
from jaxseq.rl import encoders
from jaxseq.rl.replay import frames
from jaxseq.spr import _inputs
from jaxseq.spr import agent_networks
from jaxseq.spr import full_games
from jaxseq.spr import learner
from jaxseq.spr import q_heads
from jaxseq.spr import runner
from jaxseq.spr import update
from tests.spr import agent_test
from tests.spr import games
from tests.spr import mixer_transition_test

QUICK = ("lstm",)
SEQUENCE = {"length": 3, "burn_in": 2}
CAPACITY, STEPS, AHEAD, N = 24, 34, 2, 3


def vivid():
  """The game with frames that are told apart better."""
  return games.make(vivid=True)


def config_for(mixer, *, game=None, **changes):
  """An agent whose ring is soon full."""
  options = {"attention": {"heads": 2, "window": 4}}.get(mixer, {})
  learning = {
    **agent_test.CHANGES["learning"],
    "num_predictions": AHEAD,
    "sequence": SEQUENCE,
  }
  settings = spr.settings.Settings(
    **{
      **agent_test.CHANGES,
      "num_steps": STEPS,
      "capacity": CAPACITY,
      "head": {"hidden": 8, "atoms": 3},
      "memory": {
        "stack": {"mixer": mixer, "d_model": 4, "mixer_options": options}
      },
      "learning": learning,
      "agent": {"min_replay": 20, "num_steps": N},
      **changes,
    }
  )
  return spr.settings.agent_config(settings, game or vivid())


@functools.partial(jax.jit, static_argnums=0)
def play(config, key):
  """Returns the state after STEPS random steps, and what was seen in each."""
  game = vivid()
  parts = config.variant.update.networks

  def value(state, memory):
    params = state.agent.params
    return agent_networks.action_values(
      parts, params, state.observation, memory=memory
    )[0]

  def body(state, _):
    seen = value(state, state.memory), value(state, fresh)
    state, action = spr.agent.choose(config, state, learning=False)
    game_state, step = game.step(state.game, action, state.key)
    state = state._replace(game=game_state)
    state, _ = spr.agent.observe(config, state, action, step)
    return state, (*seen, step.done)

  fresh = agent_networks.initial_memory(parts)
  state = runner.init(config, game, key)
  return jax.lax.scan(body, state, length=STEPS)


@pytest.mark.slow
@pytest.mark.parametrize("mixer", mixer_transition_test.of_all_mixers(QUICK))
def test_sequences_give_the_values_that_were_acted_upon(mixer):
  config = config_for(mixer)
  state, (acted, fresh, done) = jax.device_get(play(config, jax.random.key(0)))
  # The memory is fresh after each end of an episode, and matters elsewhere,
  # though not where it moves nothing across a ReLU.
  begins = np.concatenate([[True], done[:-1]])
  # The two are compiled apart, and may take float32 sums in another order.
  np.testing.assert_allclose(acted[begins], fresh[begins], rtol=1e-5, atol=1e-6)
  assert (np.abs(acted - fresh).max(axis=1) > 1e-4)[~begins].mean() > 0.5

  # Multiples of 3 from which all is there. The newest step is 33, in slot 9; a
  # sequence needs 5 steps, 7 after them, and one before for its first stack.
  can_start = np.flatnonzero(
    np.asarray(state.replay.priorities.rows).reshape(-1)[:CAPACITY]
  )
  np.testing.assert_array_equal(can_start, [12, 15, 18, 21])

  parts = config.variant.update.networks

  @jax.jit
  def values(params, replay, slot):
    batch = frames.take(config.replay, replay, slot, num_steps=N, gamma=0.9)
    latent = encoders.apply(parts.encoder, params["encoder"], batch.observation)
    seen, _ = agent_networks.remember(
      parts, params, latent, batch.memory, batch.reset
    )
    outputs = q_heads.apply(parts.head, params["head"], seen)
    return batch.reset, q_heads.action_values(parts.head, outputs)

  reset, learned = values(state.agent.params, state.replay, can_start)
  step = can_start[:, None] + np.arange(reset.shape[1])
  np.testing.assert_array_equal(reset, begins[step])
  assert reset.any(axis=1).all()
  # Float32, in parallel over time instead of step by step.
  np.testing.assert_allclose(learned, acted[step], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_without_what_it_remembers_an_update_is_that_of_single_steps():
  config = config_for("lstm")
  agent, sequence = config.variant.update, config.variant.update.sequence
  state, _ = play(config, jax.random.key(0))
  start = state.agent
  for part in (start.params, start.target):
    part["memory"]["out"] = jax.tree.map(jnp.zeros_like, part["memory"]["out"])
  slot = jnp.array([15, 12, 21])
  weight = jnp.array([1.0, 0.5, 0.25])
  noise = q_heads.draw_noise(jax.random.key(1), agent.networks.head)

  @jax.jit
  def both(start, replay):
    keywords = {"num_steps": N, "gamma": 0.9}
    batch = frames.take(config.replay, replay, slot, **keywords)
    draws = _inputs.Draws(noise)
    after, metrics = update.update(
      agent, start, batch._replace(weight=weight), draws
    )
    places = slot[:, None] + sequence.burn_in + jnp.arange(sequence.length)
    places = places.reshape(-1)
    steps = dataclasses.replace(config.replay, sequence=None)
    alone = frames.take(steps, replay, places, **keywords)
    alone = alone._replace(weight=jnp.repeat(weight, sequence.length))
    loss = update.make_loss(agent, start, alone, draws)
    wanted = learner.descend(agent, start, loss, draws.noise)
    return after, metrics, wanted

  after, metrics, (wanted, steps) = both(start, state.replay)
  assert metrics.spr_loss > 0
  # Sums of the same float32 terms in another order.
  close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
  close(metrics[:2], steps[:2])
  close(metrics.spr_loss, steps.spr_loss)
  for part in ("encoder", "head", "transition", "predictor"):
    jax.tree.map(close, after.params[part], wanted.params[part])
  priority = np.reshape(steps.priority, (-1, sequence.length))
  close(
    metrics.priority, 0.9 * priority.max(axis=1) + 0.1 * priority.mean(axis=1)
  )
  # The memory's way out learns; with it, what the memory holds would matter.
  assert (np.asarray(after.params["memory"]["out"]["w"]) != 0).any()


def test_single_layers_may_have_dropout():
  for rate in (0.0, 0.5):
    layers = ({}, {"dropout": rate})
    stack = {"mixer": "lstm", "d_model": 4, "layers": layers, "num_layers": 2}
    config = config_for("lstm", memory={"stack": stack})
    assert config.variant.update.networks.drops == (rate > 0)


@pytest.mark.slow
def test_dropout_of_layers_is_on_in_what_learns_alone():
  stack = {"stack": {"mixer": "lstm", "d_model": 4, "dropout": 0.5}}
  config = config_for("lstm", memory=stack, transition=stack)
  agent, replay = config.variant.update, config.replay
  state = jax.jit(learner.init, static_argnums=1)(jax.random.key(0), agent)

  def take():
    memory = agent_networks.initial_memory(agent.networks)
    slot = jnp.zeros(2, jnp.int32)
    recorded = frames.init(replay, memory)
    return frames.take(replay, recorded, slot, num_steps=N, gamma=0.9)

  batch = jax.tree.map(
    lambda x: jnp.ones(x.shape, x.dtype), jax.eval_shape(take)
  )
  shape = batch.observation.shape
  batch = batch._replace(
    observation=jax.random.bits(jax.random.key(1), shape, jnp.uint8),
    done=jnp.zeros_like(batch.done),
    reset=jnp.zeros_like(batch.reset),
  )
  draws = update.draw(jax.random.key(2), agent, batch)
  learn = jax.jit(update.update, static_argnums=0)

  def learned(keys):
    after, metrics = learn(agent, state, batch, draws._replace(dropout=keys))
    return after.params, metrics.rl_loss, metrics.spr_loss

  params, *losses = learned(draws.dropout)
  moved = jax.tree.map(lambda a, b: (a != b).any(), state.params, params)
  # Of four branches the first one learns; no other has such layers on.
  others = draws.dropout.at[1:].set(jax.random.key(3))
  agent_test.same(learned(others), (params, *losses))
  _, *redrawn = learned(draws.dropout.at[0].set(jax.random.key(3)))
  for part, loss, other in zip(("memory", "transition"), losses, redrawn):
    assert np.isfinite(loss)
    assert loss != other
    assert all(jax.tree.leaves(moved[part]))


@pytest.mark.slow
def test_a_run_learns_and_goes_on_from_its_state():
  game = games.make()
  config = config_for("lstm", game=game, capacity=None, num_steps=25)
  assert config.replay.capacity == 27
  keys = jax.random.split(jax.random.key(0), 1)
  init = jax.jit(jax.vmap(functools.partial(runner.init, config, game)))
  state = init(keys)
  chunk = runner.make_chunk(config, game, len(keys))
  state, _ = chunk(state, 20)
  middle = agent_test.copy(state)
  state, metrics = chunk(state, 3)
  for name in ("loss", "rl_loss", "spr_loss", "stem_norm"):
    assert np.isfinite(metrics[name]).all()
  assert state.agent.step == 3 * config.variant.updates_per_step
  again, repeated = chunk(agent_test.copy(middle), 3)
  agent_test.same(again, state)
  agent_test.same(repeated, metrics)
  before, after = middle.agent.params, state.agent.params
  moved = jax.tree.map(lambda a, b: bool((a != b).any()), before, after)
  assert all(jax.tree.leaves(moved["memory"]))


@pytest.mark.slow
def test_a_new_game_is_played_with_a_fresh_memory():
  config = config_for("lstm")
  parts = config.variant.update.networks
  init = jax.jit(learner.init, static_argnums=1)
  agent = init(jax.random.key(0), config.variant.update)
  policy = full_games._policy(config)
  observation = jnp.ones((2, *config.replay.observation_shape), jnp.uint8)
  frame = jnp.full((2, *games.SHAPE), 9, jnp.uint8)
  fresh = agent_networks.initial_memory(parts, (2,))
  used = jax.tree.map(lambda x: x + 1, fresh)
  begins = jnp.array([True, False])

  def after(memory, begins):
    key = jax.random.key(1)
    seen = policy(agent, observation, memory, frame, begins, key)[1]
    return jax.tree.leaves(seen)

  got, of_fresh, of_used = (
    after(used, begins),
    after(fresh, begins),
    after(used, ~begins),
  )
  for x, y, z in zip(got, of_fresh, of_used):
    np.testing.assert_array_equal(x[0], y[0])
    assert (x[0] != z[0]).any()
    assert (x[1] != y[1]).any()


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"memory": {"stack": {"d_model": 4}}}, "memory.stack: got .* a mixer"),
    ({"memory": {"stack": {"mixer": "gpt"}}}, "gpt"),
    (
      {"memory": {"stack": {"mixer": "gru", "norm": "batch"}}},
      "stack.norm: got 'batch', .* tie sequences",
    ),
    ({"capacity": 25}, "capacity: got 25, expected a multiple of 3"),
    (
      {"agent": {"min_replay": 14, "num_steps": N}},
      "min_replay: got 14, expected at least 15",
    ),
  ],
)
def test_what_does_not_fit_is_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    config_for("lstm", **changes)
  assert config_for("none").variant.update.networks.memory is None
