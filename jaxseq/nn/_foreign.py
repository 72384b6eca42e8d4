"""Calls of mixers and networks wrapped as modules of another framework.

A wrapped mixer has `config` and `params`, a wrapped network `module` and
`variables`; the classes use these functions as their methods.
"""

from typing import Any

import jax

from jaxseq import mixers
from jaxseq.nn import recurrent
from jaxseq.types import PyTree


def run_mixer(
  self: Any,
  x: jax.Array,
  state: PyTree = None,
  reset: jax.Array | None = None,
  **options: Any,
) -> tuple[jax.Array, PyTree]:
  """Runs over a sequence.

  Args:
    self: the mixer.
    x: (*batch, time, d_model).
    state: state before the first element; a fresh one if None.
    reset: (*batch, time) bool, or None.
    **options: keyword options of the mixer's `apply`.

  Returns:
    y of x's shape, and the state after the last element.
  """
  apply = mixers.module_of(self.config).apply
  return apply(self.config, self.params, x, state, reset, **options)


def step_mixer(
  self: Any,
  x: jax.Array,
  state: PyTree,
  reset: jax.Array | None = None,
  **options: Any,
) -> tuple[jax.Array, PyTree]:
  """Runs over one element; `__call__` without the time axis."""
  step = mixers.module_of(self.config).step
  return step(self.config, self.params, x, state, reset, **options)


def fresh_state(
  self: Any,
  batch_shape: tuple[int, ...] = (),
  dtype: jax.typing.DTypeLike = "float32",
) -> PyTree:
  """Returns a fresh state of a mixer."""
  return mixers.fresh_state(self.config, batch_shape, dtype, self.params)


def step_network(
  self: Any,
  inputs: PyTree,
  states: PyTree,
  reset: jax.Array | None = None,
  **options: Any,
) -> Any:
  """Runs over one element; `__call__` without the time axis."""
  arguments = self.variables, inputs, states, reset
  return self.module.apply(*arguments, method="step", **options)


def fresh_states(
  self: Any,
  batch_shape: tuple[int, ...] = (),
  dtype: jax.typing.DTypeLike = "float32",
) -> PyTree:
  """Returns fresh states of a network."""
  options = {}
  if isinstance(self.module, recurrent.Recurrent):
    options["variables"] = self.variables
  return self.module.initial_state(batch_shape, dtype, **options)
