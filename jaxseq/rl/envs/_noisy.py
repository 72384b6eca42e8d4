"""Noisy observations, for control tasks."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.rl.envs import base
from jaxseq.rl.envs import randomness
from jaxseq.types import PyTree


@dataclasses.dataclass(frozen=True)
class Noisy(base.Environment):
  """Adds noise to observations; a mixin to list before the environment class.

  Independent normal noise is added to every observation, the first included,
  and the sum is clipped to the observation space. The environment's state needs
  a field `noise`, in the shape of an observation.

  Attributes:
    noise_sigma: standard deviation of the noise.
  """

  noise_sigma: float = 0.1

  # As many as the size of an observation.
  step_words: ClassVar[int] = 2

  def __post_init__(self):
    super().__post_init__()
    validate.number("noise_sigma", self.noise_sigma, 0)

  @property
  def reset_words(self) -> int:
    """Random words of a reset, those of the noise last."""
    return super().reset_words + self.step_words

  def start(self, words: jax.Array, params: PyTree) -> PyTree:
    """Starts an episode; see the environment."""
    state = super().start(words[: -self.step_words], params)
    return state.replace(noise=self._noise(words[-self.step_words :]))

  def advance(
    self, words: jax.Array, state: PyTree, action: jax.Array, params: PyTree
  ) -> tuple[PyTree, jax.Array]:
    """Plays one step; see the environment."""
    state = state.replace(noise=self._noise(words))
    return super().advance(words, state, action, params)

  def observe(self, state: PyTree, params: PyTree) -> jax.Array:
    """Returns the environment's observation with noise, float32."""
    space = self.observation_space(params)
    exact = super().observe(state, params)
    return jnp.clip(exact + state.noise, space.low, space.high)

  def _noise(self, words):
    return randomness.normal(words, self.noise_sigma)
