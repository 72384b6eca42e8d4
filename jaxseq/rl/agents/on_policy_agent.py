"""The functions of an on-policy agent.

An algorithm on `on_policy` is its `Config`, its network and its loss, and

    _agent = on_policy_agent.make(_network, loss)
    player, init = _agent.player, _agent.init
    update, train = _agent.update, _agent.train

as `ppo` and `pqn` are.
"""

from collections.abc import Callable
from collections.abc import Mapping
import functools
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.rl import actions
from jaxseq.rl import networks
from jaxseq.rl import q_networks
from jaxseq.rl import rollout
from jaxseq.rl.agents import common
from jaxseq.rl.agents import on_policy
from jaxseq.types import PyTree

Array = jax.Array
Update = Callable[..., tuple[on_policy.RunnerState, dict[str, Array]]]


class Agent(NamedTuple):
  """The functions of an agent, see `algorithms.Algorithm`."""

  player: Callable[[Any], rollout.Player]
  init: Callable[[Any, Array], on_policy.RunnerState]
  update: Update
  train: Update


def make(
  network: Callable[[Any, actions.Spec], networks.Policy],
  loss: on_policy.Loss,
  beside: Callable[[Any], Mapping[str, PyTree]] = lambda config: {},
) -> Agent:
  """Builds the functions of an agent from its network and its loss.

  It explores if its configuration has the fields of `common.Exploration`.

  Args:
    network: from a configuration and the actions of its environment.
    loss: of a minibatch.
    beside: from a configuration to further variables, see `on_policy.init`.
  """

  def player(config):
    """Returns the environment of a configuration and the network to play it.

    Raises:
      ValueError: if the environment or an option is unknown, if the network
        does not fit the actions, or if `returns_per_trial` is set but episodes
        have no trials.
    """
    players = common.player(config, functools.partial(network, config))
    return on_policy.check_trials(config, players)

  @functools.partial(jax.jit, static_argnums=0)
  def init(config, key):
    """Returns the state before the first update; raises what `player` raises.

    Compiled on its own: do not jit it together with `train`.
    """
    first = {**beside(config), **common.exploring(config, jnp.int32(0))}
    return on_policy.init(config, player(config), key, first)

  @functools.partial(jax.jit, static_argnums=0)
  def update(config, runner, overrides=None):
    """Plays one rollout and learns from it.

    Args:
      config: the configuration.
      runner: the state before the update.
      overrides: replacements for numbers of the configuration, see
        `common.override`.

    Returns:
      The new state and a dict of scalars, see `on_policy.update`, with the loss
      metrics, and the `epsilon` of this update if the agent explores.

    Raises:
      UserError: (a ValueError) the devices of a mesh do not divide the number
        of the environments of a minibatch.
    """
    config = common.override(config, overrides)
    exploring = common.exploring(config, runner.num_updates)
    runner = runner._replace(variables={**runner.variables, **exploring})
    runner, metrics = on_policy.update(config, player(config), runner, loss)
    return runner, metrics | exploring.get(q_networks.EXPLORATION, {})

  return Agent(player, init, update, common.make_train(update))
