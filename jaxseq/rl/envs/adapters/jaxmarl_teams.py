"""Environments of JaxMARL whose agents all learn, with shared parameters.

    envs.make("jaxmarl/MPE_simple_spread_v3", players="team")

JaxMARL has a dictionary entry for each agent; here each agent is a row.
"""

import dataclasses

import jax.numpy as jnp

from jaxseq.rl.envs import action_masks
from jaxseq.rl.envs import foreign
from jaxseq.rl.envs import spaces
from jaxseq.rl.envs import teams

# Keys of the agent's index, and of the state of the whole game.
AGENT, _STATE = "agent", "world_state"


@dataclasses.dataclass(frozen=True, eq=False)
class Team(foreign.Foreign):
  """A game of several agents, see `envs.teams`.

  Attributes, beside those of `foreign.Foreign`:
    num_agents: number of agents.
  """

  num_agents: int


def of_team(game: object, limit: int, team_reward: bool = False) -> Team:
  """Returns an environment of JaxMARL with a row for each agent.

  Each agent sees {"agent": its index, "observation": ...}, and if actions are
  choices an "action_mask": that of the library's `get_avail_actions`; without
  this function, one that allows an agent that is out of the game only the
  first action. The state is the library's `world_state`, if it has one.

  Args:
    game: from `jaxmarl.make`; its agents have spaces of one shape.
    limit: steps after which an episode is truncated.
    team_reward: whether each agent earns the mean reward of all.

  Raises:
    ValueError: if the spaces of the agents differ.
  """
  names = tuple(game.agents)
  observed, action = (
    _shared(names, space, noun)
    for space, noun in (
      (game.observation_space, "observations"),
      (game.action_space, "actions"),
    )
  )
  number = spaces.Discrete(len(names))
  shown = {AGENT: number, action_masks.OBSERVATION: observed}
  space, size = spaces.Dict(shown), getattr(action, "n", 0)
  if size:
    masks = action_masks.with_mask(observed, size).spaces
    space = spaces.Dict(shown | dict(masks))

  def stack(by_name):
    return jnp.stack([jnp.asarray(by_name[name]) for name in names])

  def show(observations, state, out):
    seen = stack(observations).astype(observed.dtype)
    observation = {
      AGENT: jnp.arange(len(names)),
      action_masks.OBSERVATION: seen,
    }
    if size:
      observation[action_masks.MASK] = _mask(game, stack, state, out, size)
    return teams.Observation(observation, observations.get(_STATE))

  def begin(key):
    observations, state = game.reset(key)
    out = jnp.zeros(len(names), bool)
    return show(observations, state, out), (jnp.int32(0), out, state)

  def play(key, task_state, actions):
    time, out, state = task_state
    observations, after, rewards, dones, _ = game.step_env(
      key, state, dict(zip(names, actions))
    )
    # The library terminates the game at the time limit, for all agents; here
    # the limit truncates it.
    cut = time + 1 >= limit
    out |= stack(dones).astype(bool) & ~cut
    reward = stack(rewards).astype(jnp.float32).reshape(len(names))
    if team_reward:
      reward = jnp.broadcast_to(reward.mean(), reward.shape)
    over = jnp.asarray(dones["__all__"], bool) & ~cut
    seen = show(observations, after, out)
    return foreign.Played(seen, (time + 1, out, after), reward, over)

  played = limit, begin, play, len(names)
  return Team(game.name, space, action, *played)


def _mask(game, stack, state, out, size):
  """Returns the masks of allowed actions, (num_agents, size) bool."""
  try:
    return stack(game.get_avail_actions(state)).astype(bool)
  except NotImplementedError:
    return (jnp.arange(size) == 0) | ~out[:, None]


def _shared(names, space_of, noun):
  """Returns the common space of all agents."""
  found = [foreign.convert(space_of(name)) for name in names]
  if len({spaces.signature(space) for space in found}) > 1:
    listed = ", ".join(f"{n}: {space}" for n, space in zip(names, found))
    raise ValueError(
      f"players: got 'team' where {noun} differ ({listed}), expected agents"
      " with the same spaces, which share a network. Name one agent, or leave"
      " players out."
    )
  return found[0]
