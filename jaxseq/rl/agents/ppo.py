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
import types
from typing import Any
from typing import ClassVar
from typing import Literal

import jax

from jaxseq import validate
from jaxseq.rl import networks
from jaxseq.rl import popart
from jaxseq.rl import rollout
from jaxseq.rl.agents import on_policy
from jaxseq.rl.agents import on_policy_agent
from jaxseq.rl.losses import policy

Array = jax.Array
RunnerState = on_policy.RunnerState


@dataclasses.dataclass(frozen=True)
class Config(on_policy.Config):
  """Configuration of a training run, except its random key.

  The defaults learn from rewards of any size, in environments that need a
  memory or not, on a laptop: see docs/results/in_context_rl.md. `published` has
  the values of Lu et al.:

      ppo.Config(**{**ppo.Config.published, "env_id": "CountRecallEasy"})

  Attributes, beside those of `on_policy.Config`:
    reward_normalization: with "popart" rewards are not changed, and the critic
      learns normalized targets, see `popart`; `value_rms` and `target_rms` are
      in these units, and advantages are divided by the scale of the targets.
    clip: range of the probability ratio, and of the value if `clip_value`.
    clip_value: whether the value loss is clipped.
    normalize_advantage: whether advantages are normalized in each minibatch.
    min_advantage_std: the least standard deviation that advantages are divided
      by, in units of the values. Without it the noise of a solved task is as
      large as any advantage, and an update can destroy the policy.
    value_coef: weight of the value loss.
    entropy_coef: weight of the entropy bonus.
    critic: whether the values share the policy's memory, see
      `networks.ActorCritic`. With several agents "central" is MAPPO, and any
      other value is IPPO, see `envs.teams`.
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
      "scale_actions": False,
      "num_envs": 64,
      "total_steps": 15_000_000,
      "learning_rate": 5e-5,
      "learning_rate_schedule": "constant",
      "adam_epsilon": 1e-5,
      "min_advantage_std": 0.0,
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
  scale_actions: bool = True
  num_envs: int = 16
  total_steps: int = 1_000_000
  learning_rate: float = 2e-3
  learning_rate_schedule: Literal["constant", "linear"] = "linear"
  # The policy's gradient is often small; 1e-5 slows learning to remember.
  adam_epsilon: float = 1e-7
  reward_normalization: Literal["none", "returns", "popart"] = "returns"
  rollout_length: int = 128
  num_epochs: int = 4
  num_minibatches: int = 4
  gae_lambda: float = 0.95
  clip: float = 0.2
  clip_value: bool = True
  normalize_advantage: bool = True
  min_advantage_std: float = 0.1
  value_coef: float = 1.0
  entropy_coef: float = 0.01
  critic: networks.Critic = "separate"

  def __post_init__(self):
    super().__post_init__()
    validate.fields(
      self,
      above_zero=("clip",),
      not_negative=("min_advantage_std", "value_coef", "entropy_coef"),
    )

  @property
  def agents(self) -> rollout.Agents:
    """The view of games of several agents; a central critic sees the state."""
    return "central" if self.critic == "central" else super().agents


def _network(config, spec):
  """Returns the network for an action spec."""
  return networks.ActorCritic(config.network, spec, critic=config.critic)


def _beside(config):
  """Returns the variables in addition to the network's."""
  on = config.reward_normalization == "popart"
  return {popart.COLLECTION: popart.initial()} if on else {}


def loss(
  config: Config,
  network: networks.Policy,
  variables: dict,
  batch: on_policy.Batch,
) -> tuple[Array, dict[str, Array]]:
  """Returns the loss of a minibatch and its parts, see `losses.policy.ppo`."""

  def read(actor, value, action):
    value = popart.normalize(variables, value)
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
    min_advantage_std=config.min_advantage_std,
  )
  return total, metrics | {"loss": total}


_agent = on_policy_agent.make(_network, loss, _beside)
player = _agent.player
init = _agent.init
update = _agent.update
train = _agent.train
