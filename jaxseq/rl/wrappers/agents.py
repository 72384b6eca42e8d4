"""Observations of several agents, each with its own history."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp

from jaxseq.rl.envs import action_masks
from jaxseq.rl.envs import spaces
from jaxseq.rl.envs import teams
from jaxseq.rl.wrappers import history
from jaxseq.types import PyTree


@dataclasses.dataclass(frozen=True)
class AgentHistory(history.FlattenHistory):
  """The observations of `FlattenHistory` for each agent of a game.

  They have a leading axis of agents. The reward of a step is the mean over the
  agents, and `info["rewards"]` holds the reward of each, (num_agents,).

  Attributes:
    env: a game of several agents, see `envs.teams`.
    previous_action: see `FlattenHistory`.
    first_step: see `FlattenHistory`.
    mask_in_observation: see `FlattenHistory`.
    action_bounds: see `FlattenHistory`.
    shows_state: whether each agent's vector is an `envs.teams.Observation`,
      which also has the state for a critic: that of the game, or the
      observations of all agents, concatenated, if the game has no state.
  """

  shows_state: bool = False

  def _step(self, key, state, action, params):
    observation, state, reward, *ends, info = super()._step(
      key, state, action, params
    )
    info = {**info, "rewards": reward}
    return observation, state, reward.mean(), *ends, info

  def observation_space(self, params: PyTree = None) -> spaces.Space:
    """The space of one agent's observations."""
    space = super().observation_space(params)
    if not self.shows_state:
      return space
    params = self._or_default(params)
    key = jax.eval_shape(lambda: jax.random.key(0))
    seen, _ = jax.eval_shape(lambda key: self._reset(key, params), key)
    size = action_masks.split(seen)[0].state.shape[-1]
    state = spaces.Box(-math.inf, math.inf, (size,))
    view = action_masks.shown(space)
    return action_masks.like(space, spaces.Dict({"own": view, "state": state}))

  def _flat_action(self, action, params):
    flatten = super()._flat_action
    return jax.vmap(lambda each: flatten(each, params))(action)

  def _flatten(self, observation, action, first, params):
    """Returns the agents' observations, each with its history."""
    count, views = self.env.num_agents, observation.own
    before = jnp.broadcast_to(action, (count, action.shape[-1]))
    flatten = super()._flatten
    flat = jax.vmap(lambda *each: flatten(*each, first, params))(views, before)
    if not self.shows_state:
      return flat
    state = observation.state
    if state is None:
      space = self.shown_space(params)
      seen = views if self.mask_in_observation else action_masks.split(views)[0]
      state = jax.vmap(functools.partial(spaces.flatten, space))(seen)
    state = jnp.broadcast_to(state.reshape(-1), (count, state.size))
    flat, mask = action_masks.split(flat)
    shown = teams.Observation(flat, state.astype(flat.dtype))
    return action_masks.join(shown, mask)
