"""Many steps of an agent, for all seeds at once: what is compiled, and how.

On a GPU or TPU as many steps as possible are one compiled call. On a CPU
convolutions are several times slower inside a loop that is compiled; there one
step and one update are compiled, and Python loops over them. Either way the
state is donated, so that the replay is changed in place, and the numbers are
the same up to rounding.

A game on the host takes its steps in between, one player for each seed; where
loops are compiled, and the game can be called from them, inside of them. Its
state is in no checkpoint: to go on from one, all actions in the replay are
played again, 4 frames each, which takes about a millisecond.
"""

from collections.abc import Callable
from collections.abc import Iterator
import functools
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.rl.envs import players as environments
from jaxseq.spr import agent as agent_lib
from jaxseq.training import errors
from jaxseq.training.devices import seeds

State = agent_lib.State
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


def segments(
  config: agent_lib.Config, start: int, count: int
) -> Iterator[Segment]:
  """Cuts the `count` steps after the first `start` where their kind changes."""
  end = start + count
  while start < end:
    learning = start >= config.variant.min_replay
    stop = end if learning else min(end, config.variant.min_replay)
    if config.variant.resets is not None:
      every = config.variant.resets.every
      stop = min(stop, (start // every + 1) * every)
    yield Segment(stop - start, learning, agent_lib.reset_is_due(config, stop))
    start = stop


def init(
  config: agent_lib.Config, game: environments.Game, key: jax.Array
) -> State:
  """Returns the state of one seed before the first step.

  Args:
    config: of the agent.
    game: what it plays; one on the host shows its first frame to the function
      of `make_chunk`.
    key: random key.
  """
  if not game.on_device:
    blank = jnp.zeros(game.frame_shape, jnp.uint8)
    return agent_lib.init(key, config, blank)
  key, key_game = jax.random.split(key)
  state, frame = game.init(key_game)
  return agent_lib.init(key, config, frame, state)


def make_chunk(
  config: agent_lib.Config,
  game: environments.Game,
  keys: jax.Array,
  *,
  compiled_loop: bool | None = None,
) -> Chunk:
  """Returns the function that takes some steps, for `training.loop`.

  Args:
    config: of the agent.
    game: what it plays.
    keys: the seeds' keys (seeds,); games on the host get theirs from them.
    compiled_loop: whether loops over steps and updates are compiled; None
      leaves that to the platform.

  Returns:
    A function from states and a number of steps to the states after them and
    metrics (seeds,): the means of the games that ended (NaN if none did),
    "episode_return" and "episode_length", their number "episodes", and the
    means of "loss", "rl_loss", "spr_loss" and "stem_norm" over the updates (NaN
    before the first one). The states are donated.
  """
  if compiled_loop is None:
    compiled_loop = jax.default_backend() != "cpu"
  if not game.on_device:
    return _HostChunk(config, game, keys, compiled_loop)
  programs = _Programs(config, len(keys), game)

  def chunk(state: State, count: int):
    log = _Log()
    for segment in segments(config, int(state.step[0]), count):
      if compiled_loop:
        steps = programs.steps(segment.length, segment.learning)
        state, (played, losses) = steps(state)
        log.add(played, losses)
      else:
        for _ in range(segment.length):
          state, played = programs.step(segment.learning)(state)
          log.add(played, None)
          if segment.learning:
            state = programs.learn_all(state, log)
      if segment.resets:
        state = programs.reset(state)
    return state, log.means()

  return chunk


def lower_step(
  config: agent_lib.Config,
  game: environments.Game,
  num_seeds: int = 1,
  sharding: jax.sharding.Sharding | None = None,
) -> dict[str, jax.stages.Lowered]:
  """Lowers what one step of all seeds runs where loops are compiled.

  Nothing is allocated: the compiled programs tell what they would take.

  Args:
    config: of the agent, which has begun to learn.
    game: what it plays; its players, if compiled functions can call them, are
      called by the programs.
    num_seeds: number of seeds.
    sharding: where all arrays lie; None for the default device. That of a
      described device compiles for it without the hardware.

  Returns:
    By name, the programs of a step: "step" of a game on the device, or whose
    players are called; "choose" and, with the updates in it, "observe" of one
    on the host.
  """
  programs = _Programs(config, num_seeds, game)
  keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), num_seeds))
  state = _placed(
    jax.eval_shape(jax.vmap(functools.partial(init, config, game)), keys),
    sharding,
  )
  if game.on_device:
    return {"step": programs.steps(1, True).lower(state)}
  if game.play_compiled is not None:
    players = game.play_compiled(np.arange(num_seeds))
    at = _placed(players.state, sharding)
    return {"step": programs.steps_of(players, 1, True).lower(state, at)}
  choose = programs.choose(True)
  _, action = jax.eval_shape(choose, state)

  def of_all(dtype, *shape):
    return jax.ShapeDtypeStruct((num_seeds, *shape), dtype)

  step = environments.Step(
    frame=of_all(jnp.uint8, *game.frame_shape),
    reward=of_all(jnp.float32),
    done=of_all(bool),
    over=of_all(bool),
  )
  return {
    "choose": choose.lower(state),
    "observe": programs.observe(True).lower(
      state, *_placed((action, step), sharding)
    ),
  }


def _placed(tree, sharding):
  """Shapes like those of a tree, with a sharding."""
  return jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=sharding
    ),
    tree,
  )


class _Programs:
  """What is compiled, each when it is first used."""

  def __init__(self, config, num_seeds, game):
    self._config = config
    self._num_seeds = num_seeds
    self._game = game
    self.step = functools.cache(self._step)
    self.steps = functools.cache(self._steps)
    self.choose = functools.cache(self._choose)
    self.observe = functools.cache(self._observe)
    self.steps_of = functools.cache(self._steps_of)
    self.reset = self._jit(functools.partial(agent_lib.reset, config))
    self.learn = self._jit(self._learn_one)

  def _jit(self, function):
    # Side by side, so that the replays are changed in place.
    return seeds.jit(
      function, self._num_seeds, one_by_one=False, donate_argnums=0
    )

  def _interact(self, learning, state):
    state, action = agent_lib.choose(self._config, state, learning=learning)
    key, now = jax.random.split(state.key)
    game, step = self._game.step(state.game, action, now)
    state = state._replace(key=key, game=game)
    return agent_lib.observe(self._config, state, action, step)

  def _learn_one(self, state):
    state, metrics = agent_lib.learn(self._config, state)
    return state, {name: getattr(metrics, name) for name in _LOSSES}

  def _learn_scanned(self, state):
    return jax.lax.scan(
      lambda state, _: self._learn_one(state),
      state,
      length=self._config.variant.updates_per_step,
    )

  def learn_all(self, state, log):
    """Does the updates of a step, one after the other."""
    for _ in range(self._config.variant.updates_per_step):
      state, losses = self.learn(state)
      log.add(None, losses)
    return state

  def _step(self, learning):
    return self._jit(functools.partial(self._interact, learning))

  def _steps(self, length, learning):
    def body(state, _):
      state, played = self._interact(learning, state)
      losses = None
      if learning:
        state, losses = self._learn_scanned(state)
      return state, (played, losses)

    return self._jit(lambda state: jax.lax.scan(body, state, length=length))

  def _choose(self, learning):
    return self._jit(self._choose_one(learning))

  def _choose_one(self, learning):
    return functools.partial(agent_lib.choose, self._config, learning=learning)

  def _observe(self, learns):
    return self._jit(functools.partial(self._observe_one, learns))

  def _observe_one(self, learns, state, action, step):
    state, played = agent_lib.observe(self._config, state, action, step)
    losses = None
    if learns:
      state, losses = self._learn_scanned(state)
    return state, (played, losses)

  def _steps_of(self, players, length, learning):
    """Steps of players on the host, whom the loop calls; all seeds at once."""
    choose = jax.vmap(self._choose_one(learning))
    observe = jax.vmap(functools.partial(self._observe_one, learning))

    def body(carry, _):
      state, at = carry
      state, action = choose(state)
      at, step = players.advance(at, action)
      state, told = observe(state, action, step)
      return (state, at), told

    def steps(state, at):
      carry, told = jax.lax.scan(body, (state, at), length=length)
      return *carry, jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, 1), told)

    return jax.jit(steps, donate_argnums=0)


class _HostChunk:
  """Takes steps of a game that runs on the host, beside or inside programs."""

  def __init__(self, config, game, keys, compiled_loop):
    if config.replay.capacity < config.num_steps:
      raise ValueError(
        f"capacity must be at least num_steps = {config.num_steps} for a game "
        "on the host: from the actions in it a run goes on; got "
        f"{config.replay.capacity}."
      )
    self._config = config
    self._compiled_loop = compiled_loop
    # Programs of several devices could not all call the same players.
    self._calls_players = (
      compiled_loop
      and game.play_compiled is not None
      and seeds.num_devices(len(keys)) == 1
    )
    play = game.play_compiled if self._calls_players else game.play
    self._players = play(game_seeds(keys))
    self._programs = _Programs(config, len(keys), game)
    self._position = None

  def __call__(self, state: State, count: int):
    start = int(state.step[0])
    if self._position != start:
      state = self._go_to(state, start)
    log = _Log()
    for segment in segments(self._config, start, count):
      take = self._steps_inside if self._calls_players else self._steps_outside
      state = take(state, segment, log)
      if segment.resets:
        state = self._programs.reset(state)
    self._position = start + count
    return state, log.means()

  def _steps_inside(self, state, segment, log):
    """One compiled call, which calls the players."""
    players = self._players
    steps = self._programs.steps_of(players, segment.length, segment.learning)
    state, players.state, told = steps(state, players.state)
    log.add(*told)
    return state

  def _steps_outside(self, state, segment, log):
    """A step of the players between compiled calls."""
    programs = self._programs
    learns_inside = segment.learning and self._compiled_loop
    for _ in range(segment.length):
      state, action = programs.choose(segment.learning)(state)
      step = self._players.step(np.asarray(action))
      state, told = programs.observe(learns_inside)(state, action, step)
      log.add(*told)
      if segment.learning and not learns_inside:
        state = programs.learn_all(state, log)
    return state

  def _go_to(self, state, start):
    """Brings the players to where the state is."""
    played = jax.device_get(
      (state.replay.action, state.replay.reward, state.replay.done)
    )
    action, reward, done = (x[:, :start].T for x in played)
    frame, seen, ended = self._play_again(action)
    if self._config.clip_rewards:
      seen = np.sign(seen)
    if start == 0:
      push = jax.vmap(
        lambda old, new: agent_lib.push(self._config, old, new, True)
      )
      return state._replace(observation=push(state.observation, frame))
    frame = frame.reshape(*state.observation.shape[:3], -1)
    newest = np.asarray(state.observation)[..., -frame.shape[-1] :]
    same = (seen == reward).all() and (ended == done).all()
    if not same or not (newest == frame).all():
      raise errors.UserError(
        f"the first {start:,} actions of this run do not give the same game as "
        "before: it can go on only with the game and the emulator that it had"
      )
    return state

  def _play_again(self, actions):
    """Plays (steps, seeds) actions; returns the last frame, rewards, ends."""
    players = self._players
    frame = players.reset()
    if not self._calls_players:
      rewards, ends = np.zeros(actions.shape), np.zeros(actions.shape, bool)
      for t, action in enumerate(actions):
        frame, rewards[t], ends[t], _ = players.step(action)
      return frame, rewards, ends

    def body(carry, action):
      at, step = players.advance(carry[0], action)
      return (at, step.frame), (step.reward, step.done)

    play = jax.jit(lambda *carry: jax.lax.scan(body, carry[:2], carry[2]))
    (players.state, frame), told = play(players.state, frame, actions)
    return np.asarray(frame), *map(np.asarray, told)


def game_seeds(keys: jax.Array) -> np.ndarray:
  """Returns integer seeds (seeds,) for games on the host, from keys."""
  draw = jax.vmap(lambda key: jax.random.randint(key, (), 0, 2**31 - 1))
  return np.asarray(draw(keys))


class _Log:
  """Collects what steps and updates tell, on the device until the end."""

  def __init__(self):
    self._played: list[Any] = []
    self._losses: list[Any] = []

  def add(self, played, losses) -> None:
    if played is not None:
      self._played.append(played)
    if losses is not None:
      self._losses.append(losses)

  def means(self) -> dict[str, np.ndarray]:
    played, losses = jax.device_get((self._played, self._losses))
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
    return means


def _flat(arrays):
  """Joins arrays (seeds, ...) along one axis after that of the seeds."""
  return np.concatenate([x.reshape(len(x), -1) for x in arrays], axis=1)


def _mean(values, counts):
  """Returns means over the second axis of what counts, NaN if nothing does."""
  number = counts.sum(axis=1)
  total = np.where(counts, values, 0).sum(axis=1)
  return np.where(number > 0, total / np.maximum(number, 1), np.nan)
