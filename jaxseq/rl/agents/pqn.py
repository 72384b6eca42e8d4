"""Recurrent Q-learning without replay or target network: init, update, train.

Called as `ppo` is. Gallici et al., "Simplifying Deep Temporal Difference
Learning", arXiv:2407.04460 (PQN): many environments are played in parallel,
epsilon-greedily, and the values learn Q(lambda) targets of that rollout: the
returns of `losses.advantages.gae` with the value of the best action as the
value of an observation. Normalized layers replace the target network: leave
`network.stack.norm` at "layer" or "rms".
"""

from collections.abc import Mapping
import dataclasses
import types
from typing import Any
from typing import ClassVar
from typing import Literal

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.rl import networks
from jaxseq.rl import q_networks
from jaxseq.rl.agents import common
from jaxseq.rl.agents import on_policy
from jaxseq.rl.agents import on_policy_agent
from jaxseq.rl.agents import value_losses
from jaxseq.rl.losses import td
from jaxseq.types import PyTree

Array = jax.Array
RunnerState = on_policy.RunnerState

_NETWORK = dataclasses.replace(
  networks.GENERAL,
  stack=dataclasses.replace(
    networks.GENERAL.stack, norm="layer", final_norm=True
  ),
)


@dataclasses.dataclass(frozen=True)
class Config(on_policy.Config, common.Exploration, value_losses.Options):
  """Configuration of a training run, except its random key.

  The environment must have a `Discrete` action space. The defaults learn from
  rewards of any size on a laptop; comparisons use `published` unless they
  override it.

  Attributes, beside those of `on_policy.Config`, `common.Exploration` and
  `value_losses.Options`:
    dueling: whether values and advantages have separate heads.
  """

  published: ClassVar[Mapping[str, Any]] = types.MappingProxyType(
    {
      "network": networks.Config(),
      "num_envs": 64,
      "total_steps": 15_000_000,
      "learning_rate": 5e-5,
      "reward_normalization": "none",
      "rollout_length": 1024,
      "num_minibatches": 8,
    }
  )

  network: networks.Config = _NETWORK
  num_envs: int = 16
  total_steps: int = 200_000
  learning_rate: float = 1e-3
  reward_normalization: Literal["none", "returns"] = "returns"
  rollout_length: int = 128
  num_epochs: int = 4
  num_minibatches: int = 4
  gae_lambda: float = 0.65
  max_grad_norm: float = 10.0
  dueling: bool = True

  def __post_init__(self):
    on_policy.Config.__post_init__(self)
    common.Exploration.__post_init__(self)
    value_losses.Options.__post_init__(self)
    if self.value_loss == "c51":
      why = "targets of Q(lambda) are numbers and not distributions"
      expected = f"'squared' or 'hl_gauss': {why}"
      raise validate.error("value_loss", self.value_loss, expected)


def loss(
  config: Config,
  network: q_networks.QNetwork,
  variables: PyTree,
  batch: on_policy.Batch,
) -> tuple[Array, dict[str, Array]]:
  """Returns the mean loss of a minibatch's values, and its metrics.

  These are `loss`, `td_error` (mean absolute) and `q_value` (of the actions
  taken), and `value_clipped` if values are histograms, see
  `value_losses.Options`.
  """

  def read(actor, value, action):
    del value
    outputs = actor.values, actor.logits
    return jax.tree.map(lambda x: td.take_action(x, action), outputs)

  q, logits = on_policy.replay(config, network, variables, batch, read)
  error = batch.returns - q
  losses, metrics = value_losses.step_losses(
    config.support, error, logits, batch.returns
  )
  total = losses.mean()
  return total, {
    "loss": total,
    "td_error": jnp.abs(error).mean(),
    "q_value": q.mean(),
    **{name: x.mean() for name, x in metrics.items()},
  }


_agent = on_policy_agent.make(common.q_network, loss)
player = _agent.player
init = _agent.init
update = _agent.update
train = _agent.train
