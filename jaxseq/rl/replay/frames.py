"""A ring of frames on the device, from which sequences are sampled.

Each step is stored with only its newest frame; frame stacks, n-step returns and
episode ends are computed for sampled steps. All
functions are pure and can be jitted and vmapped. A caller that donates the
state changes it in place: a step costs one frame, not a copy of the ring.

    state = frames.init(config)
    state = frames.add(config, state, frame, action, reward, done)
    uniform = frames.draw(key, config, batch_size)
    sample = frames.sample(
      config, state, uniform, beta=0.4, num_steps=10, gamma=0.99
    )
    agent, metrics = update.train_step(agent_config, agent, sample.batch, key)
    state = frames.update_priorities(
      config, state, sample.slot, metrics.priority
    )

One ring holds the steps of one environment. Several environments or seeds have
a ring each: vmap over a state with a leading axis. Each ring then contributes
an equal share of a batch, with its own importance weights.

The replay of Schwarzer et al., arXiv:2007.05929, and of its code, with the
priorities of Schaul et al., arXiv:1511.05952.
"""

import dataclasses
from typing import Literal
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.rl.losses import priorities
from jaxseq.rl.losses import td
from jaxseq.rl.replay import _sum_tree
from jaxseq.rl.replay import frame_rows
from jaxseq.rl.replay import frame_sequences
from jaxseq.types import PyTree

Array = jax.Array
Batch = frame_sequences.Batch
Following = frame_sequences.Following


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of a replay; the defaults are those of SPR on Atari.

  Attributes:
    capacity: number of stored steps. To keep all of them, set it to the
      environment's total steps; 100,000 frames of Atari are 0.7 GB.
    frame_shape: shape of one frame: (height, width), (height, width, channels)
      or any other.
    frame_dtype: dtype of frames.
    stack: frames in an observation.
    num_predictions: K, steps ahead for which latents are predicted; may be 0.
    max_steps: the largest n of n-step returns.
    prioritized: whether steps are sampled by priority, not uniformly.
    priority_exponent: exponent of the priorities given to `update_priorities`.
    new_priority: priority of new steps: "one", or the "max" so far.
    dtype: dtype of rewards, returns and priorities.
    sequence: options of sequences; None to sample single steps.
  """

  capacity: int = 100_000
  frame_shape: tuple[int, ...] = (84, 84)
  frame_dtype: Literal["uint8", "float32"] = "uint8"
  stack: int = 4
  num_predictions: int = 5
  max_steps: int = 10
  prioritized: bool = True
  priority_exponent: float = 0.5
  new_priority: Literal["one", "max"] = "one"
  dtype: Literal["float32", "float64"] = "float32"
  sequence: frame_sequences.Config | None = None

  def __post_init__(self):
    validate.at_least(self, capacity=1, stack=1, max_steps=1, num_predictions=0)
    validate.literals(self)
    expected = ""
    if self.capacity < self.least:
      expected = (
        f"at least {self.least} for such stacks, predictions and returns"
      )
    elif self.capacity % self.every:
      expected = f"a multiple of {self.every}, the steps between sequences"
    if expected:
      raise validate.error("capacity", self.capacity, expected)

  @property
  def every(self) -> int:
    """Sequences start in slots that are multiples of this."""
    return 1 if self.sequence is None else self.sequence.length

  @property
  def steps_before(self) -> int:
    """Number of oldest steps without complete stacks; they are not sampled."""
    return max(self.stack - 1, 1)

  @property
  def steps_after(self) -> int:
    """Number of newest steps that are not sampled, as in SPR's code."""
    span = 1 if self.sequence is None else self.sequence.span
    return span - 1 + self.num_predictions + self.max_steps + 2

  @property
  def least(self) -> int:
    """Number of steps from which on a sequence can always be sampled."""
    return self.steps_before + self.steps_after + self.every

  @property
  def observation_shape(self) -> tuple[int, ...]:
    """The shape of a stack: (height, width, stack * channels) for images."""
    return frame_rows.stacked_shape(self.frame_shape, self.stack)


class State(NamedTuple):
  """The stored steps, in slots 0 .. capacity - 1.

  Attributes:
    frames: (capacity, rows, 128) of config.frame_dtype, see `frame_rows`.
    action: (capacity,) int32, taken at that frame.
    reward: (capacity,) floating, for that action.
    done: (capacity,) bool, whether the episode ended with that action; then
      the next frame is the first one of another.
    priorities: of the slots; 0 if no sequence can start there.
    cursor: () int32, the slot to write next.
    size: () int32, number of stored steps.
    memory: the agent's before the steps in every config.every-th slot, a pytree
      with a leading axis capacity / every; () for an agent without one.
  """

  frames: Array
  action: Array
  reward: Array
  done: Array
  priorities: _sum_tree.Priorities
  cursor: Array
  size: Array
  memory: PyTree = ()


class Sample(NamedTuple):
  """A batch, its start slots (batch,), and their priorities (batch,)."""

  batch: Batch
  slot: Array
  priority: Array


def init(config: Config, memory: PyTree = ()) -> State:
  """Returns an empty replay; `memory` is a template, () without memory."""
  shape, starts = (config.capacity,), config.capacity // config.every
  return State(
    frames=frame_rows.init(
      config.capacity, config.frame_shape, config.frame_dtype
    ),
    action=jnp.zeros(shape, jnp.int32),
    reward=jnp.zeros(shape, config.dtype),
    done=jnp.zeros(shape, bool),
    priorities=_sum_tree.init(jnp.zeros(shape, config.dtype)),
    cursor=jnp.zeros((), jnp.int32),
    size=jnp.zeros((), jnp.int32),
    memory=jax.tree.map(
      lambda x: jnp.zeros((starts, *x.shape), x.dtype), memory
    ),
  )


def add(
  config: Config,
  state: State,
  frame: Array,
  action: Array,
  reward: Array,
  done: Array,
) -> State:
  """Adds a step; it overwrites the oldest one if the ring is full.

  Args:
    config: options.
    state: the state before.
    frame: of config.frame_shape and config.frame_dtype, the newest one of the
      observation.
    action: () integer, taken at that observation.
    reward: (), for that action.
    done: () bool, whether the episode ended with that action.

  Returns:
    The state after.

  Raises:
    ValueError: if the frame has another shape or dtype.
  """
  frame = jnp.asarray(frame)
  shape, dtype = config.frame_shape, config.frame_dtype
  if (frame.shape, frame.dtype) != (shape, dtype):
    raise validate.error(
      "frame",
      f"dtype {frame.dtype} and shape {frame.shape}",
      f"{dtype} of shape {shape}",
    )
  cursor = state.cursor

  def write(array, value):
    value = jnp.asarray(value, array.dtype)[None]
    return jax.lax.dynamic_update_slice_in_dim(array, value, cursor, 0)

  state = state._replace(
    frames=frame_rows.write(state.frames, frame, cursor),
    action=write(state.action, action),
    reward=write(state.reward, reward),
    done=write(state.done, done),
    cursor=(cursor + 1) % config.capacity,
    size=jnp.minimum(state.size + 1, config.capacity),
  )
  # One more step now has the steps it needs after it, and one fewer those it
  # needs before it. While there are too few steps, both have priority 0.
  slot = jnp.stack([cursor - config.steps_after, cursor + config.steps_before])
  slot %= config.capacity
  value = jnp.ones((), config.dtype)
  if config.new_priority == "max":
    value = state.priorities.highest
  value = jnp.where(_can_start(config, state, slot), value, 0)
  return state._replace(priorities=_sum_tree.put(state.priorities, slot, value))


def remember(config: Config, state: State, memory: PyTree) -> State:
  """Stores the memory before the next step that `add` adds, if it is due."""
  place, rest = jnp.divmod(state.cursor, config.every)

  def write(ring, value):
    old = jax.lax.dynamic_index_in_dim(ring, place, keepdims=False)
    value = jnp.where(rest == 0, value, old)
    return jax.lax.dynamic_update_index_in_dim(ring, value, place, 0)

  return state._replace(memory=jax.tree.map(write, state.memory, memory))


def _can_start(config, state, slot):
  """Returns whether a sequence can start in each of the slots."""
  age = (state.cursor - 1 - slot) % config.capacity
  has_all = (age >= config.steps_after) & (
    age < state.size - config.steps_before
  )
  return has_all & (slot % config.every == 0)


def draw(key: Array, config: Config, batch_size: int) -> _sum_tree.Double:
  """Draws the random numbers of a sample: uniforms from [0, 1)."""
  return _sum_tree.draw(key, batch_size, config.dtype)


def take(
  config: Config,
  state: State,
  slot: Array,
  *,
  num_steps: int | Array,
  gamma: float | Array,
) -> Batch:
  """Returns the steps, or sequences, that start in (batch,) slots, weights 1.

  If an episode ended with one of the actions at t .. t + K, the observation of
  that action replaces all later ones. Frames of earlier episodes in a stack
  are 0.

  Raises:
    ValueError: if n is an integer beyond config.max_steps.
  """
  sequence, ahead, rows = config.sequence, config.num_predictions, slot
  if sequence is not None:
    window = sequence.span + max(config.max_steps, ahead)
    places = slot[:, None] + jnp.arange(window, dtype=jnp.int32)
    rows = places[:, sequence.burn_in : sequence.span].reshape(-1)
  after = following(config, state, rows, num_steps=num_steps, gamma=gamma)
  if sequence is None:
    places = slot[:, None] + after.offset[:, : ahead + 1]
    last = slot + after.offset[:, num_steps]
    observed = {"next_observation": observations(config, state, last)}
  else:
    observed = {
      "next_observation": None,
      "reset": state.done[(places - 1) % config.capacity],
      "memory": jax.tree.map(lambda x: x[slot // config.every], state.memory),
      "num_steps": jnp.asarray(num_steps, jnp.int32),
    }
  return Batch(
    observation=observations(config, state, places),
    action=after.action[:, : max(ahead, 1)],
    return_n=after.return_n[:, 0],
    discount=jnp.asarray(gamma, config.dtype) ** num_steps,
    done=after.done,
    done_n=after.done_n[:, 0],
    weight=jnp.ones(slot.shape, config.dtype),
    **observed,
  )


def sample(
  config: Config,
  state: State,
  uniform: _sum_tree.Double | Array,
  *,
  beta: float | Array,
  num_steps: int | Array,
  gamma: float | Array,
) -> Sample:
  """Samples a batch, with replacement; needs at least `config.least` steps.

  The uniforms (batch,) in [0, 1) come from `draw`; beta is the exponent of the
  importance weights, num_steps is n, at most config.max_steps, and gamma the
  discount. The last two may be traced.

  Raises:
    ValueError: if n is an integer beyond config.max_steps.
  """
  slot = _sum_tree.sample(state.priorities, uniform)
  priority = _sum_tree.get(state.priorities, slot)
  batch = take(config, state, slot, num_steps=num_steps, gamma=gamma)
  weight = priorities.importance_weights(priority, beta, 1e-5)
  return Sample(batch._replace(weight=weight), slot, priority)


def update_priorities(
  config: Config, state: State, slot: Array, priority: Array
) -> State:
  """Sets the priorities of slots; does nothing if sampling is uniform.

  Args:
    config: options.
    state: the state before.
    slot: (batch,), from `sample`. For repeated slots the first value counts;
      if no sequence can start there any more, the priority stays 0.
    priority: (batch,), at least 0, before config.priority_exponent.

  Returns:
    The state after.
  """
  if not config.prioritized:
    return state
  value = jnp.asarray(priority, config.dtype) ** config.priority_exponent
  value = jnp.where(_can_start(config, state, slot), value, 0)
  return state._replace(priorities=_sum_tree.put(state.priorities, slot, value))


def following(
  config: Config,
  state: State,
  slot: Array,
  *,
  num_steps: int | Array,
  gamma: float | Array,
) -> Following:
  """Returns actions, returns and ends after (batch,) slots, without frames.

  Raises:
    ValueError: if n is an integer beyond config.max_steps.
  """
  longest, ahead = config.max_steps, config.num_predictions
  if isinstance(num_steps, int):
    validate.integer("num_steps", num_steps, 1, longest)
  k = jnp.arange(ahead + 1 + longest, dtype=jnp.int32)
  place = (slot[:, None] + k[:-1]) % config.capacity
  action, reward, done = (
    x[place] for x in (state.action, state.reward, state.done)
  )
  discount = jnp.where(done, 0, jnp.asarray(gamma, config.dtype))
  return_n, discount_n = td.n_step_returns(reward, discount, num_steps, longest)
  done = done[:, : ahead + 1]
  last = jnp.where(done.any(axis=1), jnp.argmax(done, axis=1), k[-1])
  last = last.astype(jnp.int32)[:, None]
  after = k[: ahead + 1] > last
  return Following(
    offset=jnp.minimum(k, last),
    action=action,
    return_n=jnp.where(after, 0, return_n),
    done=done,
    done_n=(discount_n == 0) | after,
  )


def observations(config: Config, state: State, slot: Array) -> Array:
  """Returns stacks of frames, (*batch, *config.observation_shape).

  The newest frame, which comes last, is that of the slot (*batch,), modulo the
  capacity. Frames of earlier episodes are 0.
  """
  return frame_rows.stacks(
    state.frames, state.done, slot, config.stack, config.frame_shape
  )
