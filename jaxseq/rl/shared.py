"""What the algorithms have in common beside playing."""

import math
from typing import Any
from typing import Literal
from typing import Protocol

import jax
import optax

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


def check_fields(
  config: Any,
  *,
  positive: tuple[str, ...] = (),
  shares: tuple[str, ...] = (),
  not_negative: tuple[str, ...] = (),
) -> None:
  """Checks numbers of a configuration.

  Args:
    config: the configuration.
    positive: names of fields above 0.
    shares: names of fields from 0 to 1.
    not_negative: names of fields that are 0 or more.

  Raises:
    ValueError: a number is none of these; NaN is not.
  """
  for names, holds, expected in (
    (positive, lambda x: x > 0, "more than 0"),
    (shares, lambda x: 0 <= x <= 1, "0 to 1"),
    (not_negative, lambda x: x >= 0, "0 or more"),
  ):
    for name in names:
      value = getattr(config, name)
      if not holds(value):
        raise ValueError(f"{name}: got {value}, expected {expected}.")


def check_optimizer(config: OptimizerOptions) -> None:
  """Checks what `make_optimizer` depends on.

  Args:
    config: the configuration.

  Raises:
    ValueError: an option is out of its range, or the mixer has no group.
  """
  check_fields(
    config,
    positive=(
      "learning_rate",
      "ssm_learning_rate_factor",
      "max_grad_norm",
      "adam_epsilon",
    ),
  )
  if config.learning_rate_schedule not in ("constant", "linear"):
    raise ValueError(
      f"learning_rate_schedule: got {config.learning_rate_schedule!r},"
      " expected 'constant' or 'linear'."
    )
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
