"""Tests of Atari's games, as far as they are installed."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.atari100k_suite import published
from jaxseq.rl import envs
from jaxseq.rl.envs import _ale
from jaxseq.rl.envs import atari
from tests import programs

RULES = pytest.mark.parametrize("rules", ["ale", "released"])


@pytest.fixture
def no_hosts():
  """Hosts that were made before are forgotten, and afterwards too."""
  atari._hosted.cache_clear()
  yield
  atari._hosted.cache_clear()


@pytest.mark.usefixtures("no_hosts")
def test_atari_without_its_package(monkeypatch):
  monkeypatch.setitem(sys.modules, "ale_py", None)
  for function, arguments in ((envs.make, ("Pong-Atari",)), (atari.names, ())):
    with pytest.raises(ValueError, match=r"pip install 'jaxseq\[atari\]'"):
      function(*arguments)


def test_an_unknown_game_of_atari():
  pytest.importorskip("ale_py")
  with pytest.raises(ValueError, match="game: got 'MsPacman', .*ms_pacman"):
    atari.Atari("MsPacman")
  with pytest.raises(ValueError, match="rules: got 'old', expected one of"):
    atari.Atari(rules="old")


@pytest.mark.usefixtures("no_hosts")
def test_a_game_of_atari_without_its_file(monkeypatch):
  ale_py = pytest.importorskip("ale_py")

  def get_rom_path(name):
    raise OSError(f"no {name}.bin")

  monkeypatch.setattr(ale_py.roms, "get_rom_path", get_rom_path)
  with pytest.raises(
    ValueError,
    match="'pong' is missing or damaged .no pong.bin.; .*force-reinstall",
  ):
    atari.Atari("pong")


def test_all_games_are_registered():
  pytest.importorskip("ale_py")
  ids = {envs.atari_id(game) for game in atari.names()}
  assert ids == {name for name in envs.names() if name.endswith("-Atari")}


@pytest.mark.slow
def test_all_games_of_atari_100k_have_their_smallest_set_of_actions():
  pytest.importorskip("ale_py")
  fewer = {
    "amidar": 10,
    "assault": 7,
    "asterix": 9,
    "breakout": 4,
    "crazy_climber": 9,
    "demon_attack": 6,
    "freeway": 3,
    "gopher": 8,
    "kung_fu_master": 14,
    "ms_pacman": 9,
    "pong": 6,
    "qbert": 6,
    "up_n_down": 6,
  }
  for game in published.GAMES:
    env, params = envs.make(envs.atari_id(game))
    assert env.action_space(params).n == fewer.get(game, 18)


def play(env, keys, actions, **params):
  """Returns what (players,) of `keys` see and what becomes of each action."""
  params = env.default_params.replace(**params)
  first, state = jax.vmap(env.reset, (0, None))(keys, params)

  @jax.jit
  def run(state, actions):
    def step(state, action):
      image, state, *rest = jax.vmap(env.step, (0, 0, 0, None))(
        keys, state, action, params
      )
      return state, (image, *rest)

    return jax.lax.scan(step, state, actions)

  return np.asarray(first), state, *run(state, jnp.asarray(actions))


@pytest.mark.slow
@RULES
def test_a_game_is_a_pure_function_of_its_state(rules):
  pytest.importorskip("ale_py")
  env, params = envs.make("Breakout-Atari", rules=rules)
  assert (env.action_space(params).n, env.frame_stack) == (4, 4)
  keys = jax.random.split(jax.random.key(3), 2)
  actions = np.random.default_rng(0).integers(4, size=(250, 2))
  first, state, after, played = play(env, keys, actions)
  again = play(env, keys, actions)
  jax.tree.map(np.testing.assert_array_equal, (first, played), again[::3])
  images, reward, terminated, truncated, info = played
  assert (images.dtype, images.shape[1:]) == (np.uint8, (2, 84, 84, 1))
  assert (reward.dtype, terminated.dtype) == (np.float32, np.bool_)
  # A game has five lives, the last of which ends it.
  over = terminated.sum(axis=0)
  assert (over > 0).all()
  more = info["life_lost"].sum(axis=0) - 4 * over
  assert ((more >= 0) & (more <= 4)).all()
  assert not truncated.any()
  # Another game on the same emulator changes nothing.
  _, state, middle, _ = play(env, keys, actions[:100])
  play(env, keys[::-1], actions[:30])
  for t, action in enumerate(jnp.asarray(actions[100:110])):
    image, middle, *_ = jax.vmap(env.step, (0, 0, 0, None))(
      keys, middle, action, params
    )
    np.testing.assert_array_equal(image, images[100 + t])


def test_one_player_sees_what_one_of_a_batch_sees():
  pytest.importorskip("ale_py")
  env, params = envs.make("Breakout-Atari")
  keys = jax.random.split(jax.random.key(0), 2)
  actions = np.random.default_rng(0).integers(4, size=(6, 2))
  first, _, _, (images, *_) = play(env, keys, actions)
  image, state = env.reset(keys[1])
  np.testing.assert_array_equal(image, first[1])
  for t, action in enumerate(actions[:, 1]):
    image, state, *_ = env.step(keys[1], state, action, params)
    np.testing.assert_array_equal(image, images[t, 1])


@pytest.mark.slow
@pytest.mark.parametrize(
  "rules", ["ale", pytest.param("released", marks=pytest.mark.slow)]
)
def test_a_game_begins_with_30_numbers_of_frames_of_doing_nothing(rules):
  pytest.importorskip("ale_py")
  # Cars move in every frame.
  env, params = envs.make("Freeway-Atari", rules=rules)
  keys = jax.random.split(jax.random.key(0), 300)
  firsts, _ = jax.vmap(env.reset, (0, None))(keys, params)
  assert len({image.tobytes() for image in np.asarray(firsts)}) == 30


def test_the_time_limit_stops_a_game():
  pytest.importorskip("ale_py")
  # Cars move in every frame.
  env, _ = envs.make("Freeway-Atari")
  keys = jax.random.split(jax.random.key(0), 2)
  *_, played = play(env, keys, np.zeros((7, 2), int), max_steps_in_episode=3)
  images, _, terminated, truncated, info = played
  assert not terminated.any()
  assert truncated[:, 0].tolist() == [False, False, True] * 2 + [False]
  same = (images == info["final_observation"]).all(axis=(2, 3, 4))
  np.testing.assert_array_equal(same, ~truncated)


@RULES
def test_actions_are_not_sticky(rules):
  pytest.importorskip("ale_py")
  player = atari._PLAYERS[rules]
  players = [
    player(_ale.emulator("breakout", seed), lambda: 0) for seed in range(2)
  ]
  for player in players:
    player.reset()
  for action in np.random.default_rng(0).integers(4, size=60):
    one, other = (player.step(action).frame for player in players)
    np.testing.assert_array_equal(one, other)


def test_atari_shows_the_golden_frames(golden):
  pytest.importorskip("ale_py")
  arrays = golden("spr/frames_alevec_breakout")
  for i in range(int(arrays["num_envs"])):
    noops = int(arrays["episode_frame_number"][0, i])
    emulator = _ale.emulator(str(arrays["game"]))
    player = _ale.Player(emulator, lambda noops=noops: noops)
    np.testing.assert_array_equal(player.reset(), arrays["frames"][0, i])
    for t, action in enumerate(arrays["actions"][:, i]):
      step = player.step(action)
      np.testing.assert_array_equal(step.frame, arrays["frames"][t + 1, i])
      # Those of the golden file are clipped to their signs.
      assert np.sign(step.reward) == arrays["reward"][t, i]
      assert emulator.lives() == arrays["lives"][t + 1, i]
      ended = arrays["terminated"][t, i] | arrays["truncated"][t, i]
      done = step.life_lost | step.terminated | step.truncated
      assert done == ended


def test_atari_is_stopped_where_the_golden_frames_are(golden):
  pytest.importorskip("ale_py")
  arrays = golden("spr/frames_alevec_breakout_truncate")
  assert not arrays["terminated"].any()
  # After 60 frames.
  player = _ale.Player(_ale.emulator(str(arrays["game"])), int, 60 // 4)
  np.testing.assert_array_equal(player.reset(), arrays["frames"][0, 0])
  stopped = 0
  over = False
  for t, action in enumerate(arrays["actions"][:, 0]):
    # Where a game is over, the golden step after it is nothing but the reset,
    # which is a part of the step before it here.
    if over:
      over = False
      continue
    step = player.step(action)
    over = bool(arrays["truncated"][t, 0])
    shown = arrays["frames"][t + 2 if over else t + 1, 0]
    np.testing.assert_array_equal(step.frame, shown)
    assert np.sign(step.reward) == arrays["reward"][t, 0]
    assert step.truncated == over
    assert not step.life_lost
    stopped += over
  assert stopped == 2


@pytest.mark.slow
def test_a_program_that_plays_ends_in_silence():
  pytest.importorskip("ale_py")
  program = (
    "import jax\nfrom jaxseq.rl import envs\n"
    "env, params = envs.make('Pong-Atari')\n"
    "jax.jit(env.reset)(jax.random.key(0), params)\n"
  )
  done = programs.run("-c", program)
  assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
