"""Recurrent PPO as pure functions: init, update, train.

All of them can be jitted and vmapped over seeds, with the configuration
static. A whole run is one program,

    runner = ppo.init(config, key)
    runner, metrics = ppo.train(config, runner, config.num_updates)

or chunks of updates with logging and checkpoints between them. Learning rates
and coefficients may differ between runs of a program, see `common.override`.

The loop, `on_policy.update`, is that of Lu et al., "Structured State Space
Models for In-Context Reinforcement Learning", arXiv:2303.03982, with one
addition: an episode that is cut off by a time limit is bootstrapped from the
value of its last observation. PPO is from Schulman et al., arXiv:1707.06347.
"""

from collections.abc import Mapping
import dataclasses
import functools
import types
from typing import Any
from typing import ClassVar
from typing import Literal

import jax

from jaxseq import _validate
from jaxseq.rl import networks
from jaxseq.rl import rollout
from jaxseq.rl.agents import common
from jaxseq.rl.agents import on_policy
from jaxseq.rl.losses import policy

Array = jax.Array
RunnerState = on_policy.RunnerState


@dataclasses.dataclass(frozen=True)
class Config(on_policy.Config):
  """Everything that a training run depends on, except its key.

  The defaults learn from rewards of any size, with or without need of a
  memory, on a laptop: see docs/results/ppo_defaults.md. `published` has those
  of Lu et al.:

      ppo.Config(**{**ppo.Config.published, "env_id": "CountRecallEasy"})

  Attributes, beside those of `on_policy.Config`:
    clip: range of the probability ratio, and of the value if `clip_value`.
    clip_value: whether the value loss is clipped.
    normalize_advantage: whether advantages are normalized in each minibatch.
    value_coef: weight of the value loss.
    entropy_coef: weight of the entropy bonus.
    critic: whether the values share the policy's memory, see
      `networks.ActorCritic`.
  """

  traced: ClassVar[tuple[str, ...]] = (
    *on_policy.Config.traced,
    "clip",
    "value_coef",
    "entropy_coef",
  )

  published: ClassVar[Mapping[str, Any]] = types.MappingProxyType(
    {
      "network": networks.Config(),
      "num_envs": 64,
      "total_steps": 15_000_000,
      "learning_rate": 5e-5,
      "reward_normalization": "none",
      "rollout_length": 1024,
      "num_epochs": 30,
      "num_minibatches": 8,
      "gae_lambda": 1.0,
      "entropy_coef": 0.0,
      "critic": "shared",
    }
  )

  network: networks.Config = networks.GENERAL
  num_envs: int = 16
  total_steps: int = 1_000_000
  learning_rate: float = 2e-3
  reward_normalization: Literal["none", "returns"] = "returns"
  rollout_length: int = 128
  num_epochs: int = 4
  num_minibatches: int = 4
  gae_lambda: float = 0.95
  clip: float = 0.2
  clip_value: bool = True
  normalize_advantage: bool = True
  value_coef: float = 1.0
  entropy_coef: float = 0.01
  critic: networks.Critic = "separate"

  def __post_init__(self):
    super().__post_init__()
    _validate.fields(
      self,
      above_zero=("clip",),
      not_negative=("value_coef", "entropy_coef"),
    )


def player(config: Config) -> rollout.Player:
  """Returns the environment of a configuration and the network to play it.

  Raises:
    ValueError: if the environment or an option is unknown, if the policy has
      no head for its action space, or if trials are asked for where episodes
      have none.
  """
  network = functools.partial(
    networks.ActorCritic, config.network, critic=config.critic
  )
  return on_policy.check_trials(config, common.player(config, network))


@functools.partial(jax.jit, static_argnums=0)
def init(config: Config, key: Array) -> RunnerState:
  """Returns the state before the first update; raises what `player` raises.

  Compiled on its own: jit it apart from `train`.
  """
  return on_policy.init(config, player(config), key)


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
    The new state and a dict of scalars, see `on_policy.update`, with those of
    `losses.policy.ppo` and the `loss`.

  Raises:
    UserError: (a ValueError) the devices of a mesh do not divide the number
      of the environments of a minibatch.
  """
  config = common.override(config, overrides)
  return on_policy.update(config, player(config), runner, loss)


train = common.make_train(update)


def loss(
  config: Config,
  network: networks.Policy,
  variables: dict,
  batch: on_policy.Batch,
) -> tuple[Array, dict[str, Array]]:
  """Returns the loss of a minibatch and its parts, see `losses.policy.ppo`."""

  def read(actor, value, action):
    return actor.log_prob(action), actor.entropy(), value

  taken = batch.transition
  total, metrics = policy.ppo(
    *on_policy.replay(config, network, variables, batch, read),
    old_log_prob=taken.log_prob,
    old_v=taken.value,
    advantages=batch.advantages,
    returns=batch.returns,
    clip=config.clip,
    value_coef=config.value_coef,
    entropy_coef=config.entropy_coef,
    clip_value=config.clip_value,
    normalize_advantage=config.normalize_advantage,
  )
  return total, metrics | {"loss": total}
