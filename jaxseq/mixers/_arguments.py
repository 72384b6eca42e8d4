"""Checks of the arguments of a mixer: parameters, inputs, states."""

from collections.abc import Mapping
import functools

import jax
import jax.numpy as jnp

from jaxseq import validate


def check_params(config_type, init, config, params):
  """Raises a ValueError unless parameters fit a configuration."""
  if not isinstance(config, config_type):
    kind = type(config)
    raise validate.error(
      "config",
      f"{kind.__module__}.{kind.__name__}",
      f"a {config_type.__module__}.Config, the first argument",
    )
  expected = _expected_shapes(init, config)
  is_mapping = isinstance(params, Mapping)
  if not is_mapping or set(params) != set(expected):
    raise validate.error(
      "params",
      sorted(params) if is_mapping else type(params).__name__,
      f"a dict of {sorted(expected)}, as init makes it for {config}",
    )
  for name, shape in expected.items():
    if jnp.shape(params[name]) != shape:
      raise validate.error(
        f"params[{name!r}]",
        f"shape {jnp.shape(params[name])}",
        f"{shape}, as init makes it for {config}",
      )


@functools.lru_cache(maxsize=512)
def _expected_shapes(init, config):
  params = jax.eval_shape(lambda: init(jax.random.key(0), config))
  return {name: leaf.shape for name, leaf in params.items()}


def _expected_state(initial_state, config, batch):
  """The structure of a state, and the shapes of its leaves."""
  state = jax.eval_shape(lambda: initial_state(config, batch))
  return jax.tree.structure(state), _shapes(state)


_cached_state = functools.lru_cache(maxsize=512)(_expected_state)


def check_inputs(config, x, state, initial_state, reset, *, step):
  """Checks x, of one element or a sequence, state and reset; returns batch."""
  width, shape = config.d_model, x.shape
  layout = f"(*batch, {width})" if step else f"(*batch, time, {width})"
  if len(shape) < (1 if step else 2) or shape[-1] != width:
    raise validate.error("x", f"shape {shape}", layout)
  if not jnp.issubdtype(x.dtype, jnp.floating):
    raise validate.error("x", f"dtype {x.dtype}", "a floating one")
  if 0 in shape:
    raise validate.error("x", f"shape {shape}", "at least one element")
  if reset is not None:
    check_flags("reset", reset, shape[:-1])
  batch = shape[:-1] if step else shape[:-2]
  if step and state is None:
    raise validate.error(
      "state", None, "that of initial_state(config, batch_shape)"
    )
  if state is not None:
    # One that holds parameters, whose states depend on them, is not kept.
    holds = isinstance(initial_state, functools.partial)
    find = _expected_state if holds else _cached_state
    expected, have = find(initial_state, config, batch), _shapes(state)
    if step and batch and have != expected[1]:
      if have == find(initial_state, config, batch[:-1])[1]:
        layout = f"{(*batch[:-1], width)}, one element for each state"
        raise validate.error(
          "x", f"shape {shape}", f"{layout}; sequences are for apply"
        )
    _check_state(state, *expected)
  return batch


def check_flags(name, flags, shape):
  """Raises a ValueError unless flags are bool, and of a shape."""
  dtype = getattr(flags, "dtype", type(flags).__name__)
  if dtype != jnp.bool_:
    raise validate.error(name, f"dtype {dtype}", "an array of bool")
  if jnp.shape(flags) != shape:
    raise validate.error(
      name, f"shape {jnp.shape(flags)}", f"{shape}, that of x without features"
    )


def _check_state(state, structure, shapes):
  """Compares structure and shapes; each mixer handles dtypes itself."""
  have = jax.tree.structure(state)
  if have != structure:
    raise validate.error(
      "state", have, f"the structure of initial_state, {structure}"
    )
  have = _shapes(state)
  if have != shapes:
    raise validate.error(
      "state", have, f"the shapes of initial_state for that of x, {shapes}"
    )


def _shapes(tree):
  return [jnp.shape(leaf) for leaf in jax.tree.leaves(tree)]


def divisor(name: str, value: int, **of: int) -> None:
  """Raises a ValueError unless a field's value divides that of another."""
  for other, number in of.items():
    if number % value:
      raise validate.error(name, value, f"a divisor of {other} = {number}")


def multiple(name: str, value: int, **of: int) -> None:
  """Raises a ValueError unless a field's value is a multiple of others'."""
  for other, number in of.items():
    if value % number:
      raise validate.error(name, value, f"a multiple of {other} = {number}")
