"""The true state of a game as a vector, beside what agents see or in its place.

For the score of an agent that needs no memory, for critics that may know more
than a policy, and for probes of what a memory holds; as POPGym's wrapper
`Markovian` (Morad et al., arXiv:2303.01859).

    env = MarkovState(envs.make("RepeatPreviousEasy")[0])
    observation, state = env.reset(key)    # {"observation": ..., "state": ...}
    markov_states.vector(state)            # the same numbers, for a probe
"""

import dataclasses
import math
from typing import Literal

import jax
import jax.numpy as jnp

from jaxseq import _validate
from jaxseq._types import PyTree
from jaxseq.rl.envs import base
from jaxseq.rl.envs import spaces


@dataclasses.dataclass(frozen=True)
class MarkovState(base.Environment):
  """A game whose state is shown.

  Everything else is that of the game.

  Attributes:
    env: the game.
    shown: "beside": observations are dictionaries of "observation", that of the
      game, and "state", see `vector`. "instead": they are the state alone.
  """

  env: base.Environment
  shown: Literal["beside", "instead"] = "beside"

  def __post_init__(self):
    _validate.literals(self)
    own_step = type(self.env)._step is not base.Environment._step
    if not isinstance(self.env, base.Environment) or own_step:
      expected = "a game that derives from base.Environment, without wrappers"
      raise _validate.error("env", self.env, expected)

  @property
  def step_words(self) -> int:
    """The game's number of words for a step."""
    return self.env.step_words

  @property
  def reset_words(self) -> int:
    """The game's number of words for a reset."""
    return self.env.reset_words

  @property
  def default_params(self) -> PyTree:
    """The game's parameters."""
    return self.env.default_params

  @property
  def name(self) -> str:
    """The name of the game."""
    return self.env.name

  def __getattr__(self, name: str) -> object:
    # Unpickling asks for attributes before `env` is there.
    if name == "env" or name.startswith("__"):
      raise AttributeError(name)
    return getattr(self.env, name)

  def observation_space(self, params: PyTree = None) -> spaces.Space:
    """The space of the observations."""
    params = self._or_default(params)
    key = jax.eval_shape(lambda: jax.random.key(0))
    size = jax.eval_shape(
      lambda key: vector(self.env.reset_env(key, params)[1]), key
    ).size
    state = spaces.Box(-math.inf, math.inf, (size,))
    if self.shown == "instead":
      return state
    observation = self.env.observation_space(params)
    return spaces.Dict({"observation": observation, "state": state})

  def action_space(self, params: PyTree = None) -> spaces.Space:
    """The game's actions."""
    return self.env.action_space(params)

  def is_terminated(self, state: PyTree, params: PyTree) -> jax.Array:
    """Returns whether the game has ended by itself."""
    return self.env.is_terminated(state, params)

  def is_truncated(self, state: PyTree, params: PyTree) -> jax.Array:
    """Returns whether the game is cut off."""
    return self.env.is_truncated(state, params)

  def start(self, words: jax.Array, params: PyTree) -> PyTree:
    """Starts the game."""
    return self.env.start(words, params)

  def restart(self, words: jax.Array, state: PyTree, params: PyTree) -> PyTree:
    """Starts the game anew."""
    return self.env.restart(words, state, params)

  def advance(
    self, words: jax.Array, state: PyTree, action: jax.Array, params: PyTree
  ) -> tuple[PyTree, jax.Array]:
    """Advances the game."""
    return self.env.advance(words, state, action, params)

  def observe(self, state: PyTree, params: PyTree) -> PyTree:
    """Returns the observation of a state."""
    if self.shown == "instead":
      return vector(state)
    shown = self.env.observe(state, params)
    return {"observation": shown, "state": vector(state)}


def vector(state: PyTree) -> jax.Array:
  """Returns the numbers of a state, without axes of a batch, as (n,) float32.

  Words of uint32, which boards are made of, become 32 numbers of 0 or 1 each.
  Random keys are left out.
  """
  parts = [
    _numbers(jnp.asarray(leaf)).reshape(-1)
    for leaf in jax.tree.leaves(state)
    if not jax.dtypes.issubdtype(jnp.asarray(leaf).dtype, jax.dtypes.prng_key)
  ]
  return jnp.concatenate([jnp.zeros((0,), jnp.float32), *parts])


def _numbers(x: jax.Array) -> jax.Array:
  if x.dtype == jnp.uint32:
    x = (x[..., None] >> jnp.arange(32, dtype=jnp.uint32)) & 1
  return x.astype(jnp.float32)
