"""Checks of the arrays that a caller hands to a mixer."""

from collections.abc import Callable
from collections.abc import Mapping
import functools
import numbers
from typing import Any

import jax
import jax.numpy as jnp

PyTree = Any


def check_positive(config: Any, *names: str) -> None:
  """Checks that fields of a configuration are positive integers.

  Args:
    config: the configuration.
    *names: its fields.

  Raises:
    ValueError: naming the field and what came.
  """
  for name in names:
    value = getattr(config, name)
    is_integer = isinstance(value, numbers.Integral) and value is not True
    if not is_integer or value < 1:
      raise ValueError(f"{name} must be a positive integer; got {value!r}.")


def check_params(
  config_type: type, init: Callable[..., PyTree], config: Any, params: PyTree
) -> None:
  """Checks that parameters are those of a configuration.

  Args:
    config_type: the mixer's Config.
    init: the mixer's function of this name.
    config: the caller's configuration.
    params: the caller's parameters.

  Raises:
    ValueError: naming the argument, what came and what is expected.
  """
  if not isinstance(config, config_type):
    raise ValueError(
      f"config must be a {config_type.__module__}.Config, the first argument; "
      f"got {type(config).__module__}.{type(config).__name__}."
    )
  expected = _expected_shapes(init, config)
  is_mapping = isinstance(params, Mapping)
  if not is_mapping or set(params) != set(expected):
    came = sorted(params) if is_mapping else type(params).__name__
    raise ValueError(
      f"params must be a dict of {sorted(expected)}, as init makes it for "
      f"{config}; got {came}."
    )
  for name, shape in expected.items():
    if jnp.shape(params[name]) != shape:
      raise ValueError(
        f"params[{name!r}] must have shape {shape}, as init makes it for "
        f"{config}; got {jnp.shape(params[name])}."
      )


@functools.lru_cache(maxsize=512)
def _expected_shapes(init, config):
  params = jax.eval_shape(lambda: init(jax.random.key(0), config))
  return {name: leaf.shape for name, leaf in params.items()}


def check_inputs(
  d_model: int,
  x: jax.Array,
  state: PyTree,
  initial_state: Callable[[tuple[int, ...]], PyTree],
  reset: jax.Array | None,
  *,
  step: bool = False,
) -> tuple[int, ...]:
  """Checks the arguments of a mixer's `apply` or `step`.

  Args:
    d_model: width the mixer was configured for.
    x: (*batch, time, d_model), or (*batch, d_model) for one step.
    state: the caller's state, or None.
    initial_state: function from a batch shape to a fresh state; it tells the
      structure and the shapes that `state` must have.
    reset: the caller's reset flags, or None.
    step: whether x is one step, without a time axis.

  Returns:
    The batch shape.

  Raises:
    ValueError: naming the argument, what came and what is expected.
  """
  layout = "(*batch, d_model)" if step else "(*batch, time, d_model)"
  shape = jnp.shape(x)
  if len(shape) < (1 if step else 2):
    raise ValueError(f"x must have shape {layout}; got {shape}.")
  if shape[-1] != d_model:
    raise ValueError(
      f"x must have shape {layout} with d_model = {d_model}; got {shape}."
    )
  if not jnp.issubdtype(jnp.result_type(x), jnp.floating):
    raise ValueError(
      f"x must be of a floating dtype; got {jnp.result_type(x)}."
    )
  if not step and shape[-2] == 0:
    raise ValueError(f"x must have at least one time step; got shape {shape}.")
  if 0 in shape:
    raise ValueError(f"x must have at least one sequence; got shape {shape}.")
  if reset is not None:
    if getattr(reset, "dtype", None) != jnp.bool_:
      came = getattr(reset, "dtype", type(reset).__name__)
      raise ValueError(f"reset must be an array of dtype bool; got {came}.")
    if jnp.shape(reset) != shape[:-1]:
      raise ValueError(
        f"reset must have the shape of x without its features, {shape[:-1]}; "
        f"got {jnp.shape(reset)}."
      )
  batch = shape[:-1] if step else shape[:-2]
  if step and state is None:
    raise ValueError(
      "state must be given to step; that of a fresh sequence is "
      "initial_state(config, batch_shape)."
    )
  if state is not None:
    _check_state(state, jax.eval_shape(lambda: initial_state(batch)))
  return batch


def state_dtype(batch_shape: tuple[int, ...], dtype: Any) -> jnp.dtype:
  """Returns the dtype of a fresh state: float32 or wider.

  Args:
    batch_shape: the leading axes that were asked for.
    dtype: the dtype that was asked for.

  Raises:
    ValueError: unless batch_shape is a tuple and dtype a real floating one.
  """
  if not isinstance(batch_shape, tuple | list):
    raise ValueError(
      f"batch_shape must be a tuple, as (8,); got {batch_shape!r}."
    )
  if not jnp.issubdtype(dtype, jnp.floating):
    raise ValueError(
      f"dtype must be a real floating one, as float32; got {dtype!r}."
    )
  return jnp.promote_types(dtype, jnp.float32)


def check_mask(mask: jax.Array | None, x: jax.Array) -> None:
  """Checks which elements a mixer is told to leave out.

  Args:
    mask: the caller's mask, or None.
    x: (..., d_model), checked already.

  Raises:
    ValueError: unless the mask is bool and has the shape of x without its
      features.
  """
  if mask is None:
    return
  if jnp.shape(mask) != x.shape[:-1] or jnp.result_type(mask) != jnp.bool_:
    raise ValueError(
      "mask must be bool and have the shape of x without its features, "
      f"{x.shape[:-1]}; got {jnp.result_type(mask)} {jnp.shape(mask)}."
    )


def _check_state(state: PyTree, expected: PyTree):
  """Compares structure and shapes; dtypes are the mixer's own concern."""
  if jax.tree.structure(state) != jax.tree.structure(expected):
    raise ValueError(
      "state must have the structure of initial_state, "
      f"{jax.tree.structure(expected)}; got {jax.tree.structure(state)}."
    )
  want = [leaf.shape for leaf in jax.tree.leaves(expected)]
  have = [jnp.shape(leaf) for leaf in jax.tree.leaves(state)]
  if want != have:
    raise ValueError(
      "state must have the shapes of initial_state for the batch shape of x, "
      f"{want}; got {have}."
    )
