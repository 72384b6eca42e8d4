"""Tests of the games: MinAtar's, Atari's as far as they are installed."""

import sys

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl.envs import atari
from jaxseq.rl.envs import atari_released
from jaxseq.rl.envs import minatar
from jaxseq.rl.envs import players as environments
from jaxseq.spr import published

ATARI = pytest.mark.parametrize("module", [atari, atari_released])


@pytest.mark.parametrize("name", minatar.names())
def test_a_step_keeps_the_form_of_minatars_states(name):
  game = minatar.make(name)
  key = jax.random.key(0)
  state, frame = jax.eval_shape(game.init, key)
  action = jax.ShapeDtypeStruct((), jnp.int32)
  after, step = jax.eval_shape(game.step, state, action, key)

  def form(tree):
    return [(x.shape, x.dtype, x.weak_type) for x in jax.tree.leaves(tree)]

  assert form(after) == form(state)
  for shown in (frame, step.frame):
    assert (shown.shape, shown.dtype) == (game.frame_shape, jnp.uint8)
  assert game.on_device
  assert game.image_shape == game.frame_shape
  assert (step.reward.dtype, step.done.dtype) == (jnp.float32, jnp.bool_)


def test_minatars_players_are_those_of_gymnax():
  players = minatar.make("breakout").play(np.array([3, 4]))
  frame = players.reset()
  env, params = gymnax.make("Breakout-MinAtar")
  key, first = jax.random.split(jax.random.key(4))
  observation, state = env.reset(first, params)
  ends = 0
  for t in range(40):
    np.testing.assert_array_equal(frame[1], 255 * np.asarray(observation))
    step = players.step(np.array([0, t % 3]))
    key, now = jax.random.split(key)
    observation, state, reward, ended, _, _ = env.step(
      now, state, t % 3, params
    )
    assert step.reward[1] == reward
    assert step.done[1] == step.over[1] == ended
    frame, ends = step.frame, ends + int(ended)
  assert ends > 0
  again = minatar.make("breakout").play(np.array([3, 4]))
  np.testing.assert_array_equal(again.reset(), players.reset())


def test_an_unknown_game_of_minatar():
  with pytest.raises(ValueError, match="asterix, breakout.*got 'pong'"):
    minatar.make("pong")


@ATARI
def test_atari_without_its_package(module, monkeypatch):
  monkeypatch.setitem(sys.modules, "ale_py", None)
  for function, arguments in ((module.make, ("pong",)), (module.names, ())):
    with pytest.raises(ValueError, match=r"pip install 'jaxseq\[atari\]'"):
      function(*arguments)


@ATARI
def test_an_unknown_game_of_atari(module):
  pytest.importorskip("ale_py")
  with pytest.raises(ValueError, match="'ms_pacman'; got 'MsPacman'"):
    module.make("MsPacman")


@ATARI
def test_a_game_of_atari_without_its_file(module, monkeypatch):
  ale_py = pytest.importorskip("ale_py")

  def get_rom_path(name):
    raise OSError(f"no {name}.bin")

  monkeypatch.setattr(ale_py.roms, "get_rom_path", get_rom_path)
  with pytest.raises(
    ValueError,
    match="'pong' is missing or damaged .no pong.bin.; .*force-reinstall",
  ):
    module.make("pong")


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
  assert set(published.GAMES) <= set(atari.names())
  assert atari.names() == atari_released.names()
  for name in published.GAMES:
    assert atari.make(name).num_actions == fewer.get(name, 18)


def test_what_ataris_emulators_are_told(monkeypatch):
  ale_py = pytest.importorskip("ale_py")
  vector, told = ale_py.vector_env.AtariVectorEnv, {}
  made = []

  def record(*arguments, **options):
    told.update(options)
    made.append(vector(*arguments, **options))
    return made[-1]

  monkeypatch.setattr(ale_py.vector_env, "AtariVectorEnv", record)
  game = atari.make("breakout")
  game.play(np.arange(2))
  expected = {
    "frameskip": 4,
    "max_num_frames_per_episode": 27_000 * 4,
    "noop_max": 30,
    "use_fire_reset": False,
    "life_loss_info": True,
    "reward_clipping": False,
    "repeat_action_probability": 0.0,
  }
  assert {name: told[name] for name in expected} == expected
  # What is not told stays as it is: the maximum of two frames, grey images.
  assert not {"maxpool", "grayscale", "episodic_life"} & set(told)
  assert made[0].single_action_space.n == game.num_actions


def test_ataris_actions_are_not_sticky():
  pytest.importorskip("ale_py")
  players = atari.Players("breakout", np.arange(2), noop_max=1)
  players.reset()
  for action in np.random.default_rng(0).integers(4, size=60):
    frame = players.step(np.repeat(action, 2)).frame
    np.testing.assert_array_equal(frame[0], frame[1])


def test_atari():
  pytest.importorskip("ale_py")
  game = atari.make("breakout")
  assert (game.num_actions, game.image_shape) == (4, (84, 84, 4))
  assert not game.on_device
  seeds = np.array([3, 7])
  players, again = game.play(seeds), game.play(seeds)
  np.testing.assert_array_equal(players.reset(), again.reset())
  rng = np.random.default_rng(0)
  lost, over = np.zeros(2, int), np.zeros(2, int)
  for _ in range(250):
    action = rng.integers(game.num_actions, size=2)
    step, other = players.step(action), again.step(action)
    for x, y in zip(step, other):
      np.testing.assert_array_equal(x, y)
    assert isinstance(step, environments.Step)
    assert not (step.over & ~step.done).any()
    lost, over = lost + step.done, over + step.over
  assert step.frame.dtype == np.uint8
  assert step.frame.shape == (2, 84, 84)
  # A game has five lives.
  assert (over > 0).all()
  assert (lost // 5 == over).all()


def test_atari_shows_the_golden_frames(golden):
  pytest.importorskip("ale_py")
  arrays = golden("spr/frames_alevec_breakout")
  first = int(arrays["seed"])
  seeds = np.arange(first, first + int(arrays["num_envs"]))
  players = atari.make(str(arrays["game"])).play(seeds)
  np.testing.assert_array_equal(players.reset(), arrays["frames"][0])
  for t, action in enumerate(arrays["actions"]):
    step = players.step(action)
    np.testing.assert_array_equal(step.frame, arrays["frames"][t + 1])
    # Those of the golden file are clipped to their signs.
    np.testing.assert_array_equal(np.sign(step.reward), arrays["reward"][t])
    ended = arrays["terminated"][t] | arrays["truncated"][t]
    np.testing.assert_array_equal(step.done, ended)


@pytest.mark.parametrize(
  "name", ["breakout", pytest.param("pong", marks=pytest.mark.slow)]
)
def test_compiled_functions_call_the_same_games_of_atari(name):
  pytest.importorskip("ale_py")
  game = atari.make(name)
  seeds = np.array([3, 7])
  players, compiled = game.play(seeds), game.play_compiled(seeds)
  np.testing.assert_array_equal(compiled.reset(), players.reset())
  # No player of Pong has lives; games end after 760 steps or more.
  rng = np.random.default_rng(0)
  shape = (200 if name == "breakout" else 1000, 2)
  actions = rng.integers(game.num_actions, size=shape)
  steps = [players.step(action) for action in actions]
  wanted = jax.tree.map(lambda *leaves: np.stack(leaves), *steps)
  advance = jax.jit(lambda *both: jax.lax.scan(compiled.advance, *both))
  _, found = advance(compiled.state, jnp.asarray(actions))
  for x, y in zip(found, wanted):
    np.testing.assert_array_equal(x, y)
  assert (wanted.over.sum(axis=0) > 0).all()


@pytest.mark.parametrize("compiled", [False, True])
def test_atari_is_stopped_where_the_golden_frames_are(golden, compiled):
  pytest.importorskip("ale_py")
  arrays = golden("spr/frames_alevec_breakout_truncate")
  assert not arrays["terminated"].any()
  play = atari.play_compiled if compiled else atari.Players
  players = play(
    str(arrays["game"]),
    np.array([int(arrays["seed"])]),
    max_frames=60,
    noop_max=1,
  )
  np.testing.assert_array_equal(players.reset(), arrays["frames"][0])
  stopped = 0
  over = False
  for t, action in enumerate(arrays["actions"]):
    # Where a game is over, the golden step after it is nothing but the reset,
    # which is a part of the step before it here.
    if over:
      over = False
      continue
    step = players.step(action)
    over = bool(arrays["truncated"][t, 0])
    shown = arrays["frames"][t + 2 if over else t + 1]
    np.testing.assert_array_equal(step.frame, shown)
    np.testing.assert_array_equal(np.sign(step.reward), arrays["reward"][t])
    assert step.done[0] == step.over[0] == over
    stopped += over
  assert stopped == 2


@pytest.mark.parametrize("name", minatar.names())
def test_every_game_of_minatar_is_played(name):
  game = minatar.make(name)
  players = game.play(np.arange(2))
  frames = [players.reset()]
  rng = np.random.default_rng(0)
  for _ in range(30):
    action = rng.integers(game.num_actions, size=2)
    frames.append(players.step(action).frame)
  frames = np.stack(frames)
  assert frames.shape == (31, 2, *game.frame_shape)
  assert frames.dtype == np.uint8
  # Something moves.
  assert (frames[1:] != frames[0]).any(axis=(0, 2, 3, 4)).all()
