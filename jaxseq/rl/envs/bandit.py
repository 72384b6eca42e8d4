"""MultiarmedBandit: find out which arm pays best, and pull it."""

import dataclasses
from typing import ClassVar

from flax import struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.rl.envs import base
from jaxseq.rl.envs import randomness
from jaxseq.rl.envs import spaces
from jaxseq.types import PyTree


@struct.dataclass
class EnvState(base.EnvState):
  """State of MultiarmedBandit.

  Attributes, beside those of `base.EnvState`:
    payouts: (num_arms,) float32, probability of each arm to pay.
    won: () int32, whether the last pull paid.
  """

  payouts: jax.Array
  won: jax.Array


@dataclasses.dataclass(frozen=True)
class MultiarmedBandit(base.Environment):
  """Pulls one of several arms that pay with different probabilities.

  The probabilities are drawn uniformly from [0, 1) for each episode. Each of L
  steps earns 1/L if the arm pays and -1/L if not, and shows 1 or 0. The
  first observation is 0. The episode is truncated after L steps.

  The rules are those of POPGym (Morad et al., arXiv:2303.01859).

  Attributes:
    num_arms: number of arms.
    max_steps: L, the time limit.
  """

  num_arms: int = 10
  max_steps: int = 200

  # Lost or won.
  observations = spaces.Discrete(2)
  step_words: ClassVar[int] = 1

  def __post_init__(self):
    validate.fields(self, positive=("num_arms", "max_steps"))

  @property
  def reset_words(self) -> int:
    """Random words of a reset, one for each arm."""
    return self.num_arms

  def start(self, words: jax.Array, params: PyTree) -> EnvState:
    """Draws the probabilities."""
    payouts = randomness.uniform(words)
    return EnvState(time=jnp.int32(0), payouts=payouts, won=jnp.int32(0))

  def advance(
    self, words: jax.Array, state: EnvState, action: jax.Array, params: PyTree
  ) -> tuple[EnvState, jax.Array]:
    """Plays one step; see the base class."""
    # A sum over the arms is cheaper than indexing, under vmap a gather.
    is_pulled = np.arange(self.num_arms, dtype=np.int32) == action
    payout = jnp.sum(jnp.where(is_pulled, state.payouts, 0))
    won = randomness.uniform(words[0]) < payout
    scale = jnp.float32(1 / self.max_steps)
    reward = jnp.where(won, scale, -scale)
    won = won.astype(jnp.int32)
    return state.replace(time=state.time + 1, won=won), reward

  def observe(self, state: EnvState, params: PyTree) -> jax.Array:
    """Returns whether the last pull paid, () int32."""
    return state.won

  def action_space(self, params: PyTree = None) -> spaces.Discrete:
    """The arms."""
    return spaces.Discrete(self.num_arms)
