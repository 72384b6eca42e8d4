"""Resets of an agent's weights, and the annealing between them.

Encoder and transition model are shrunk and perturbed (Ash and Adams,
arXiv:1910.08475), everything else is drawn anew: D'Oro et al., "Sample-
Efficient Reinforcement Learning by Breaking the Replay Ratio Barrier", ICLR
2023 (SR-SPR), and Schwarzer et al., arXiv:2305.19452 (BBF), which after each
reset lets n-step returns get shorter and the discount larger.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.spr import agent_networks
from jaxseq.spr import learner
from jaxseq.spr import q_heads

Array = jax.Array

# Parts of the parameters that are shrunk and perturbed. A memory is not among
# them: it stands behind the encoder, as the head does.
SHRUNK = ("encoder", "transition")


@dataclasses.dataclass(frozen=True)
class Config:
  """The times and sizes of resets; the defaults are those of BBF.

  Attributes:
    every: environment steps between resets.
    last: no reset comes after this environment step.
    shrink: factor on the old weights of encoder and transition model.
    perturb: factor on the new ones that are added to them.
  """

  every: int = 20_000
  last: int = 100_000
  shrink: float = 0.5
  perturb: float = 0.5

  def __post_init__(self):
    validate.positive("every", self.every)


@dataclasses.dataclass(frozen=True)
class Annealing:
  """n and the discount over the updates since a reset; as in BBF by default.

  Attributes:
    updates: number of updates until the final values are reached.
    first_steps: n at first.
    last_steps: n in the end.
    first_gamma: discount at first.
    last_gamma: discount in the end.
  """

  updates: int = 10_000
  first_steps: int = 10
  last_steps: int = 3
  first_gamma: float = 0.97
  last_gamma: float = 0.997

  def __post_init__(self):
    validate.fields(self, positive=("updates", "first_steps", "last_steps"))
    for name in ("first_gamma", "last_gamma"):
      value = getattr(self, name)
      if not 0 < value < 1:
        raise validate.error(name, value, "a number between 0 and 1")


def is_due(config: Config, step: int) -> bool:
  """Returns whether weights are reset after a step, counted from 1."""
  return 0 < step <= config.last and step % config.every == 0


def n_step_settings(
  config: Annealing, updates: int | Array
) -> tuple[Array, Array]:
  """Returns n and the discount after some updates since a reset.

  Both n and 1 - gamma move along straight lines of their logarithms. Before the
  first reset, `updates` counts from the start.

  Returns:
    n (int32) and gamma (floating), both of the shape of `updates`.
  """
  left = jnp.clip((config.updates - updates) / config.updates, 0, 1)

  def between(first, last):
    return jnp.exp(left * jnp.log(first / last)) * last

  steps = jnp.round(between(config.first_steps, config.last_steps))
  gamma = 1 - between(1 - config.first_gamma, 1 - config.last_gamma)
  return steps.astype(jnp.int32), gamma


def reset(
  key: Array, config: Config, agent: learner.Config, state: learner.State
) -> learner.State:
  """Resets an agent's weights.

  Online and target network get new weights of their own, a momentum copy those
  of the online network, and the optimizer starts anew, as in BBF's code; `step`
  goes on.
  """
  key_online, key_target, key_noise = jax.random.split(key, 3)
  params = agent_networks.init(key_online, agent.networks)
  target = agent_networks.init(key_target, agent.networks)
  target = {name: target[name] for name in state.target}
  started = learner.start(
    agent,
    _mix(config, state.params, params),
    q_heads.draw_noise(key_noise, agent.networks.head),
  )
  return started._replace(
    target=_mix(config, state.target, target), step=state.step
  )


def _mix(config, old, new):
  """Shrinks and perturbs some parts; the others are those of `new`."""

  def mix(a, b):
    return (config.shrink * a + config.perturb * b).astype(a.dtype)

  return {
    name: jax.tree.map(mix, old[name], part) if name in SHRUNK else part
    for name, part in new.items()
  }
