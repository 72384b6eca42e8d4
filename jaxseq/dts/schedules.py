"""Coefficients that change during training.

The regularizer's annealing: Bowman et al., arXiv:1511.06349 (monotonic), and
Fu et al., arXiv:1903.10145 (cyclical), whose code the values are those of.
The reversal's strength: Ganin et al., arXiv:1505.07818, section 5.2.2; the
code of CoDATS (Wilson et al., arXiv:2005.10996) has it with total + 1.

Steps count from 0 and may be traced integers or floats; `step=progress,
total=1` does for a fraction of the training.
"""

import typing
from typing import Literal

import jax
import jax.numpy as jnp

from jaxseq import validate

Array = jax.Array
Kind = Literal["none", "monotonic", "cyclical"]
Shape = Literal["linear", "sigmoid", "cosine"]

KINDS = typing.get_args(Kind)
SHAPES = typing.get_args(Shape)
# Steepness of the lambda of domain-adversarial training.
_STEEPNESS = 10.0


def anneal(
  step: Array | float,
  total: int | float,
  kind: Kind,
  *,
  shape: Shape = "linear",
  cycles: int = 4,
  ratio: float | None = None,
) -> Array:
  """Returns the coefficient of the regularizer, in [0, 1].

  Args:
    step: () what has been done of the training.
    total: what there is to do, in the same unit.
    kind: "none" is 1 throughout; "monotonic" rises once and stays at 1;
      "cyclical" starts again from 0 several times.
    shape: of the rise: linear, 1 / (1 + exp(6 - 12 v)) or (1 - cos(pi v)) / 2
      with v from 0 to 1.
    cycles: how often "cyclical" rises.
    ratio: part of a cycle, or of the training, in which the coefficient rises;
      1/2 for "cyclical" and 1/4 for "monotonic" if None.

  Returns:
    () floating.

  Raises:
    ValueError: for an unknown kind or shape, or a ratio not in (0, 1].
  """
  validate.choice("kind", kind, KINDS)
  validate.choice("shape", shape, SHAPES)
  validate.positive("cycles", cycles)
  if ratio is None:
    ratio = 0.5 if kind == "cyclical" else 0.25
  validate.fraction("ratio", ratio)
  step = jnp.asarray(step)
  if kind == "none":
    return jnp.ones(step.shape, jnp.result_type(float))
  # Exact for integers, so that a cycle starts at its first step.
  place = jnp.mod(step * cycles, total) if kind == "cyclical" else step
  v = place / (total * ratio)
  rise = {
    "linear": lambda: v,
    "sigmoid": lambda: jax.nn.sigmoid(12 * v - 6),
    "cosine": lambda: 0.5 * (1 - jnp.cos(jnp.pi * v)),
  }[shape]()
  return jnp.where(v < 1, rise, 1.0)


def dann_lambda(step: Array | float, total: int | float) -> Array:
  """Returns 2 / (1 + exp(-10 step / total)) - 1: from 0 to almost 1."""
  return jnp.tanh(0.5 * _STEEPNESS * jnp.asarray(step) / total)


def ramp(step: Array | float, start: float, end: float) -> Array:
  """Returns a line that is 0 until start and 1 from end on: ()."""
  return jnp.clip((jnp.asarray(step) - start) / (end - start), 0.0, 1.0)
