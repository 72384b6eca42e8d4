"""Runs of many steps of an agent, compiled for all seeds at once.

On a GPU or TPU as many steps as possible are one compiled call. On a CPU
convolutions are several times slower inside a loop that is compiled; there one
step and one update are compiled, and Python loops over them. Either way the
state is donated, so that the replay is changed in place, and the numbers are
the same up to rounding.
"""

from collections.abc import Callable
from collections.abc import Iterator
import functools
from typing import NamedTuple

import jax
import numpy as np

from jaxseq.spr import agent
from jaxseq.spr import game as games
from jaxseq.spr import resets
from jaxseq.training import optimizers
from jaxseq.training.devices import seeds

State = agent.State
Chunk = Callable[[State, int], tuple[State, dict[str, np.ndarray]]]

_LOSSES = ("loss", "rl_loss", "spr_loss", "stem_norm")


class Segment(NamedTuple):
  """Steps of one kind.

  Attributes:
    length: number of steps.
    learning: whether updates are done.
    resets: whether weights are reset after the last of the steps.
  """

  length: int
  learning: bool
  resets: bool


def segments(config: agent.Config, start: int, count: int) -> Iterator[Segment]:
  """Cuts the `count` steps after the first `start` where their kind changes."""
  end = start + count
  while start < end:
    learning = start >= config.variant.min_replay
    stop = end if learning else min(end, config.variant.min_replay)
    due, is_due = config.variant.resets, False
    if due is not None:
      stop = min(stop, (start // due.every + 1) * due.every)
      # Not after the last step: the agent would be left untrained.
      is_due = stop < config.num_steps and resets.is_due(due, stop)
    yield Segment(stop - start, learning, is_due)
    start = stop


def init(config: agent.Config, game: games.Game, key: jax.Array) -> State:
  """Returns the state of one seed before the first step."""
  key, key_game = jax.random.split(key)
  state, frame = game.init(key_game)
  return agent.init(key, config, frame, state)


def make_chunk(
  config: agent.Config,
  game: games.Game,
  num_seeds: int,
  *,
  compiled_loop: bool | None = None,
) -> Chunk:
  """Returns the function that takes some steps, for `training.loop`.

  Whether loops over steps and updates are compiled, `compiled_loop`, is left to
  the platform if it is None.

  Returns:
    A function from states and a number of steps to the states after them and
    metrics (seeds,): the means of the games that ended (NaN if none did),
    "episode_return" and "episode_length", their number "episodes", and the
    means of "loss", "rl_loss", "spr_loss" and "stem_norm" over the updates (NaN
    before the first one), and where updates may be left out their number,
    "skipped". The states are donated.
  """
  if compiled_loop is None:
    compiled_loop = jax.default_backend() != "cpu"
  programs = _Programs(config, game, num_seeds)
  updates = config.variant.updates_per_step

  def chunk(state: State, count: int):
    # On the device until the end.
    played, losses = [], []
    for length, learning, due in segments(config, int(state.step[0]), count):
      if compiled_loop:
        state, (seen, learned) = programs.steps(length, learning)(state)
        played.append(seen)
        losses += [learned] if learning else []
      else:
        for _ in range(length):
          state, seen = programs.step(learning)(state)
          played.append(seen)
          for _ in range(updates if learning else 0):
            state, learned = programs.learn(state)
            losses.append(learned)
      if due:
        state = programs.reset(state)
    return state, _means(*jax.device_get((played, losses)))

  return chunk


def lower_step(
  config: agent.Config,
  game: games.Game,
  num_seeds: int = 1,
  sharding: jax.sharding.Sharding | None = None,
) -> jax.stages.Lowered:
  """Lowers the program of one step of all seeds where loops are compiled.

  The step is one with updates. Nothing is allocated: the compiled program knows
  how much memory it needs. All arrays have `sharding`; with a described device
  the program compiles for it without the hardware.
  """
  programs = _Programs(config, game, num_seeds)
  keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), num_seeds))
  state = jax.eval_shape(jax.vmap(functools.partial(init, config, game)), keys)
  placed = jax.tree.map(lambda leaf: leaf.update(sharding=sharding), state)
  return programs.steps(1, True).lower(placed)


class _Programs:
  """Compiled programs of all seeds, each made when it is first used."""

  def __init__(self, config, game, num_seeds):
    def interact(state, learning):
      state, action = agent.choose(config, state, learning=learning)
      key, key_game = jax.random.split(state.key)
      after, step = game.step(state.game, action, key_game)
      state = state._replace(key=key, game=after)
      return agent.observe(config, state, action, step)

    def learn(state):
      state, metrics = agent.learn(config, state)
      learned = {name: getattr(metrics, name) for name in _LOSSES}
      if metrics.skipped is not None:
        learned[optimizers.SKIPPED] = metrics.skipped
      return state, learned

    def body(state, learning):
      state, played = interact(state, learning)
      losses = None
      if learning:
        state, losses = jax.lax.scan(
          lambda state, _: learn(state),
          state,
          length=config.variant.updates_per_step,
        )
      return state, (played, losses)

    def jit(function):
      # Side by side, so that the replays are changed in place.
      return seeds.jit(function, num_seeds, one_by_one=False, donate_argnums=0)

    @functools.cache
    def step(learning):
      return jit(lambda state: interact(state, learning))

    @functools.cache
    def steps(length, learning):
      return jit(
        lambda state: jax.lax.scan(
          lambda state, _: body(state, learning), state, length=length
        )
      )

    self.step, self.steps = step, steps
    self.learn = jit(learn)
    self.reset = jit(lambda state: agent.reset(config, state))


def _means(played, losses) -> dict[str, np.ndarray]:
  """Returns the metrics of steps and updates."""
  over, returns, lengths = (_flat(x) for x in zip(*played))
  means = {
    "episode_return": _mean(returns, over),
    "episode_length": _mean(lengths, over),
    "episodes": over.sum(axis=1),
  }
  for name in _LOSSES:
    means[name] = np.full(len(over), np.nan)
    if losses:
      values = _flat([step[name] for step in losses])
      means[name] = _mean(values, np.ones_like(values, bool))
  if losses and optimizers.SKIPPED in losses[0]:
    skipped = _flat([step[optimizers.SKIPPED] for step in losses])
    means[optimizers.SKIPPED] = skipped.sum(axis=1)
  return means


def _flat(arrays):
  """Joins arrays (seeds, ...) along one axis after that of the seeds."""
  return np.concatenate([x.reshape(len(x), -1) for x in arrays], axis=1)


def _mean(values, counts):
  """Returns means over the second axis of what counts, NaN if nothing does."""
  with np.errstate(invalid="ignore"):
    return np.where(counts, values, 0).sum(axis=1) / counts.sum(axis=1)
