"""Drawings of moving bodies: cart-poles, pendulums, cars, points and arms."""

from collections.abc import Callable
import math

import numpy as np

from jaxseq.rl.drawings import paint

_TRACK = 2.4  # meters to either side of a cart
_MAX_TORQUE = 2.0


def draw_cartpole(canvas, area, film, t):
  """Draws cart and pole, and an arrow for the push of step t.

  If observations are noisy, a faint pole shows the observed angle.
  """
  left, top, right, bottom = area
  rail, meter = bottom - 0.25 * (bottom - top), (right - left) / (2 * _TRACK)
  states, length = film.states, 0.55 * (bottom - top)
  canvas.line([(left, rail), (right, rail)], paint.GRAY)
  for x in (left, (left + right) / 2, right):
    canvas.line([(x, rail), (x, rail + 8)], paint.GRAY)

  def pole(x, theta, color):
    x = (left + right) / 2 + meter * float(x)
    y = rail - 18
    tip = x + length * math.sin(theta), y - length * math.cos(theta)
    canvas.line([(x, y), tip], color, 6)
    return x

  if getattr(states, "noise", None) is not None:
    pole(*film.seen(t)[:2], paint.LIGHT)
  x = (left + right) / 2 + meter * float(states.x[t])
  canvas.box((x - 26, rail - 20, x + 26, rail), paint.BLUE, radius=3)
  pole(states.x[t], states.theta[t], paint.ORANGE)
  side = push(film, t)
  if side is None:
    return
  way, y = 1 if side else -1, rail - 10
  end, back = (x + way * 58, y), x + way * 50
  canvas.line([(x + way * 30, y), end], paint.BLACK, 3)
  canvas.line([(back, y - 6), end, (back, y + 6)], paint.BLACK, 3)


def draw_pendulum(canvas, area, film, t):
  """Draws the pendulum, upright at the top, and an arc for the torque."""
  x, y = paint.middle(area)
  radius = 0.42 * min(area[2] - area[0], area[3] - area[1])
  theta = float(film.states.theta[t])

  def point(angle, share=1.0):
    # Positive angles turn to the left, as gymnasium draws them.
    far = radius * share
    return x - far * math.sin(angle), y - far * math.cos(angle)

  canvas.circle((x, y), radius, None, paint.LIGHT)
  if getattr(film.states, "noise", None) is not None:
    cos, sin = film.seen(t)[:2]
    seen = point(math.atan2(sin, cos))
    canvas.line([(x, y), seen], paint.LIGHT, 8)
  canvas.line([(x, y), point(theta)], paint.ORANGE, 8)
  canvas.circle(point(theta), 10, paint.ORANGE)
  canvas.circle((x, y), 5, paint.BLACK)
  turn = torque(film, t)
  if turn is not None and abs(turn) > 0.05:
    angles = np.linspace(0, turn / _MAX_TORQUE * 1.5, 16)
    arc = [point(theta + angle, 0.35) for angle in angles]
    canvas.line(arc, paint.BLUE, 3)
    canvas.circle(arc[-1], 4, paint.BLUE)


def push(film, t):
  """Returns the push of step t, 0 or 1; None if actions are projected."""
  side = film.action(t)[0]
  return side if isinstance(side, int) else None


def torque(film, t):
  """Returns the torque of step t within its bounds.

  Projected actions are read from gymnax's next state; None if there is no such
  state.
  """
  applied, *others = film.action(t)
  if others:
    last = getattr(film.states, "last_u", [])
    if t + 1 >= len(last) or film.states.time[t + 1] != film.states.time[t] + 1:
      return None
    applied = np.ravel(last[t + 1])[0]
  return float(np.clip(applied, -_MAX_TORQUE, _MAX_TORQUE))


def draw_mountain_car(canvas, area, film, t):
  """Draws the hill, the car and the flag that it has to reach."""
  place = _plane(area, -1.2, 0.6, -1.1, 1.4)

  def ground(position):
    return place(position, math.sin(3 * position))

  positions = np.linspace(-1.2, 0.6, 60)
  canvas.line([ground(p) for p in positions], paint.GRAY, 2)
  x, y = ground(0.45)
  canvas.line([(x, y), (x, y - 30)], paint.GREEN, 3)
  canvas.box((x, y - 30, x + 16, y - 20), paint.GREEN)
  x, y = ground(float(film.states.position[t]))
  canvas.circle((x, y - 9), 9, paint.BLUE)


def draw_points(canvas, area, film, t):
  """Draws a point, its path, its goal, and the urchins to avoid."""
  states = film.states
  if hasattr(states, "urchin_xys"):
    ways, goal, others = states.xy, states.goal_xy[t], states.urchin_xys[t]
  else:
    ways, goal, others = states.pos, states.goal[t], np.zeros((0, 2))
  # A point that leaves the area stays at the border.
  limit = float(np.clip(1.1 * np.abs(ways).max(), 1.5, 3))
  place = _plane(area, -limit, limit, -limit, limit)
  for other in others:
    canvas.circle(place(*other), 9, paint.LIGHT, paint.GRAY)
  canvas.circle(place(*goal), 10, None, paint.GREEN, 3)
  # Back to the start of this trial: before it there is a jump.
  start = max(t - int(states.time[t]), 0)
  way = [place(*np.clip(point, -limit, limit)) for point in ways[start : t + 1]]
  if len(way) > 1:
    canvas.line(way, paint.SKY, 2)
  canvas.circle(way[-1], 6, paint.BLUE)


def draw_reacher(canvas, area, film, t):
  """Draws an arm of links of length 1, and the goal of its hand."""
  angles = film.states.angles[t]
  limit = len(angles) + 0.4
  place = _plane(area, -limit, limit, -limit, limit)
  joints = np.zeros((len(angles) + 1, 2))
  joints[1:] = np.cumsum(np.stack([np.cos(angles), np.sin(angles)], 1), axis=0)
  points = [place(*joint) for joint in joints]
  canvas.line(points, paint.ORANGE, 6)
  for point in points:
    canvas.circle(point, 5, paint.BLACK)
  goal = place(*film.states.goal_xy[t])
  canvas.circle(goal, 10, None, paint.GREEN, 3)


def _plane(area, left, right, low, high) -> Callable:
  """Maps a plane into the middle of a box, with one scale for both axes."""
  width, height = area[2] - area[0], area[3] - area[1]
  scale = min(width / (right - left), height / (high - low))
  x, y = paint.middle(area)

  def place(across, up):
    return (
      x + scale * (float(across) - (left + right) / 2),
      y - scale * (float(up) - (low + high) / 2),
    )

  return place
