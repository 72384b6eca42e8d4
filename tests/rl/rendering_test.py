import dataclasses
import types

from gymnax.environments.classic_control import continuous_mountain_car
from gymnax.environments.misc import reacher
from gymnax.environments.misc import swimmer
import jax
import numpy as np
from PIL import Image
from PIL import ImageColor
import pytest

from jaxseq.rl import _transcript
from jaxseq.rl import envs
from jaxseq.rl import evaluate
from jaxseq.rl import mixtures
from jaxseq.rl import rendering
from jaxseq.rl import rollout
from jaxseq.rl import wrappers
from jaxseq.rl.agents import ppo
from jaxseq.rl.agents import sac
from jaxseq.rl.drawings import _boards
from jaxseq.rl.drawings import _bodies
from jaxseq.rl.drawings import _scenes
from jaxseq.rl.drawings import _timeline
from jaxseq.rl.drawings import paint
from jaxseq.rl.envs import battleship
from jaxseq.rl.envs import card_games
from jaxseq.rl.envs import cartpole
from jaxseq.rl.envs import labyrinth
from jaxseq.rl.envs import minatar
from jaxseq.rl.envs import minesweeper
from jaxseq.rl.envs import spaces as more_spaces
from tests.rl import toy

AREA = (10, 10, 310, 310)
_NETWORK = toy.network(num_layers=0)
GAMES = [env_id for env_id in envs.POPGYM if env_id.endswith("Easy")]


def _config(env_id):
  return ppo.Config(env_id=env_id, network=_NETWORK)


def make_film(
  game, states, actions, rewards=None, observations=None, ended=True
):
  """A film of a game from what the drawings use of it."""
  length = len(actions)
  params = game.default_params
  space = game.observation_space(params)
  if observations is None:
    observations = np.zeros((length, more_spaces.flat_size(space)))
  nothing = np.zeros((length,), np.float32)
  return rendering.Film(
    title="a game",
    game=game,
    space=space,
    states=states,
    taken=rollout.Transition(
      observation=observations,
      reset=nothing,
      action=np.asarray(actions),
      log_prob=nothing,
      value=nothing,
      reward=nothing if rewards is None else np.asarray(rewards),
      terminated=ended & (np.arange(length) == length - 1),
      truncated=np.zeros(length, bool),
      final_value=None,
      episode_return=nothing,
      episode_length=nothing,
    ),
  )


def drawn(draw, film, t):
  canvas = paint.Canvas(320, 320)
  draw(canvas, AREA, film, t)
  return canvas.pixels()


def color_at(pixels, point):
  x, y = point
  red, green, blue = pixels[int(y), int(x)]
  return f"#{red:02x}{green:02x}{blue:02x}".upper()


def has_color(pixels, color):
  return (pixels == ImageColor.getrgb(color)).all(axis=-1).any()


def board(*rows):
  """The bitboard of rows of zeros and ones, twice, for two steps."""
  bits = [sum(cell << i for i, cell in enumerate(row)) for row in rows]
  return np.array([bits, bits], np.int32)


def test_a_labyrinth_shows_walls_view_and_agent():
  game = labyrinth.LabyrinthEscape(size=3)
  open_row, walls = [0, 1, 1, 1, 1, 1, 0], [0] * 7
  places = {"row": np.array([1, 1]), "column": np.array([1, 2])}
  states = labyrinth.EnvState(
    time=np.arange(2),
    free=board(walls, open_row, *[walls] * 6),
    start=labyrinth.Place(np.array([1, 1]), np.array([1, 1])),
    goal=labyrinth.Place(np.array([1, 1]), np.array([5, 5])),
    position=labyrinth.Place(**places),
    move=np.array([4, 1]),
    next_maze=None,
  )
  film = make_film(game, states, [1, 1])
  pixels = drawn(_boards.draw_labyrinth, film, 1)
  cells = paint.grid(AREA, 7, 7)
  middles = {
    name: color_at(pixels, paint.middle(cells[row][column]))
    for name, (row, column) in {
      "agent": (1, 2),
      "start": (1, 1),
      "goal": (1, 5),
      "wall": (5, 5),
      "free": (1, 4),
    }.items()
  }
  assert middles["agent"] == paint.BLUE.upper()
  assert middles["start"] == paint.YELLOW.upper()
  assert middles["goal"] == paint.GREEN.upper()
  assert middles["wall"] != middles["free"]
  # The frame is around columns 1 to 3 of the first three rows.
  corner = cells[2][3][2] - 1, cells[2][3][3] - 1
  assert color_at(pixels, corner) == paint.ORANGE.upper()
  assert _scenes.action_text(film, 1) == "right"


def test_battleship_tells_hits_from_misses():
  game = battleship.Battleship(board_size=6)
  nothing = [0] * 6
  states = battleship.EnvState(
    time=np.arange(2),
    ships=board([1, 1, 0, 0, 0, 0], *[nothing] * 5),
    guesses=board([1, 0, 0, 0, 0, 0], *[nothing] * 5),
    hits=None,
    hit=None,
    fleet=None,
  )
  pixels = drawn(
    _boards.draw_battleship, make_film(game, states, [[0, 0], [3, 3]]), 1
  )
  cells = paint.grid(AREA, 6, 6)
  hit, unseen, miss = (
    color_at(pixels, paint.middle(cells[row][column]))
    for row, column in ((0, 0), (0, 1), (3, 3))
  )
  assert hit == paint.ORANGE.upper()
  assert miss == paint.BLUE.upper()
  assert unseen not in (hit, miss)
  # The same by the numbers of cells.
  game = battleship.Battleship(board_size=6, cells=True)
  film = make_film(game, states, [0, 21])
  np.testing.assert_array_equal(drawn(_boards.draw_battleship, film, 1), pixels)
  assert _scenes.action_text(film, 1) == "row 4, column 4"


def test_minesweeper_shows_an_explosion():
  game = minesweeper.MineSweeper(4, 4, 2)
  nothing = [0] * 4
  states = minesweeper.EnvState(
    time=np.arange(2),
    mines=board([1, 1, 0, 0], *[nothing] * 3),
    opened=board(*[nothing] * 4),
    num_opened=None,
    exploded=None,
    count=None,
  )
  film = make_film(game, states, [[3, 3], [0, 1]])
  cells = paint.grid(AREA, 4, 4)
  before, after = (
    color_at(
      drawn(_boards.draw_minesweeper, film, t),
      paint.middle(cells[0][1]),
    )
    for t in range(2)
  )
  assert before == paint.GRAY.upper()
  assert after == paint.ORANGE.upper()


def test_of_an_image_a_timeline_tells_the_size():
  game = minatar.MinAtar("Breakout")
  image = np.zeros((2, 10, 10, 4), np.uint8)
  seen = wrappers.ImageObservation(image, np.zeros((2, 4), np.float32))
  film = make_film(game, None, [0, 2], observations=seen)
  rows = _timeline.rows(film, 1)
  assert rows["sees"].text == "image\n10x10x4"
  assert rows["does"].text == "2"
  assert film.seen(1).shape == (400,)


def test_a_timeline_says_what_was_asked():
  game, _ = envs.make("RepeatPreviousEasy")
  suits = np.array([2, 0, 3, 1, 1, 0])
  film = make_film(
    game,
    card_games.RepeatPreviousState(time=np.arange(6), deck=None, window=None),
    [0, 1, 2, 2, 3, 3],
    rewards=[0, 0, 0, 1 / 48, -1 / 48, 1 / 48],
    observations=np.eye(4)[suits],
  )
  assert _timeline.rows(film, 2)["asked"] == _timeline.NOTHING
  # A view that hides the card shows one more than there are.
  assert _timeline.card(4, 4).text == "?"
  for t in (3, 4, 5):
    rows = _timeline.rows(film, t)
    assert rows["asked"] == _timeline.card(suits[t - 3], 4)
    assert (rows["asked"] == rows["does"]) == (film.taken.reward[t] > 0)
  colors = [_timeline.reward_color(film.taken.reward[t]) for t in (2, 4, 5)]
  assert colors == [paint.GRAY, paint.ORANGE, paint.GREEN]
  # The frame of the current step stands behind its column only.
  pixels = drawn(_timeline.draw, film, 2)
  width = (AREA[2] - AREA[0] - 52) / 8
  shades = [
    color_at(pixels, (AREA[0] + 52 + (column + 0.1) * width, 300))
    for column in range(4)
  ]
  assert shades == ["#FFFFFF", "#FFFFFF", paint.PALE.upper(), "#FFFFFF"]


@pytest.mark.parametrize(
  ("reward", "text"),
  [
    (0.0, "0"),
    (-0.5, "-0.50"),
    (1234.5, "+1234"),
    (-312_345.0, "-312345"),
    (-1.25e7, "-1.2e7"),
    (3e12, "+3.0e12"),
  ],
)
def test_rewards_of_any_size_fit_their_cells(reward, text):
  assert _timeline.brief(reward) == text
  assert len(text) <= 7


def test_whole_numbers_are_shown_as_such():
  space = more_spaces.Box(-1e9, 1e9, (3,))
  seen = np.array([12000.0, -3000.0, 0.125], np.float32)
  assert _transcript.describe(space, seen) == "12000 -3000 0.125"


def test_a_count_is_that_of_the_values_so_far():
  game, _ = envs.make("CountRecallEasy")
  values, queries = np.array([0, 1, 1, 0]), np.array([0, 0, 1, 1])
  observations = np.concatenate([np.eye(2)[values], np.eye(2)[queries]], axis=1)
  # The fourth step is the first of another game.
  time = np.array([0, 1, 2, 0])
  states = card_games.CountRecallState(time=time, deck=None, cards=None)
  film = make_film(game, states, [1, 0, 2, 2], observations=observations)
  asked = [_timeline.rows(film, t)["asked"].text for t in range(4)]
  assert asked == ["1", "1", "2", "0"]


def test_arms_and_cars_are_where_the_state_says():
  game = reacher.Reacher()
  shape = (1, 2)
  states = reacher.EnvState(
    angles=np.zeros(shape),
    angle_vels=np.zeros(shape),
    goal_xy=np.array([[-1.0, 0.0]]),
    time=np.zeros(1),
  )
  film = make_film(game, states, np.zeros(shape))
  pixels = drawn(_bodies.draw_reacher, film, 0)
  # Two links of 1 to the right, in a plane from -2.4 to 2.4.
  assert color_at(pixels, (160 + 300 * 2 / 4.8, 160)) == paint.BLACK.upper()
  assert color_at(pixels, (160 + 300 * 1.5 / 4.8, 160)) == (
    paint.ORANGE.upper()
  )
  assert color_at(pixels, (160 - 300 * 1.5 / 4.8, 160)) == "#FFFFFF"
  car = continuous_mountain_car.EnvState(
    position=np.array([-0.5]), velocity=np.zeros(1), time=np.zeros(1)
  )
  film = make_film(
    continuous_mountain_car.ContinuousMountainCar(), car, [[0.0]]
  )
  pixels = drawn(_bodies.draw_mountain_car, film, 0)
  assert has_color(pixels, paint.BLUE)
  points = swimmer.EnvState(
    urchin_xys=np.zeros((2, 5, 2)),
    xy=np.array([[0.5, 0.5], [0.6, 0.5]]),
    xy_vel=np.zeros((2, 2)),
    goal_xy=np.ones((2, 2)),
    time=np.arange(2),
  )
  film = make_film(swimmer.Swimmer(), points, np.zeros((2, 2)))
  assert has_color(drawn(_bodies.draw_points, film, 1), paint.SKY)


def test_projected_actions_are_no_pushes():
  game, _ = envs.make("PositionOnlyCartPoleEasy")
  zeros = np.zeros(1, np.float32)
  states = cartpole.EnvState(np.zeros(1, np.int32), *(zeros,) * 4)
  texts = []
  for action in ([1], [[0.5, -0.5]]):
    film = make_film(game, states, action)
    assert _scenes.frame(film, 0).any()
    texts.append(_scenes.action_text(film, 0))
    black = has_color(drawn(_bodies.draw_cartpole, film, 0), paint.BLACK)
    assert black == (action == [1])
  assert texts == ["push right", "action 0.5 -0.5"]


def test_the_torque_of_a_projected_action_is_told_by_the_next_state():
  game, _ = envs.make("Pendulum-v1")
  states = types.SimpleNamespace(
    time=np.array([0, 1, 0]), last_u=np.array([9.0, 1.5, 0.0])
  )
  film = make_film(game, states, np.ones((3, 2)))
  assert [_bodies.torque(film, t) for t in range(3)] == [1.5, None, None]
  film = make_film(game, states, [[-3.0], [1.0], [0.5]])
  assert [_bodies.torque(film, t) for t in range(3)] == [-2.0, 1.0, 0.5]


@pytest.mark.slow
def test_a_film_has_the_actions_of_the_environment():
  config = sac.Config(
    env_id="PositionOnlyPendulumEasy",
    network=_NETWORK,
    num_envs=1,
    sequence_length=4,
    burn_in=0,
    replay_sequences=8,
    learning_starts=1,
  )
  variables = sac.init(config, jax.random.key(0)).variables
  key = jax.random.key(1)
  (film,) = rendering.film(config, variables, key, limit=3)
  played, _ = evaluate.record(config, variables, key, 3)
  np.testing.assert_allclose(film.taken.action, 2 * played.action, rtol=1e-6)


@pytest.mark.parametrize("env_id", GAMES)
def test_every_game_is_drawn(env_id):
  game, params = envs.make(env_id)
  _, state = jax.eval_shape(game.reset, jax.random.key(0), params)
  states = jax.tree.map(lambda x: np.zeros((2, *x.shape), x.dtype), state)
  space = game.observation_space(params)
  seen = more_spaces.flatten(space, more_spaces.zeros(space))
  action = more_spaces.zeros(game.action_space(params))
  film = make_film(
    game,
    states,
    np.stack([action] * 2),
    rewards=np.array([0.0, 0.5], np.float32),
    observations=np.stack([seen] * 2),
  )
  first, second = (_scenes.frame(film, t) for t in range(2))
  assert first.shape == (_scenes.HEIGHT, _scenes.WIDTH, 3)
  assert first.dtype == np.uint8
  assert (first != second).any()
  # Something stands in the middle part of the picture.
  assert (first[60:-60] != 255).any()


def test_a_long_episode_is_thinned_out():
  game, _ = envs.make("RepeatPreviousEasy")
  states = card_games.RepeatPreviousState(
    time=np.arange(25), deck=None, window=None
  )
  film = make_film(game, states, [0] * 25, observations=np.eye(4)[[0] * 25])
  pictures = rendering.frames([film, film], limit=10)
  # Every third step, up to the last.
  assert len(pictures) == 2 * 9
  np.testing.assert_array_equal(pictures[8], _scenes.frame(film, 24, period=3))


def test_a_film_says_what_it_leaves_out(monkeypatch):
  written = []
  write = paint.Canvas.text

  def text(canvas, point, line, *rest, **options):
    written.append(line)
    write(canvas, point, line, *rest, **options)

  monkeypatch.setattr(paint.Canvas, "text", text)
  game, _ = envs.make("RepeatPreviousEasy")
  states = card_games.RepeatPreviousState(
    time=np.arange(25), deck=None, window=None
  )
  seen = np.eye(4)[[0] * 25]
  for ended in (True, False):
    film = make_film(game, states, [0] * 25, observations=seen, ended=ended)
    rendering.frames([film], limit=10)
  steps = [line for line in written if "step" in line]
  assert steps[0] == "step 1 of 25, 1 of 3 shown"
  assert steps[8] == "step 25 of 25, 1 of 3 shown"
  assert steps[17] == "step 25 of 25, 1 of 3 shown, cut here"


def test_a_gif_holds_the_pictures(tmp_path):
  pictures = [np.full((20, 30, 3), shade, np.uint8) for shade in (0, 120, 250)]
  path = rendering.write_gif(tmp_path / "a" / "episode.gif", pictures)
  with Image.open(path) as image:
    assert image.n_frames == 3
    assert image.size == (30, 20)
    for i, picture in enumerate(pictures):
      image.seek(i)
      np.testing.assert_allclose(
        np.asarray(image.convert("RGB")), picture, atol=2
      )
    assert image.info["duration"] == 1500
  assert [p.name for p in path.parent.iterdir()] == ["episode.gif"]
  with pytest.raises(ValueError, match="pictures: got none"):
    rendering.write_gif(path, [])


@pytest.mark.slow
def test_a_film_is_one_episode_with_what_the_agent_does_not_see():
  config = _config("RepeatPreviousEasy")
  variables = ppo.init(config, jax.random.key(0)).variables
  (film,) = rendering.film(config, variables, jax.random.key(1))
  assert film.length == 51
  np.testing.assert_array_equal(film.taken.terminated, np.arange(51) == 50)
  np.testing.assert_array_equal(film.states.time, np.arange(51))
  shown = [film.choices(t)[0] for t in range(51)]
  np.testing.assert_array_equal(film.states.window[:, -1], shown)


def test_a_state_may_hold_a_random_key():
  toy.register(Keyed=lambda: _Keyed(toy.Walk(limit=3)))
  config = _config("JaxseqTest-Keyed")
  variables = ppo.init(config, jax.random.key(0)).variables
  (film,) = rendering.film(config, variables, jax.random.key(1))
  _, keys = film.states
  assert keys.shape == (film.length,)


@dataclasses.dataclass(frozen=True)
class _Keyed(wrappers.Wrapper):
  """Keeps the key of the last step beside the state."""

  def reset(self, key, params=None):
    seen, state = self.env.reset(key, params)
    return seen, (state, key)

  def step(self, key, state, action, params=None):
    seen, after, *rest = self.env.step(key, state[0], action, params)
    return seen, (after, key), *rest


@pytest.mark.slow
def test_each_environment_of_a_mixture_is_filmed():
  toy.register(TwoWalks=_two_walks)
  config = _config("JaxseqTest-TwoWalks")
  variables = ppo.init(config, jax.random.key(0)).variables
  assert len(evaluate.members(config)) == 2
  films = rendering.film(config, variables, jax.random.key(1))
  assert [film.game.limit for film in films] == [3, 5]
  assert [film.length for film in films] == [3, 5]
  assert films[0].title == "JaxseqTest-TwoWalks: Walk"


def _two_walks():
  walks = (toy.Walk(limit=3, edge=99.0), toy.Walk(limit=5, edge=99.0))
  return mixtures.Mixture(walks)
