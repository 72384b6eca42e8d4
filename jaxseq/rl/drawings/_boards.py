"""Drawings of board games; hidden parts are drawn faintly."""

import math

import numpy as np

from jaxseq.rl.drawings import _timeline
from jaxseq.rl.drawings import paint
from jaxseq.rl.envs import _bitboard
from jaxseq.rl.envs import _decks

_WALL = "#44546a"
_OPEN = "#f7f7f7"
_EXPLORED = "#cfe8f5"
_SHIP = "#c9ccd1"
_SEA = "#eaf3f8"


def draw_labyrinth(canvas, area, film, t):
  """Draws the maze; a frame marks the nine visible cells."""
  size, states = film.game.height, film.states
  free = _bitboard.to_grid(states.free[t][:size], size)
  boxes = paint.grid(area, size, size)
  if hasattr(states, "explored"):
    visited = _bitboard.to_grid(states.explored[t][:size], size)
  else:
    visited = np.zeros((size, size), bool)
    visited[states.position.row[: t + 1], states.position.column[: t + 1]] = 1
  for row, column in np.ndindex(size, size):
    color = _OPEN if free[row, column] else _WALL
    color = _EXPLORED if visited[row, column] else color
    canvas.box(boxes[row][column], color)
  ends = (states.start, paint.YELLOW), (states.goal, paint.GREEN)
  for place, color in ends:
    if place.row[t] >= 0:
      box = boxes[place.row[t]][place.column[t]]
      canvas.box(paint.inset(box, 1), color)
  row, column = int(states.position.row[t]), int(states.position.column[t])
  # The view is cut at the upper and the left border, as in the game.
  first = boxes[max(row - 1, 0)][max(column - 1, 0)]
  last = boxes[min(row + 1, size - 1)][min(column + 1, size - 1)]
  canvas.box((*first[:2], *last[2:]), None, paint.ORANGE, 2)
  box = boxes[row][column]
  radius = 0.36 * (box[2] - box[0])
  canvas.circle(paint.middle(box), radius, paint.BLUE)


def draw_battleship(canvas, area, film, t):
  """Draws ships, shots so far and, in a frame, the shot of step t."""
  size, states = film.game.board_size, film.states
  ships = _bitboard.to_grid(states.ships[t], size)
  guesses = _bitboard.to_grid(states.guesses[t], size)
  shot = cell(film, t)
  guesses[shot] = 1
  boxes = paint.grid(area, size, size)
  for row, column in np.ndindex(size, size):
    box, is_ship = boxes[row][column], ships[row, column]
    canvas.box(box, _SHIP if is_ship else _SEA, paint.WHITE)
    if guesses[row, column]:
      radius = (0.32 if is_ship else 0.14) * (box[2] - box[0])
      color = paint.ORANGE if is_ship else paint.BLUE
      canvas.circle(paint.middle(box), radius, color)
  canvas.box(boxes[shot[0]][shot[1]], None, paint.BLACK, 2)


def draw_minesweeper(canvas, area, film, t):
  """Draws mines, counts so far and, in a frame, the cell of step t."""
  game, states = film.game, film.states
  mines = _bitboard.to_grid(states.mines[t], game.width)
  opened = _bitboard.to_grid(states.opened[t], game.width)
  chosen = cell(film, t)
  opened[chosen] = 1
  padded = np.pad(mines, 1)
  boxes = paint.grid(area, game.height, game.width)
  for row, column in np.ndindex(mines.shape):
    box, is_open = boxes[row][column], opened[row, column]
    size = box[2] - box[0]
    color = paint.WHITE if is_open else paint.LIGHT
    canvas.box(paint.inset(box, 1), color, paint.GRAY)
    if mines[row, column]:
      color = paint.ORANGE if is_open else paint.GRAY
      canvas.circle(paint.middle(box), 0.25 * size, color)
    elif is_open:
      count = padded[row : row + 3, column : column + 3].sum()
      canvas.text(paint.middle(box), str(count), 0.5 * size)
  canvas.box(boxes[chosen[0]][chosen[1]], None, paint.BLUE, 3)


def cell(film, t):
  """Returns row and column of the cell that step t chooses on a board."""
  action = film.action(t)
  if len(action) == 2:
    return action
  width = getattr(film.game, "width", None) or film.game.board_size
  return divmod(action[0], width)


def draw_concentration(canvas, area, film, t):
  """Draws the open cards and, in a frame, the card that step t turns."""
  game, states = film.game, film.states
  matched, seen = states.matched[t] == 1, film.choices(t)
  (chosen,) = film.action(t)
  rows = paint.grid(
    area, math.ceil(game.num_cards / _decks.RANKS), _decks.RANKS
  )
  boxes = [box for row in rows for box in row]
  for i in range(game.num_cards):
    box = paint.inset(boxes[i], 1.5)
    hidden = seen[i] == game.card_types
    color = paint.SKY if hidden else paint.WHITE
    edge = paint.GREEN if matched[i] else paint.GRAY
    canvas.box(box, color, edge, 2 if matched[i] else 1, radius=3)
    if not hidden:
      mark = _timeline.card(seen[i], game.card_types)
      size = 0.55 * (box[2] - box[0])
      canvas.text(paint.middle(box), mark.text, size, mark.color)
  canvas.box(boxes[chosen], None, paint.ORANGE, 3, radius=3)


def draw_bandit(canvas, area, film, t):
  """Draws payouts, pull counts and the current pull of each arm."""
  payouts = film.states.payouts[t]
  # Pulls of this game only: a meta-episode may contain earlier games.
  played = int(film.states.time[t])
  pulls = [film.action(step)[0] for step in range(t - played, t + 1)]
  left, top, right, bottom = area
  base, width = bottom - 36, (right - left) / len(payouts)
  for arm, payout in enumerate(payouts):
    x = left + arm * width
    height = float(payout) * (base - top)
    color = paint.LIGHT
    if arm == pulls[-1]:
      color = paint.GREEN if film.taken.reward[t] > 0 else paint.ORANGE
    canvas.box((x + 2, base - height, x + width - 2, base), color)
    size = min(13.0, width * 0.5)
    canvas.text((x + width / 2, base + 10), str(arm), size, paint.GRAY)
    canvas.text((x + width / 2, base + 26), str(pulls.count(arm)), size)
  canvas.line([(left, base), (right, base)], paint.GRAY)
