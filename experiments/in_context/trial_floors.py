"""Baseline returns of trials, by policies without learning.

Those of DarkRoom are exact, by dynamic programming; those of bandits come from
simulated strategies.
"""

from collections.abc import Callable
import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.rl.envs import bandit
from jaxseq.rl.envs import dark_room

Array = jax.Array


def dark_room_returns(room: dark_room.DarkRoom) -> dict[str, float]:
  """Returns expected returns of an episode, means over the room's goals.

  Args:
    room: the room, with the episode's time limit.

  Returns:
    "optimal", if the goal is known; "sweep", if the room is searched cell by
    cell until the goal is found, from a corner row by row and from the middle
    in a spiral; a goal in the first cell is recognized immediately; and
    "random", with uniformly sampled actions.
  """
  size, steps = room.size, room.max_steps
  cells = dark_room.cells(size, "all")
  goals = dark_room.cells(size, room.goals) @ (1, size)
  moved = np.clip(cells[:, None] + dark_room.MOVES, 0, size - 1) @ (1, size)
  first = int(np.array(room.first_cell) @ (1, size))
  # (cells, goals) values with a given number of steps left.
  paid = (moved[..., None] == goals).astype(float)
  best = uniform = np.zeros((len(cells), len(goals)))
  for _ in range(steps):
    best = (paid + best[moved]).max(axis=1)
    uniform = (paid + uniform[moved]).mean(axis=1)
  place = {cell: i for i, cell in enumerate(_path(room))}
  found = np.array([place[goal] for goal in goals])
  sweep = np.clip(steps + 1 - np.maximum(found, 1), 0, None)
  return {
    "optimal": float(best[first].mean()),
    "sweep": float(sweep.mean()),
    "random": float(uniform[first].mean()),
  }


def _path(room: dark_room.DarkRoom) -> list[int]:
  """Returns the cells of a room in the order of a sweep."""
  size = room.size
  if room.begin == "corner":
    rows = np.arange(size * size).reshape(size, size)
    rows[1::2] = rows[1::2, ::-1]
    return rows.ravel().tolist()
  cell, path = np.array(room.first_cell), []
  turns = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])
  if size % 2 == 0:  # One more row and column before the middle.
    turns = -turns
  for turn in range(2 * size + 1):
    for _ in range(turn // 2 + 1):
      if (0 <= cell).all() and (cell < size).all():
        path.append(int(cell @ (1, size)))
      cell = cell + turns[turn % 4]
  return path


def bandit_returns(
  env: bandit.MultiarmedBandit, num_trials: int, key: Array, tasks: int = 1000
) -> dict[str, np.ndarray]:
  """Returns the mean returns (num_trials,) of strategies on one bandit.

  Args:
    env: the bandit; its time limit is the number of pulls of a trial, and all
      trials have the same payouts.
    num_trials: trials of a task.
    key: random key.
    tasks: number of bandits that each strategy plays.

  Returns:
    "optimal", "Thompson sampling" from a uniform prior, which is also the true
    distribution of payouts, "UCB" (UCB1) and "uniform".
  """
  pulls = num_trials * env.max_steps
  key_payouts, key_play = jax.random.split(key)
  shape = tasks, env.num_arms
  payouts = jax.random.uniform(key_payouts, shape)

  @functools.partial(jax.jit, static_argnums=0)
  def play(choose: Callable[..., Array], payouts: Array):
    def step(counts, inputs):
      key, time = inputs
      key_arm, key_win = jax.random.split(key)
      arm = jnp.argmax(choose(key_arm, *counts, time), axis=-1)
      chance = jnp.take_along_axis(payouts, arm[:, None], axis=1)[:, 0]
      won = jax.random.uniform(key_win, (tasks,)) < chance
      pulled = jax.nn.one_hot(arm, env.num_arms)
      counts = counts[0] + pulled * won[:, None], counts[1] + pulled
      # The expected reward, which varies less than the received one.
      return counts, (2 * chance - 1).mean() / env.max_steps

    none = jnp.zeros(shape), jnp.zeros(shape)
    keys = jax.random.split(key_play, pulls)
    _, paid = jax.lax.scan(step, none, (keys, jnp.arange(pulls)))
    return paid.reshape(num_trials, env.max_steps).sum(axis=1)

  def thompson(key, wins, counts, time):
    del time
    return jax.random.beta(key, 1 + wins, 1 + counts - wins)

  def ucb(key, wins, counts, time):
    del key
    # Unpulled arms come first, by index: all payouts are distributed alike.
    wide = jnp.sqrt(2 * jnp.log(time + 1.0) / jnp.maximum(counts, 1))
    mean = wins / jnp.maximum(counts, 1)
    return jnp.where(counts == 0, jnp.inf, mean + wide)

  def uniform(key, wins, counts, time):
    del counts, time
    return jax.random.uniform(key, wins.shape)

  best = float(2 * payouts.max(axis=1).mean() - 1)
  rules = {"Thompson sampling": thompson, "UCB": ucb, "uniform": uniform}
  return {"optimal": np.full(num_trials, best)} | {
    name: np.asarray(play(rule, payouts)) for name, rule in rules.items()
  }
