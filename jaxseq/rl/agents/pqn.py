"""Recurrent Q-learning without replay or target network: init, update, train.

Called as `ppo` is. Gallici et al., "Simplifying Deep Temporal Difference
Learning", arXiv:2407.04460 (PQN): many environments are played side by side,
epsilon-greedily, and the values learn Q(lambda) targets of that rollout, which
are the returns of `losses.advantages.gae` where the value of an observation is
that of its best action. Normalized layers take the place of a target network:
leave `network.stack.norm` at "layer" or "rms".
"""

from collections.abc import Mapping
import dataclasses
import functools

import jax
import jax.numpy as jnp

from jaxseq._types import PyTree
from jaxseq.rl import q_networks
from jaxseq.rl import rollout
from jaxseq.rl.agents import common
from jaxseq.rl.agents import on_policy
from jaxseq.rl.losses import td

Array = jax.Array
RunnerState = on_policy.RunnerState


@dataclasses.dataclass(frozen=True)
class Config(on_policy.Config, common.Exploration):
  """Everything that a training run depends on, except its key.

  The environment must have a `Discrete` action space.

  Attributes, beside those of `on_policy.Config` and `common.Exploration`:
    dueling: whether values and advantages have a head each.
  """

  num_epochs: int = 4
  gae_lambda: float = 0.65
  max_grad_norm: float = 10.0
  dueling: bool = True

  def __post_init__(self):
    on_policy.Config.__post_init__(self)
    common.Exploration.__post_init__(self)


def player(config: Config) -> rollout.Player:
  """Returns the environment of a configuration and the network to play it.

  Raises:
    ValueError: if the environment or an option is unknown, if its action is
      not one choice, or if trials are asked for where episodes have none.
  """
  return on_policy.check_trials(config, common.q_player(config, config.dueling))


@functools.partial(jax.jit, static_argnums=0)
def init(config: Config, key: Array) -> RunnerState:
  """Returns the state before the first update; raises what `player` raises.

  Compiled on its own: jit it apart from `train`.
  """
  first = _exploring(config, jnp.int32(0))
  return on_policy.init(config, player(config), key, first)


@functools.partial(jax.jit, static_argnums=0)
def update(
  config: Config,
  runner: RunnerState,
  overrides: Mapping[str, Array] | None = None,
) -> tuple[RunnerState, dict[str, Array]]:
  """Plays one rollout and learns from it.

  Args:
    config: the configuration.
    runner: the state before the update.
    overrides: numbers in place of those of the configuration, see
      `common.override`.

  Returns:
    The new state and a dict of scalars, see `on_policy.update`, with `loss`,
    `td_error` (mean size), `q_value` (of what was done) and the `epsilon` of
    this update.
  """
  config = common.override(config, overrides)
  exploring = _exploring(config, runner.num_updates)
  runner = runner._replace(variables={**runner.variables, **exploring})
  runner, metrics = on_policy.update(config, player(config), runner, loss)
  return runner, metrics | exploring[q_networks.EXPLORATION]


train = common.make_train(update)


def _exploring(config, num_updates):
  """The variables by which the network explores after so many updates."""
  epsilon = common.exploration(config, num_updates)
  return {q_networks.EXPLORATION: {"epsilon": epsilon}}


def loss(
  config: Config,
  network: q_networks.QNetwork,
  variables: PyTree,
  batch: on_policy.Batch,
) -> tuple[Array, dict[str, Array]]:
  """Returns half the mean squared error of a minibatch, and its metrics."""

  def read(actor, value, action):
    del value
    return td.take_action(actor.values, action)

  q = on_policy.replay(config, network, variables, batch, read)
  error = batch.returns - q
  total = 0.5 * jnp.square(error).mean()
  return total, {
    "loss": total,
    "td_error": jnp.abs(error).mean(),
    "q_value": q.mean(),
  }
