"""Environments whose values and returns can be worked out by hand."""

import dataclasses
import functools
import math

from flax import struct
import gymnax
from gymnax.environments import environment
from gymnax.environments import spaces
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import nn
from jaxseq.rl import networks
from jaxseq.rl import wrappers
from jaxseq.rl.envs import base
from jaxseq.rl.envs import randomness
from jaxseq.rl.envs import spaces as more_spaces


@struct.dataclass
class State(environment.EnvState):
  time: jax.Array
  length: jax.Array
  cut: jax.Array


@dataclasses.dataclass(frozen=True)
class Paid(base.Environment):
  """Pays the same for every step, whatever is done.

  Every episode is cut off after `limit` steps, and before that with
  probability `cut` at each step, or ends by itself after a random number of 1
  to `longest` steps, if that is set. Shows a function of the time, times
  `size`.
  """

  limit: int = 5
  longest: int = 0
  cut: float = 0.0
  continuous: int = 0
  choices: tuple[int, ...] = ()
  pay: float = 1.0
  size: float = 1.0

  step_words = 1
  reset_words = 1

  @property
  def default_params(self):
    return environment.EnvParams(max_steps_in_episode=self.limit)

  def start(self, words, params):
    length = 1 + (words[0] % max(self.longest, 1)).astype(jnp.int32)
    return State(jnp.int32(0), length, jnp.bool_(False))

  def advance(self, words, state, action, params):
    cut = randomness.uniform(words[0]) < self.cut
    state = state.replace(time=state.time + 1, cut=cut)
    return state, jnp.float32(self.pay)

  def is_terminated(self, state, params):
    return (state.time >= state.length) & (self.longest > 0)

  def is_truncated(self, state, params):
    return state.cut | super().is_truncated(state, params)

  def observation_space(self, params=None):
    return spaces.Box(0.0, 1.0, (1,))

  def action_space(self, params=None):
    if self.continuous:
      return spaces.Box(-1.0, 1.0, (self.continuous,))
    if self.choices:
      return more_spaces.MultiDiscrete(self.choices)
    return spaces.Discrete(2)

  def observe(self, state, params):
    return self.size * jnp.sin(state.time.astype(jnp.float32))[None]


@struct.dataclass
class WalkState(environment.EnvState):
  time: jax.Array
  position: jax.Array


@dataclasses.dataclass(frozen=True)
class Walk(base.Environment):
  """Starts anywhere between -1 and 1 and walks to and fro.

  Shows position and time, and pays the position after each step. Terminates
  beyond `edge`, and is cut off after `limit` steps. With `bounds`, the action
  is what is added to the position, within these; else it goes by 1 to the
  left (0) or right (1).
  """

  limit: int = 6
  edge: float = 3.0
  bounds: tuple[float, float] | None = None

  reset_words = 1

  @property
  def default_params(self):
    return environment.EnvParams(max_steps_in_episode=self.limit)

  def start(self, words, params):
    position = randomness.uniform(words[0], -1.0, 1.0)
    return WalkState(jnp.int32(0), position)

  def advance(self, words, state, action, params):
    if self.bounds is None:
      action = 2 * action - 1
    position = state.position + jnp.asarray(action, jnp.float32).reshape(())
    state = WalkState(state.time + 1, position)
    return state, position

  def observe(self, state, params):
    return jnp.stack([state.position, state.time.astype(jnp.float32)])

  def is_terminated(self, state, params):
    return jnp.abs(state.position) > self.edge

  def observation_space(self, params=None):
    return spaces.Box(-100.0, 100.0, (2,))

  def action_space(self, params=None):
    if self.bounds is None:
      return spaces.Discrete(2)
    return spaces.Box(*self.bounds, (1,))


@dataclasses.dataclass(frozen=True)
class Aim(base.Environment):
  """Pays 100 less the distance from 260; actions reach from 200 to 300.

  Shows the action before. Pays -1,000 for actions beyond the bounds.
  """

  observations = more_spaces.Box(-math.inf, math.inf, (1,))
  max_steps = 4

  def action_space(self, params=None):
    # Made by jax.numpy, as gymnax's are.
    return spaces.Box(jnp.array([200.0]), jnp.array([300.0]), (1,))

  def start(self, words, params):
    return WalkState(jnp.int32(0), jnp.float32(0))

  def advance(self, words, state, action, params):
    action = action[0]
    inside = (action >= 200.0) & (action <= 300.0)
    reward = jnp.where(inside, 100 - jnp.abs(action - 260.0), -1000.0)
    return WalkState(state.time + 1, action), reward

  def observe(self, state, params):
    return state.position[None] / 300


@struct.dataclass
class GuessState(environment.EnvState):
  time: jax.Array
  bit: jax.Array


@dataclasses.dataclass(frozen=True)
class Guess(base.Environment):
  """Pays 1 if the first of two actions is a hidden bit; shows the time."""

  reset_words = 1

  @property
  def default_params(self):
    return environment.EnvParams(max_steps_in_episode=2)

  def start(self, words, params):
    bit = (words[0] >> 31).astype(jnp.int32)
    return GuessState(jnp.int32(0), bit)

  def advance(self, words, state, action, params):
    right = (state.time == 0) & (action == state.bit)
    state = state.replace(time=state.time + 1)
    return state, right.astype(jnp.float32)

  def observe(self, state, params):
    return state.time.astype(jnp.float32)[None]

  def is_terminated(self, state, params):
    return jnp.zeros_like(state.time, bool)

  def observation_space(self, params=None):
    return spaces.Box(0.0, 2.0, (1,))

  def action_space(self, params=None):
    return spaces.Discrete(2)


@dataclasses.dataclass(frozen=True)
class Parts(base.Environment):
  """Shows a number and a choice; is played outside, registered or not."""

  max_steps = 3

  def start(self, words, params):
    return base.EnvState(jnp.int32(0))

  def advance(self, words, state, action, params):
    return base.EnvState(state.time + 1), jnp.float32(action[0])

  def observe(self, state, params):
    number = jnp.float32(state.time)[None]
    return {"number": number, "choice": state.time % 2}

  def observation_space(self, params=None):
    number = more_spaces.Box(-1.0, np.array([3.0], np.float32), (1,))
    return more_spaces.Dict(
      {"number": number, "choice": more_spaces.Discrete(2)}
    )

  def action_space(self, params=None):
    return more_spaces.MultiDiscrete((2, 3))


@functools.partial(jax.jit, static_argnums=(0, 3))
def play(env, params, key, num_steps):
  """Plays random actions: first observation, first state, actions, steps."""
  key_reset, key_steps = jax.random.split(key)
  first, state = env.reset(key_reset, params)

  def body(state, key):
    key_action, key_step = jax.random.split(key)
    action = env.action_space(params).sample(key_action)
    stepped = env.step(key_step, state, action, params)
    return stepped[1], (action, stepped)

  keys = jax.random.split(key_steps, num_steps)
  _, (actions, steps) = jax.lax.scan(body, state, keys)
  return first, state, actions, steps


# Options of an agent that takes one optimizer step in each update.
QUICK = {"num_epochs": 1, "num_minibatches": 1, "num_envs": 4}


def register(**factories):
  """Makes environments known to gymnax, each as "JaxseqTest-NAME"."""
  for name, factory in factories.items():
    if f"JaxseqTest-{name}" not in gymnax.registered_envs:
      gymnax.register(f"JaxseqTest-{name}", factory)


def network(mixer="gru", d_model=8, num_layers=1, widths=(), heads=()):
  """Options of a network that is quick to compile."""
  stack = nn.StackConfig(
    mixer,
    d_model=d_model,
    num_layers=num_layers,
    norm="none",
    activation="full_glu",
  )
  return networks.Config(stack, encoder_widths=widths, head_widths=heads)


def equal(actual, expected, **tolerance):
  """Compares trees of arrays and of keys."""
  assert jax.tree.structure(actual) == jax.tree.structure(expected)
  for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected)):
    if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
      a, b = jax.random.key_data(a), jax.random.key_data(b)
    np.testing.assert_allclose(a, b, **tolerance)


def paid(**options):
  """Returns the environment as agents see it, and its parameters."""
  env = Paid(**options)
  return wrappers.EpisodeStatistics(
    wrappers.FlattenHistory(env)
  ), env.default_params


def constant_critic(variables, value):
  """Sets the last layer of the critic so that it always says `value`."""
  params = dict(variables["params"])
  layers = dict(params["critic"]["mlp"])
  layers["dense_1"] = {
    "kernel": jnp.zeros_like(layers["dense_1"]["kernel"]),
    "bias": jnp.full_like(layers["dense_1"]["bias"], value),
  }
  return {"params": params | {"critic": {"mlp": layers}}}
