"""JaxMARL's environments for a single player: "jaxmarl/MPE_simple_spread_v3".

Either one agent is played and the others choose at random, or one player plays
all of them. They need the package `jaxmarl`. Rutherford et al., "JaxMARL",
arXiv:2311.10090.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from jaxseq import _validate
from jaxseq._types import PyTree
from jaxseq.rl.envs import foreign
from jaxseq.rl.envs import spaces


@dataclasses.dataclass(frozen=True, eq=False)
class OneAgent(foreign.Foreign):
  """One agent among others, whose actions are drawn uniformly.

  Attributes:
    team: the library's environment.
    agent: the name of the agent.
    limit: the time limit, of which the library makes an end.
  """

  team: Any
  agent: str
  limit: int

  @property
  def max_steps(self) -> int:
    """The time limit."""
    return self.limit

  @property
  def name(self) -> str:
    """The library's name of the environment."""
    return self.team.name

  def observation_space(self, params: PyTree = None) -> spaces.Space:
    """The space of what the agent sees."""
    return foreign.convert(self.team.observation_space(self.agent))

  def action_space(self, params: PyTree = None) -> spaces.Space:
    """The space of the agent's actions."""
    return foreign.convert(self.team.action_space(self.agent))

  def begin(self, key: jax.Array, params: PyTree) -> tuple[PyTree, PyTree]:
    """Returns the agent's first observation."""
    observations, task_state = self.team.reset(key)
    return self._seen(observations), task_state

  def play(
    self, key: jax.Array, task_state: PyTree, action: PyTree, params: PyTree
  ) -> foreign.Played:
    """Plays one step of all agents."""
    key_step, key_actions = jax.random.split(key)
    observations, after, rewards, dones, _ = self.team.step_env(
      key_step, task_state, self._actions(key_actions, action)
    )
    cut = getattr(after, "step", -1) >= self.limit
    over = self._over(dones) & ~jnp.asarray(cut)
    return foreign.Played(
      self._seen(observations), after, self._earned(rewards), over
    )

  def _actions(self, key, action):
    names = self.team.agents
    keys = dict(zip(names, jax.random.split(key, len(names))))
    drawn = {n: self.team.action_space(n).sample(keys[n]) for n in names}
    return drawn | {self.agent: action}

  def _seen(self, observations):
    space = self.observation_space()
    return jnp.asarray(observations[self.agent]).astype(space.dtype)

  def _earned(self, rewards):
    return rewards[self.agent]

  def _over(self, dones):
    return dones["__all__"] | dones[self.agent]


@dataclasses.dataclass(frozen=True, eq=False)
class AllAgents(OneAgent):
  """All agents as one player, which earns the mean of what they earn.

  Observations are dictionaries by agent; an action is a choice for each, in the
  order of the library's `agents`.
  """

  def observation_space(self, params: PyTree = None) -> spaces.Space:
    """The space of what each agent sees."""
    names = self.team.agents
    seen = {n: foreign.convert(self.team.observation_space(n)) for n in names}
    return spaces.Dict(seen)

  def action_space(self, params: PyTree = None) -> spaces.Space:
    """A choice for each agent."""
    parts = [
      foreign.convert(self.team.action_space(n)) for n in self.team.agents
    ]
    if not all(isinstance(part, spaces.Discrete) for part in parts):
      raise _validate.error(
        "agent", None, "the name of one: actions are no choices"
      )
    return spaces.MultiDiscrete([part.n for part in parts])

  def _actions(self, key, action):
    return dict(zip(self.team.agents, action))

  def _seen(self, observations):
    space = self.observation_space()
    return {
      name: jnp.asarray(observations[name]).astype(part.dtype)
      for name, part in space.spaces.items()
    }

  def _earned(self, rewards):
    return jnp.stack([rewards[name] for name in self.team.agents]).mean()

  def _over(self, dones):
    return dones["__all__"]


@functools.cache
def make(name: str, *, agent: str | None = None, **options: Any) -> OneAgent:
  """Returns a view of an environment of JaxMARL.

  Args:
    name: one that `jaxmarl.make` knows.
    agent: which agent is played; None for all of them as one player.
    **options: of the library's `make`.

  Raises:
    ValueError: there is no such environment or agent.
    ModuleNotFoundError: the package is not installed.
  """
  library = foreign.needs("JaxMARL", "jaxmarl")
  with jax.ensure_compile_time_eval():
    team = library.make(name, **options)
  limit = int(getattr(team, "max_steps", 2**30))
  if agent is None:
    view = AllAgents(team, "", limit)
    view.action_space()
    return view
  _validate.choice("agent", agent, tuple(team.agents))
  return OneAgent(team, agent, limit)
