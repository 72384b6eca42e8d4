"""Scenes: the drawing of each environment, and the frame around it."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxseq.rl import transcript
from jaxseq.rl.drawings import boards
from jaxseq.rl.drawings import bodies
from jaxseq.rl.drawings import paint
from jaxseq.rl.drawings import reel
from jaxseq.rl.drawings import timeline
from jaxseq.rl.envs import bandit
from jaxseq.rl.envs import battleship
from jaxseq.rl.envs import card_game
from jaxseq.rl.envs import cartpole
from jaxseq.rl.envs import concentration
from jaxseq.rl.envs import labyrinth
from jaxseq.rl.envs import minesweeper
from jaxseq.rl.envs import pendulum

WIDTH, HEIGHT = 440, 360

_SCENES = (
  (labyrinth.Labyrinth, boards.draw_labyrinth),
  (battleship.Battleship, boards.draw_battleship),
  (minesweeper.MineSweeper, boards.draw_minesweeper),
  (concentration.Concentration, boards.draw_concentration),
  (bandit.MultiarmedBandit, boards.draw_bandit),
  (cartpole.PositionOnlyCartPole, bodies.draw_cartpole),
  (pendulum.PositionOnlyPendulum, bodies.draw_pendulum),
)
# By id, so that gymnax is imported only if it is used.
_SCENES_OF_GYMNAX = {
  "CartPole-v1": bodies.draw_cartpole,
  "Pendulum-v1": bodies.draw_pendulum,
  "MountainCarContinuous-v0": bodies.draw_mountain_car,
  "MountainCar-v0": bodies.draw_mountain_car,
  "PointRobot-misc": bodies.draw_points,
  "Swimmer-misc": bodies.draw_points,
  "Reacher-misc": bodies.draw_reacher,
}
_MOVES = ("left", "right", "up", "down")


def of(game: Any) -> Callable[..., None]:
  """Returns the function that draws a step of a game.

  Games that have none of their own are shown as a timeline. The function takes
  a canvas, the box of it in which to draw, the film and the step.

  Args:
    game: the environment inside all wrappers.
  """
  for kind, draw in _SCENES:
    if isinstance(game, kind):
      return draw
  return _SCENES_OF_GYMNAX.get(game.name, timeline.draw)


def frame(film: reel.Film, t: int, every: int = 1) -> np.ndarray:
  """Returns step t of an episode as a picture.

  Above the drawing stand the game, the trial if there are several, and the
  step, of how many, and whether some are left out or the episode goes on after
  the last one; below it the action, its reward and the rewards so far, this one
  included.

  Args:
    film: the episode.
    t: the step.
    every: of so many steps the film shows one.

  Returns:
    (HEIGHT, WIDTH, 3) uint8.
  """
  canvas = paint.Canvas(WIDTH, HEIGHT)
  place = f"step {t + 1} of {film.length}"
  if every > 1:
    place += f", 1 of {every} shown"
  if t + 1 == film.length and not film.ended:
    place += ", cut here"
  if film.taken.trial is not None:
    place = f"trial {int(film.taken.trial[t]) + 1}, {place}"
  canvas.text((14, 18), film.title, 14, anchor="lm")
  canvas.text((WIDTH - 14, 18), place, 14, paint.GRAY, "rm")
  of(film.game)(canvas, (14, 38, WIDTH - 14, HEIGHT - 42), film, t)
  reward = float(film.taken.reward[t])
  total = float(film.taken.reward[: t + 1].sum())
  bottom = HEIGHT - 20
  canvas.text((14, bottom), action_text(film, t), 14, anchor="lm")
  text, color = timeline.signed(reward, 3), timeline.reward_color(reward)
  canvas.text((WIDTH * 0.6, bottom), text, 14, color, "rm")
  canvas.text((WIDTH - 14, bottom), f"return {total:+.3f}", 14, anchor="rm")
  return canvas.pixels()


def action_text(film: reel.Film, t: int) -> str:
  """Returns the action of step t in words; "" where the drawing shows it."""
  action = film.action(t)
  draw = of(film.game)
  if draw is bodies.draw_cartpole:
    return f"push {_MOVES[action[0]]}"
  if draw is bodies.draw_pendulum:
    return f"torque {action[0]:+.2f}"
  match film.game:
    case labyrinth.Labyrinth():
      return _MOVES[action[0]]
    case battleship.Battleship() | minesweeper.MineSweeper():
      return f"row {action[0] + 1}, column {action[1] + 1}"
    case bandit.MultiarmedBandit():
      return f"arm {action[0]}"
    case concentration.Concentration():
      return f"card {action[0] + 1}"
    case card_game.CardGame():
      return ""  # The timeline shows it.
  return f"action {transcript.numbers(film.taken.action[t])}"
