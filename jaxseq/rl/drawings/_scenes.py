"""Drawings of all environments, and the frame around them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxseq.rl import _transcript
from jaxseq.rl.drawings import _boards
from jaxseq.rl.drawings import _bodies
from jaxseq.rl.drawings import _timeline
from jaxseq.rl.drawings import paint
from jaxseq.rl.envs import bandit
from jaxseq.rl.envs import battleship
from jaxseq.rl.envs import card_game
from jaxseq.rl.envs import cartpole
from jaxseq.rl.envs import concentration
from jaxseq.rl.envs import labyrinth
from jaxseq.rl.envs import minesweeper
from jaxseq.rl.envs import pendulum

WIDTH, HEIGHT = 440, 360

_SCENES = {
  labyrinth.Labyrinth: _boards.draw_labyrinth,
  battleship.Battleship: _boards.draw_battleship,
  minesweeper.MineSweeper: _boards.draw_minesweeper,
  concentration.Concentration: _boards.draw_concentration,
  bandit.MultiarmedBandit: _boards.draw_bandit,
  cartpole.PositionOnlyCartPole: _bodies.draw_cartpole,
  pendulum.PositionOnlyPendulum: _bodies.draw_pendulum,
}
# By id, so that gymnax is imported only if it is used.
_SCENES_OF_GYMNAX = {
  "CartPole-v1": _bodies.draw_cartpole,
  "Pendulum-v1": _bodies.draw_pendulum,
  "MountainCarContinuous-v0": _bodies.draw_mountain_car,
  "MountainCar-v0": _bodies.draw_mountain_car,
  "PointRobot-misc": _bodies.draw_points,
  "Swimmer-misc": _bodies.draw_points,
  "Reacher-misc": _bodies.draw_reacher,
}
_MOVES = ("left", "right", "up", "down")


def of(game: Any) -> Callable[..., None]:
  """Returns the function that draws a step; a timeline by default.

  It takes a canvas, the box to draw in, the film and the step.
  """
  for kind, draw in _SCENES.items():
    if isinstance(game, kind):
      return draw
  return _SCENES_OF_GYMNAX.get(game.name, _timeline.draw)


def frame(film, t: int, period: int = 1) -> np.ndarray:
  """Returns step t of an episode as a picture (HEIGHT, WIDTH, 3) uint8.

  Above the drawing are the game, the trial if there are several, the step and
  the number of steps, and whether only one step in `period` is shown or the
  recording stops before the episode ends; below it the action, its reward and
  the return so far, this reward included.
  """
  canvas = paint.Canvas(WIDTH, HEIGHT)
  place = f"step {t + 1} of {film.length}"
  if period > 1:
    place += f", 1 of {period} shown"
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
  text, color = _timeline.signed(reward, 3), _timeline.reward_color(reward)
  canvas.text((WIDTH * 0.6, bottom), text, 14, color, "rm")
  canvas.text((WIDTH - 14, bottom), f"return {total:+.3f}", 14, anchor="rm")
  return canvas.pixels()


def action_text(film, t: int) -> str:
  """Returns the action of step t in words; "" if the drawing shows it."""
  action, draw = film.action(t), of(film.game)
  if draw is _bodies.draw_cartpole and _bodies.push(film, t) is not None:
    return f"push {_MOVES[action[0]]}"
  if draw is _bodies.draw_pendulum and _bodies.torque(film, t) is not None:
    return f"torque {_bodies.torque(film, t):+.2f}"
  match film.game:
    case labyrinth.Labyrinth():
      return _MOVES[action[0]]
    case battleship.Battleship() | minesweeper.MineSweeper():
      row, column = _boards.cell(film, t)
      return f"row {row + 1}, column {column + 1}"
    case bandit.MultiarmedBandit():
      return f"arm {action[0]}"
    case concentration.Concentration():
      return f"card {action[0] + 1}"
    case card_game.CardGame():
      return ""  # The timeline shows it.
  return f"action {_transcript.numbers(film.taken.action[t])}"
