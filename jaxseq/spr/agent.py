"""The agent in its environment: act, store, learn.

One environment step is `choose`, a step of the game, `observe`, and then, once
there are min_replay steps, updates_per_step times `learn`:

    state, action = agent.choose(config, state, learning=True)
    step = ...                           # of a game, see `game`
    state, played = agent.observe(config, state, action, step)
    for _ in range(config.variant.updates_per_step):
      state, metrics = agent.learn(config, state)

All are pure functions for one seed, and can be vmapped over several. A caller
that donates the state changes the replay in place. `runner` is such a caller.

Schwarzer et al., arXiv:2007.05929, section 3 and appendix, and its code.
"""

import dataclasses
import math
from typing import Literal
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxseq import validate
from jaxseq.rl import wrappers
from jaxseq.rl.losses import exploration
from jaxseq.rl.replay import frames
from jaxseq.spr import agent_networks
from jaxseq.spr import game as games
from jaxseq.spr import learner
from jaxseq.spr import resets
from jaxseq.spr import update
from jaxseq.spr import variants
from jaxseq.types import PyTree

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Config:
  """The training of an agent.

  Attributes:
    variant: the agent.
    frame_shape: of a frame, as in the game.
    frame_dtype: "uint8" or "float32", the game's.
    stack: frames in an observation.
    num_steps: environment steps of the whole training.
    batch_size: sequences in an update.
    capacity: of the replay; if None num_steps, which overwrites nothing, up to
      a multiple of the steps between sequences for an agent with a memory.
    clip_rewards: whether the agent learns from the signs of rewards alone.
  """

  variant: variants.Variant
  frame_shape: tuple[int, ...] = (84, 84)
  frame_dtype: Literal["uint8", "float32"] = "uint8"
  stack: int = 4
  num_steps: int = 100_000
  batch_size: int = 32
  capacity: int | None = None
  clip_rewards: bool = True

  def __post_init__(self):
    validate.fields(self, positive=("num_steps", "batch_size"))
    validate.fields(
      self.variant,
      positive=("updates_per_step",),
      not_negative=("epsilon_decay",),
    )
    replay, least = self.replay, self.variant.min_replay
    image_shape = self.variant.update.networks.encoder.image_shape
    if image_shape != replay.observation_shape:
      expected = f"{replay.observation_shape}, the shape of {self.stack} frames"
      raise validate.error("encoder.image_shape", image_shape, expected)
    if least < replay.least:
      expected = f"at least {replay.least} for a sequence to be drawn"
      raise validate.error("min_replay", least, expected)
    if replay.capacity < least:
      expected = f"at least min_replay = {least}"
      raise validate.error("capacity", replay.capacity, expected)

  @property
  def replay(self) -> frames.Config:
    """Options of the replay."""
    variant, agent = self.variant, self.variant.update
    longest, annealed = variant.num_steps, variant.annealing
    if annealed is not None:
      longest = max(annealed.first_steps, annealed.last_steps)
    sequence = agent.sequence if agent.recurrent else None
    capacity = self.capacity
    if capacity is None:
      stride = sequence.length if sequence else 1
      capacity = math.ceil(self.num_steps / stride) * stride
    return frames.Config(
      capacity=capacity,
      frame_shape=self.frame_shape,
      frame_dtype=self.frame_dtype,
      stack=self.stack,
      num_predictions=agent.ahead,
      max_steps=longest,
      prioritized=variant.prioritized,
      priority_exponent=variant.priority_exponent,
      new_priority=variant.new_priority,
      sequence=sequence,
    )


class State(NamedTuple):
  """An agent in the middle of its training.

  Attributes:
    agent: networks and optimizer.
    replay: what was seen.
    game: state of the game.
    observation: (*observation_shape,), to act upon next.
    memory: the agent's before that observation; () without one.
    key: random key of all that is to come.
    step: () int32, environment steps so far.
    since_reset: () int32, updates since the weights were last reset.
    game_return: () float32, rewards of the current game so far, as it counts.
    game_length: () int32, its steps so far.
  """

  agent: learner.State
  replay: frames.State
  game: PyTree
  observation: Array
  memory: PyTree
  key: Array
  step: Array
  since_reset: Array
  game_return: Array
  game_length: Array


class Played(NamedTuple):
  """Report of a step on the game; the last two count if it is over.

  Attributes:
    over: () bool.
    game_return: () float32, sum of its rewards, as it counts.
    game_length: () int32, its steps.
  """

  over: Array
  game_return: Array
  game_length: Array


def init(key: Array, config: Config, frame: Array, game: PyTree) -> State:
  """Returns the state before the first step of a game, `game`.

  Its first frame is of config.frame_shape and config.frame_dtype.
  """
  key_agent, key = jax.random.split(key)
  blank = jnp.zeros(config.replay.observation_shape, config.frame_dtype)
  memory = agent_networks.initial_memory(config.variant.update.networks)
  return State(
    agent=learner.init(key_agent, config.variant.update),
    replay=frames.init(config.replay, memory),
    game=game,
    observation=push(blank, frame, True),
    # Buffers of its own, so that the state can be donated.
    memory=jax.tree.map(jnp.copy, memory),
    key=key,
    step=jnp.zeros((), jnp.int32),
    since_reset=jnp.zeros((), jnp.int32),
    game_return=jnp.zeros((), jnp.float32),
    game_length=jnp.zeros((), jnp.int32),
  )


def push(observation: Array, frame: Array, done: Array) -> Array:
  """Returns the next observation (*observation_shape,): a new frame comes last.

  The frame is (height, width) or (height, width, channels). Older ones are 0
  if `done`, () bool: if the frame begins an episode.
  """
  frame = jnp.asarray(frame)
  if frame.ndim == 2:
    frame = frame[..., None]
  older = jnp.where(done, 0, observation[..., frame.shape[-1] :])
  return jnp.concatenate([older, frame], axis=-1)


def act(
  config: Config,
  agent: learner.State,
  observation: Array,
  key: Array,
  *,
  epsilon: float | Array,
  noisy: bool,
  memory: PyTree = (),
) -> tuple[Array, PyTree]:
  """Chooses actions: the best one or, with chance epsilon, any.

  Args:
    config: options.
    agent: the networks.
    observation: (*batch, *observation_shape).
    key: random key.
    epsilon: chance of an action at random.
    noisy: whether the head's noise is on, that of the last update.
    memory: before the observations; () for an agent without one.

  Returns:
    (*batch,) int32, and the memory after the observations.
  """
  params = agent.target if config.variant.acts_with_target else agent.params
  noise = agent.noise if noisy else None
  values, memory = agent_networks.action_values(
    config.variant.update.networks, params, observation, noise, memory
  )
  return exploration.epsilon_greedy(key, values, epsilon), memory


def choose(
  config: Config, state: State, *, learning: bool
) -> tuple[State, Array]:
  """Chooses the next action, () int32; `learning` after min_replay steps.

  Until then actions are random. The state gets a new key, and the memory after
  the observation.
  """
  key, key_act, key_random = jax.random.split(state.key, 3)
  state = state._replace(key=key)
  agent = config.variant.update
  num_actions = agent.networks.head.num_actions
  random_action = jax.random.randint(key_random, (), 0, num_actions, jnp.int32)
  # The memory reads observations even while actions are random.
  if not (learning or agent.recurrent):
    return state, random_action
  replay = frames.remember(config.replay, state.replay, state.memory)
  action, memory = act(
    config,
    state.agent,
    state.observation,
    key_act,
    epsilon=_epsilon(config.variant, state.step),
    noisy=True,
    memory=state.memory,
  )
  state = state._replace(replay=replay, memory=memory)
  return state, action if learning else random_action


def observe(
  config: Config, state: State, action: Array, step: games.Step
) -> tuple[State, Played]:
  """Stores the outcome of an action, () int32, as `choose` returns it.

  The end of a life, the end of a game and its time limit are all ends of an
  episode to the replay, as in SPR's code; only a game that is over ends the
  return that is reported: `Played`, which comes beside the state after.
  """
  channels = state.observation.shape[-1] // config.stack
  newest = state.observation[..., -channels:].reshape(config.frame_shape)
  reward = jnp.asarray(step.reward, jnp.float32)
  seen = jnp.sign(reward) if config.clip_rewards else reward
  fresh = agent_networks.initial_memory(config.variant.update.networks)
  played = Played(
    over=step.over,
    game_return=state.game_return + reward,
    game_length=state.game_length + 1,
  )
  state = state._replace(
    replay=frames.add(
      config.replay, state.replay, newest, action, seen, step.done
    ),
    observation=push(state.observation, step.frame, step.done),
    memory=wrappers.select(step.done, fresh, state.memory),
    step=state.step + 1,
    game_return=jnp.where(step.over, 0, played.game_return),
    game_length=jnp.where(step.over, 0, played.game_length),
  )
  return state, played


def learn(config: Config, state: State) -> tuple[State, learner.Metrics]:
  """Draws a batch, does an update, and sets the batch's priorities."""
  variant, since = config.variant, state.since_reset
  key, key_draw, key_update = jax.random.split(state.key, 3)
  num_steps, gamma = variant.num_steps, variant.gamma
  if variant.annealing is not None:
    num_steps, gamma = resets.n_step_settings(variant.annealing, since)
  sample = frames.sample(
    config.replay,
    state.replay,
    frames.draw(key_draw, config.replay, config.batch_size),
    beta=_beta(config, state.step),
    num_steps=num_steps,
    gamma=gamma,
  )
  agent, metrics = update.train_step(
    variant.update, state.agent, sample.batch, key_update
  )
  replay = frames.update_priorities(
    config.replay, state.replay, sample.slot, metrics.priority
  )
  state = state._replace(
    agent=agent, replay=replay, key=key, since_reset=since + 1
  )
  return state, metrics


def _epsilon(variant, step):
  """The chance of a random action, on a line from 1 after min_replay steps."""
  if variant.epsilon_decay == 0:
    return variant.epsilon_train
  return optax.linear_schedule(
    1, variant.epsilon_train, variant.epsilon_decay, variant.min_replay
  )(step)


def _beta(config, step):
  """The exponent of the importance weights, on a line over the training."""
  first, last = config.variant.beta
  begin = config.variant.min_replay
  length = max(config.num_steps - begin, 1)
  return optax.linear_schedule(first, last, length, begin)(step)


def reset(config: Config, state: State) -> State:
  """Resets the weights, of a variant that does so."""
  key, key_reset = jax.random.split(state.key)
  variant = config.variant
  return state._replace(
    agent=resets.reset(key_reset, variant.resets, variant.update, state.agent),
    key=key,
    since_reset=jnp.zeros_like(state.since_reset),
  )
