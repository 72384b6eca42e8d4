"""What the algorithms have in common beside playing."""

import math
from typing import Literal
from typing import Protocol

import jax
import optax

from jaxseq import _validate
from jaxseq.rl import networks
from jaxseq.rl import rollout
from jaxseq.training import optimizers
from jaxseq.training import recipes

Array = jax.Array


class OptimizerOptions(Protocol):
  """The fields of a configuration that the optimiser depends on.

  Attributes:
    network: of whose mixers some parameters are a group of their own.
    learning_rate: of Adam.
    learning_rate_schedule: "constant", or "linear" to 0 over the run.
    ssm_learning_rate_factor: multiplies the learning rate of that group.
    max_grad_norm: gradients are scaled down to this global norm.
    adam_epsilon: of Adam.
  """

  network: networks.Config
  learning_rate: float
  learning_rate_schedule: Literal["constant", "linear"]
  ssm_learning_rate_factor: float
  max_grad_norm: float
  adam_epsilon: float


def check_optimizer(config: OptimizerOptions) -> None:
  """Checks what `make_optimizer` depends on.

  Args:
    config: the configuration.

  Raises:
    ValueError: an option is out of its range, or the mixer has no group.
  """
  _validate.fields(
    config,
    above_zero=(
      "learning_rate",
      "ssm_learning_rate_factor",
      "max_grad_norm",
      "adam_epsilon",
    ),
  )
  _validate.literals(config)
  factor, stack = config.ssm_learning_rate_factor, config.network.stack
  if factor != 1 and not stack.ssm_parameters:
    raise ValueError(
      f"ssm_learning_rate_factor: got {factor}, expected 1: the mixer"
      f" {stack.mixer!r} names no parameters for a group of their own."
    )


def make_optimizer(
  config: OptimizerOptions, num_steps: int
) -> optax.GradientTransformation:
  """Returns Adam with a clipped global norm, the recurrence in its own group.

  Args:
    config: the configuration.
    num_steps: optimiser steps of the whole run.
  """
  options = {
    "learning_rate": config.learning_rate,
    "schedule": config.learning_rate_schedule,
    "total_steps": num_steps,
    "eps": config.adam_epsilon,
    "max_grad_norm": config.max_grad_norm,
  }
  factor = config.ssm_learning_rate_factor
  if factor == 1:
    return optimizers.make_optimizer(optimizers.Config(**options))
  names = config.network.stack.ssm_parameters
  return optimizers.make_optimizer(recipes.slow_ssm(names, factor, **options))


def can_truncate(player: rollout.Player) -> bool:
  """Whether some episode may reach the time limit before its natural end."""
  natural = getattr(player.env, "num_steps", math.inf)
  return natural >= player.env_params.max_steps_in_episode


def episode_metrics(transition: rollout.Transition) -> dict[str, Array]:
  """Returns means over the episodes that ended, NaN if none did.

  Args:
    transition: with any leading axes.

  Returns:
    Scalars: the number of `episodes`, `episode_return` and `episode_length`.
  """
  ended = transition.terminated | transition.truncated
  return {
    "episodes": ended.sum(),
    "episode_return": transition.episode_return.mean(where=ended),
    "episode_length": transition.episode_length.mean(where=ended),
  }
