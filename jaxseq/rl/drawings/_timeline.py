"""Timelines of the last steps: for card games, and as a default."""

from typing import NamedTuple

import numpy as np

from jaxseq import validate
from jaxseq.rl import _transcript
from jaxseq.rl.drawings import paint
from jaxseq.rl.envs import _decks
from jaxseq.rl.envs import card_game
from jaxseq.rl.envs import card_games

_COLUMNS = 8
_LABELS = 52  # pixels
_RED = "#c1121f"
_SUITS = "♣♦♥♠"
_RANKS = ("A", *map(str, range(2, 11)), "J", "Q", "K")
_MAX_LINES = 4


class Mark(NamedTuple):
  """The content of one cell: lines of text, "" for an empty cell."""

  text: str
  color: str = paint.BLACK
  is_card: bool = False


NOTHING = Mark("")


def card(choice: int, types: int) -> Mark:
  """Returns a card of 2 colors, 4 suits or 13 ranks; "?" if it is hidden."""
  if choice >= types:
    return Mark("?", paint.GRAY, True)
  match types:
    case _decks.COLORS:
      return Mark("■", (paint.BLACK, _RED)[choice], True)
    case _decks.SUITS:
      red = choice in (1, 2)
      return Mark(_SUITS[choice], _RED if red else paint.BLACK, True)
  return Mark(_RANKS[choice], paint.BLACK, True)


def rows(film, t: int) -> dict[str, Mark]:
  """Returns the marks of step t, by the labels of the rows."""
  game = film.game
  if not isinstance(game, card_game.CardGame):
    lines = _transcript.describe(film.space, film.seen(t)).split()
    if len(lines) > _MAX_LINES:
      lines = [*lines[: _MAX_LINES - 1], "…"]
    done = _transcript.numbers(film.taken.action[t]).replace(" ", "\n")
    return {"sees": Mark("\n".join(lines)), "does": Mark(done)}
  seen, (done,), types = film.choices(t), film.action(t), game.card_types
  time = int(film.states.time[t])
  first = t - time  # Of this game: a meta-episode may contain earlier games.
  sees, question = card(seen[-1], types), NOTHING
  match game:
    case card_games.RepeatFirst():
      question = card(film.choices(first)[0], types)
    case card_games.RepeatPrevious():
      if time >= game.k - 1:
        question = card(film.choices(t - game.k + 1)[0], types)
    case card_games.Autoencode():
      if seen[0]:
        return {"sees": sees, "asked": NOTHING, "does": NOTHING}
      sees = Mark("play\nback")
      question = card(int(film.states.stack[t][0]), types)
    case card_games.CountRecall():
      value, query = seen
      count = sum(film.choices(i)[0] == query for i in range(first, t + 1))
      return {
        "sees": card(value, types),
        "query": sees,
        "asked": Mark(str(count)),
        "does": Mark(str(done)),
      }
    case card_games.HigherLower():
      return {"sees": sees, "does": Mark(("higher", "lower")[done])}
    case _:
      raise validate.error("game", game, "one with a timeline")
  return {"sees": sees, "asked": question, "does": card(done, types)}


def draw(canvas, area, film, t):
  """Draws the last steps up to step t, which is framed."""
  left, top, right, bottom = area
  width = (right - left - _LABELS) / _COLUMNS
  first = max(0, t - _COLUMNS + 1)
  columns = {step: rows(film, step) for step in range(first, t + 1)}
  labels = [*columns[t], "earns"]
  height = (bottom - top) / len(labels)
  middles = {name: top + (i + 0.5) * height for i, name in enumerate(labels)}
  for name, y in middles.items():
    canvas.text((left, y), name, 13, paint.GRAY, "lm")
  for step, marks in columns.items():
    x = left + _LABELS + (step - first + 0.5) * width
    if step == t:
      box = x - width / 2 + 1, top, x + width / 2 - 1, bottom
      canvas.box(box, paint.PALE, paint.GRAY, radius=6)
    for name, mark in marks.items():
      _draw_mark(canvas, (x, middles[name]), mark, width, height)
    reward, point = float(film.taken.reward[step]), (x, middles["earns"])
    canvas.text(point, brief(reward), 11, reward_color(reward))


def brief(value: float) -> str:
  """Formats a number with its sign in seven characters, as a cell holds."""
  digits, _, exponent = f"{value:+.1e}".partition("e")
  power = f"{digits}e{int(exponent)}"
  texts = signed(value, 2), f"{value:+.0f}", power
  return next((text for text in texts if len(text) <= 7), power)


def signed(value: float, digits: int) -> str:
  """Formats a number with its sign, and 0 without one."""
  return f"{value:+.{digits}f}" if value else "0"


def reward_color(reward: float) -> str:
  """Returns green for positive rewards, orange for negative ones."""
  if not reward:
    return paint.GRAY
  return paint.GREEN if reward > 0 else paint.ORANGE


def _draw_mark(canvas, point, mark, width, height):
  x, y = point
  if mark.is_card:
    tall = min(height * 0.8, width * 1.1)
    half, up = tall * 0.36, tall / 2
    box = x - half, y - up, x + half, y + up
    canvas.box(box, paint.WHITE, paint.GRAY, radius=4)
    canvas.text(point, mark.text, tall * 0.5, mark.color)
    return
  lines = mark.text.split("\n")
  size = float(np.clip(1.5 * width / max(1, *map(len, lines)), 8, 15))
  for i, line in enumerate(lines):
    shift = (i - (len(lines) - 1) / 2) * size * 1.25
    canvas.text((x, y + shift), line, size, mark.color)
