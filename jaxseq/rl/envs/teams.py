"""Games of several agents that act at once and share the networks' parameters.

Such an environment has the interface of `protocol.Env` and an attribute
`num_agents`, and

- its spaces are those of one agent, equal for all of them;
- `step` takes the actions of all agents, with a leading axis of agents, and
  returns their rewards, (num_agents,); an episode ends for all of them at once;
- observations, also the last one of an episode, are an `Observation`.

A `base.Environment` with `num_agents` is one. PPO and PQN play it: each agent
is a row of their batch, with its own memory, beside those of all other
games. So every agent learns from its own observations, which is independent
learning (IPPO: de Witt et al., arXiv:2011.09533), unless the critic of PPO is
"central" (MAPPO: Yu et al., arXiv:2103.01955).

An agent that is out of the game continues with a mask that allows one action,
see `action_masks`: its policy then learns nothing from these steps.
"""

import dataclasses
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.rl.envs import protocol
from jaxseq.types import PyTree


class Observation(NamedTuple):
  """The observations of agents, and the state that their critic may see.

  Attributes:
    own: each agent's own observation. For a game, elements of the observation
      space, with a leading axis of agents; for one agent, its vector (..., d).
    state: for a game, a vector (s,) of the whole state, or None, to use the
      observations of all agents instead; for one agent, (..., s).
  """

  own: PyTree
  state: jax.Array | None


def vector(observation: PyTree) -> PyTree:
  """Returns one agent's own numbers and the state after them, (..., d + s).

  Anything but an `Observation` is returned unchanged.
  """
  if isinstance(observation, Observation):
    return jnp.concatenate(observation, axis=-1)
  return observation


def like(observation: PyTree, numbers: jax.Array) -> PyTree:
  """Returns `numbers` as an `Observation` if `observation` is one."""
  if isinstance(observation, Observation):
    size = observation.own.shape[-1]
    return Observation(numbers[..., :size], numbers[..., size:])
  return numbers


def team_mean(values: jax.Array, num_agents: int) -> jax.Array:
  """Returns the mean (num_games,) over each game's agents, from their rows."""
  if num_agents == 1:
    return values
  return values.reshape(-1, num_agents).mean(axis=1)


@dataclasses.dataclass(frozen=True)
class FirstAgent:
  """A game as its first agent sees it, whose action the others repeat.

  Its shapes are those that the game's spaces declare.

  Attributes:
    env: the game.
  """

  env: protocol.Env

  def __getattr__(self, name: str) -> Any:
    if name == "env" or name.startswith("__"):
      raise AttributeError(name)
    return getattr(self.env, name)

  def reset(self, key: jax.Array, params: PyTree) -> tuple[PyTree, PyTree]:
    """Returns the first agent's observation, and the state."""
    observation, state = self.env.reset(key, params)
    return self._first(observation.own), state

  def step(
    self, key: jax.Array, state: PyTree, action: PyTree, params: PyTree
  ) -> protocol.Step:
    """Plays one step, with one action for all."""
    count = self.env.num_agents
    repeated = jax.tree.map(
      lambda x: jnp.broadcast_to(x, (count, *jnp.shape(x))), action
    )
    observation, state, reward, *rest = self.env.step(
      key, state, repeated, params
    )
    return self._first(observation.own), state, self._first(reward), *rest

  def _first(self, tree):
    return jax.tree.map(lambda x: x[0], tree)
