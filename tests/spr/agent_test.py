"""Tests of the agent's loop: what is stored, when it learns, how it resumes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import spr
from jaxseq.spr import runner
from jaxseq.spr import variants
from tests.spr import games

STEPS = 20
CHANGES = {
  "num_steps": STEPS,
  "batch_size": 3,
  "head": {"hidden": 3, "atoms": 3},
  "learning": {
    "augmentation": None,
    "num_predictions": 1,
    "momentum_tau": 0.5,
    "optimizer": {"learning_rate": 0.01},
  },
  "agent": {
    "min_replay": 12,
    "num_steps": 2,
    "updates_per_step": 2,
    "resets": {"every": 15, "shrink": 0.5, "perturb": 0.5},
  },
}
KEYS = (1, 2)


def config_for(game, **changes):
  settings = spr.settings.Settings(**{**CHANGES, **changes})
  return spr.settings.agent_config(settings, game)


def start(config, game):
  keys = jax.vmap(jax.random.key)(jnp.array(KEYS))
  init = jax.jit(jax.vmap(lambda key: runner.init(config, game, key)))
  return keys, init(keys)


def copy(tree):
  """A copy that survives a donation."""
  return jax.tree.map(jnp.copy, tree)


def same(a, b, **tolerance):
  def data(leaf):
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      leaf = jax.random.key_data(leaf)
    return np.asarray(leaf)

  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    np.testing.assert_allclose(data(x), data(y), **tolerance)


@pytest.fixture(scope="module", params=[False, True])
def played(request):
  """Runs whose loops are compiled, or not.

  How to make such a run, the states after its halves, and their metrics.
  """
  game = games.make()
  config = config_for(game)
  keys, state = start(config, game)

  def make_chunk():
    return runner.make_chunk(
      config, game, len(keys), compiled_loop=request.param
    )

  chunk = make_chunk()
  state, first = chunk(state, 13)
  middle = copy(state)
  state, second = chunk(state, STEPS - 13)
  return make_chunk, middle, state, first, second


@pytest.mark.slow
def test_the_replay_holds_what_was_played(played):
  _, _, state, first, second = played
  for seed, length in enumerate((7, 7)):
    count = np.arange(STEPS) % length
    replay = jax.tree.map(lambda leaf, seed=seed: leaf[seed], state.replay)
    np.testing.assert_array_equal(replay.frames[:, 0, 0], count)
    np.testing.assert_array_equal(
      replay.done, ((count + 1) % 3 == 0) | (count + 1 == length)
    )
    # The agent sees signs; the report has the game's own rewards.
    np.testing.assert_array_equal(replay.reward, replay.action == 1)
    earned = 2 * np.asarray(replay.reward)
    games_of_first = [earned[:length].sum()]
    np.testing.assert_allclose(
      first["episode_return"][seed], np.mean(games_of_first)
    )
    np.testing.assert_allclose(
      second["episode_return"][seed], earned[length : 2 * length].sum()
    )
  np.testing.assert_array_equal(first["episodes"], [1, 1])
  np.testing.assert_array_equal(second["episode_length"], [7, 7])
  np.testing.assert_array_equal(state.step, [STEPS, STEPS])


@pytest.mark.slow
def test_it_learns_from_min_replay_on(played):
  _, middle, state, first, second = played
  # Steps 12 .. 19 of 0 .. 19, two updates each; the weights were reset after
  # the 15th step.
  np.testing.assert_array_equal(middle.agent.step, [2, 2])
  np.testing.assert_array_equal(state.agent.step, [16, 16])
  np.testing.assert_array_equal(state.since_reset, [10, 10])
  for metrics in (first, second):
    for name in ("loss", "rl_loss", "spr_loss", "stem_norm"):
      assert np.isfinite(metrics[name]).all()
  # Seeds are runs of their own.
  assert second["loss"][0] != second["loss"][1]


@pytest.mark.slow
def test_a_run_goes_on_from_its_state(played):
  make_chunk, middle, state, _, second = played
  again, metrics = make_chunk()(copy(middle), STEPS - 13)
  same(again, state)
  same(metrics, second)


@pytest.mark.slow
def test_both_kinds_of_loops_give_the_same_numbers():
  game = games.make()
  config = config_for(game)
  runs = []
  for compiled_loop in (False, True):
    keys, state = start(config, game)
    chunk = runner.make_chunk(
      config, game, len(keys), compiled_loop=compiled_loop
    )
    state, first = chunk(state, 12)
    runs.append((*chunk(state, 3), first))
  assert np.isnan(runs[0][2]["loss"]).all()
  assert np.isfinite(runs[0][1]["loss"]).all()
  # Rounding, amplified by Adam's division by small second moments.
  same(runs[0], runs[1], rtol=1e-3, atol=1e-4)


def test_frames_are_stacked_and_blanked():
  observation = jnp.zeros((4, 4, 2), jnp.uint8)
  seen = []
  for count, done in ((1, True), (2, False), (3, False), (4, True)):
    observation = spr.agent.push(observation, games.frame_of(count), done)
    seen.append(observation[0, 0].tolist())
  assert seen == [[0, 1], [1, 2], [2, 3], [0, 4]]


def test_a_run_is_cut_where_steps_change():
  config = config_for(games.make())
  assert [tuple(part) for part in runner.segments(config, 10, 10)] == [
    (2, False, False),
    (3, True, True),
    (5, True, False),
  ]
  # None after the last step.
  config = dataclasses.replace(config, num_steps=15)
  assert not list(runner.segments(config, 10, 5))[-1].resets


def test_exploration_fades():
  variant = dataclasses.replace(variants.get("drq", 6), min_replay=1600)
  steps = (1600, 4100, 6600, 9000)
  found = [spr.agent._epsilon(variant, jnp.int32(step)) for step in steps]
  np.testing.assert_allclose(found, [1, 0.505, 0.01, 0.01], rtol=1e-6)
  assert spr.agent._epsilon(variants.get("spr", 6), jnp.int32(2000)) == 0


@pytest.mark.slow
def test_ataris_games_are_called_from_the_loop():
  """The same as beside it, and after going on from a state."""
  pytest.importorskip("ale_py")
  game = spr.game.make("Breakout-Atari")
  config = config_for(
    game,
    num_steps=60,
    encoder={"channels": (2, 2, 2)},
    agent={"min_replay": 50, "num_steps": 2, "updates_per_step": 1},
  )
  ends = []
  for compiled_loop in (False, True):
    keys, state = start(config, game)

    def make_chunk(compiled_loop=compiled_loop):
      return runner.make_chunk(
        config, game, len(KEYS), compiled_loop=compiled_loop
      )

    chunk = make_chunk()
    state, _ = chunk(state, 45)
    middle = copy(state)
    state, metrics = chunk(state, 8)
    # Lives were lost meanwhile.
    assert state.replay.done.any(axis=1).all()
    assert np.isfinite(metrics["loss"]).all()
    again, _ = make_chunk()(middle, 8)
    same(again, state)
    ends.append((state.replay, state.observation, metrics))
  # Rounding, amplified by Adam's division by small second moments.
  same(*ends, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_game_without_images_is_played_by_config_alone():
  game = spr.game.make("RepeatPreviousEasy")
  assert (game.frame_shape, game.stack, game.is_image) == ((9,), 1, False)
  changes = {
    "variant": "spr",
    "encoder": {"channels": (6,)},
    "transition": {"stack": {"mixer": "lstm", "d_model": 4}},
    "learning": {
      **CHANGES["learning"],
      "sequence": {"length": 2, "burn_in": 2},
    },
    "memory": {"stack": {"mixer": "s5", "d_model": 4}},
    "agent": {"min_replay": 16, "num_steps": 2, "updates_per_step": 1},
  }
  config = config_for(game, **changes)
  assert config.replay.frame_dtype == "float32"
  keys, state = start(config, game)
  state, metrics = runner.make_chunk(config, game, len(keys))(state, STEPS)
  assert np.isfinite(metrics["loss"]).all()
  assert (metrics["spr_loss"] > 0).all()
  seen = np.asarray(state.replay.frames)[:, 1:, 0, :9]
  # What was dealt, what was done before, and whether an episode begins.
  np.testing.assert_array_equal(seen[..., :4].sum(axis=-1), 1)
  before = seen[..., 4:8].argmax(axis=-1)
  np.testing.assert_array_equal(before, state.replay.action[:, : STEPS - 1])
  learning = {**CHANGES["learning"], "augmentation": {"pad": 1}}
  with pytest.raises(ValueError, match="augmentation: got .* are no images"):
    config_for(game, learning=learning)


def test_convolutions_predict_latents_of_vectors():
  config = config_for(spr.game.make("RepeatPreviousEasy"))
  transition = config.variant.update.networks.transition
  assert transition.channels == 256


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"agent": {"min_replay": 3}}, "min_replay: got 3, expected at least"),
    ({"agent": {"epsilon_decay": -1}}, "epsilon_decay.*-1"),
    ({"agent": {"updates_per_step": 0}}, "updates_per_step.*0"),
    (
      {"capacity": 400},
      "got 400, expected at least min_replay = 2000",
    ),
    ({"head": {"hiden": 3}}, "hiden.*hidden"),
    ({"variant": "ppo"}, "variant: got 'ppo'"),
  ],
)
def test_what_does_not_fit_is_refused(changes, message):
  settings = spr.settings.Settings(**changes)
  with pytest.raises(ValueError, match=message):
    spr.settings.agent_config(settings, games.make())
