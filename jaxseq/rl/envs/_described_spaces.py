"""Spaces as tuples that JSON can hold, and checks of their elements."""

from collections.abc import Mapping
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.rl.envs import action_masks
from jaxseq.rl.envs import protocol
from jaxseq.rl.envs import spaces
from jaxseq.types import PyTree

_DTYPES = ("float32", "float64", "int32", "int64", "uint8", "bool")
# Accepted dtype kinds for choices and bytes, and for all other numbers:
# bfloat16 is of the kind V.
_INTEGERS, _NUMBERS = "iub", "iubfV"


def describe(space: object) -> tuple[Any, ...]:
  """Returns a space of this package or of gymnax as nested tuples.

  They are ("Discrete", n), ("MultiDiscrete", sizes), ("Box", low, high, shape,
  dtype), whose bounds are one number or, if they differ, tuples of all of them,
  ("Tuple", spaces) or ("Dict", pairs of names and spaces).
  """
  space = spaces.convert(space)
  match space:
    case spaces.Discrete():
      return "Discrete", int(space.n)
    case spaces.MultiDiscrete():
      return "MultiDiscrete", space.sizes
    case spaces.Box():
      shape = tuple(map(int, space.shape))
      bounds = _bounds(space.low), _bounds(space.high)
      return "Box", *bounds, shape, np.dtype(space.dtype).name
    case spaces.Dict():
      return "Dict", tuple((n, describe(part)) for n, part in space.parts)
  return "Tuple", tuple(describe(part) for _, part in space.parts)


def _bounds(values):
  """Returns one number if all bounds are equal, or a tuple of them."""
  flat = np.ravel(np.asarray(values)).tolist()
  return flat[0] if len(set(flat)) == 1 else tuple(flat)


def read(described: Any, name: str = "space") -> spaces.Space:
  """Builds the space of a description; raises a ValueError if it is invalid."""
  try:
    match described:
      case ["Discrete", int(n)]:
        return spaces.Discrete(validate.positive(name, n))
      case ["MultiDiscrete", sizes]:
        return spaces.MultiDiscrete(
          tuple(validate.positive(name, n) for n in sizes)
        )
      case ["Box", low, high, shape, dtype]:
        shape = tuple(validate.integer(name, n, 0, 2**24) for n in shape)
        dtype = np.dtype(validate.choice(name, dtype, _DTYPES))
        low, high = (_bounds_of(x, shape, name) for x in (low, high))
        return spaces.Box(low.astype(dtype), high.astype(dtype), shape, dtype)
      case ["Dict", pairs]:
        return spaces.Dict({str(n): read(part, name) for n, part in pairs})
      case ["Tuple", elements]:
        return spaces.Tuple(tuple(read(part, name) for part in elements))
  except (TypeError, OverflowError) as error:
    raise ValueError(f"{name}: {error}") from error
  raise validate.error(name, described, "a space")


def _bounds_of(bounds, shape, name):
  """Returns an array of bounds, from one number or from all of them."""
  if np.size(bounds) not in (1, math.prod(shape)):
    raise validate.error(name, bounds, f"bounds of {shape}")
  return np.broadcast_to(
    np.reshape(bounds, shape if np.size(bounds) > 1 else ()), shape
  )


def frozen(value: object) -> Any:
  """Converts nested lists to tuples, which are hashable."""
  if isinstance(value, list | tuple):
    return tuple(map(frozen, value))
  return value


def element(name: str, space: spaces.Space, value: PyTree) -> PyTree:
  """Returns an element as arrays; raises a ValueError if it does not fit."""
  space = spaces.convert(space)
  if isinstance(space, spaces.Dict):
    if not isinstance(value, Mapping) or set(value) != set(space.spaces):
      got = sorted(value) if isinstance(value, Mapping) else _said(value)
      expected = f"a mapping with {sorted(space.spaces)}"
      raise validate.error(name, got, expected)
  elif isinstance(space, spaces.Tuple) and not isinstance(
    space, spaces.MultiDiscrete
  ):
    # The rows of an array are the parts, as in `spaces.flatten`.
    several = isinstance(value, list | tuple) or getattr(value, "shape", ())
    if not several or len(value) != space.num_spaces:
      expected = f"a tuple of {space.num_spaces}"
      raise validate.error(name, _said(value), expected)
  else:
    return _leaf(name, space, value)
  return space.of(
    element(f"{name}[{place!r}]", part, value[place])
    for place, part in space.parts
  )


def check(env_id: str, env: protocol.Env, params: PyTree) -> None:
  """Checks observations and rewards against the environment's spaces.

  `reset` and `step` are traced, as they are for playing, and not run.

  Args:
    env_id: its id, for messages.
    env: the environment.
    params: its parameters.

  Raises:
    ValueError: an observation has other shapes, names or kinds of numbers than
      its space; its mask does not match the actions; or a reward or an end flag
      is not a scalar.
  """
  space = env.observation_space(params)
  action_masks.check(space, env.action_space(params))

  def play(key):
    action = spaces.zeros(env.action_space(params))
    observation, state = env.reset(key, params)
    element(f"observation of {env_id}", space, observation)
    played = env.step(key, state, action, params)
    if len(played) != 6:
      names = "observation, state, reward, terminated, truncated and info"
      expected = f"6 values, as in gymnax 1.0: {names}"
      raise validate.error(f"step of {env_id}", len(played), expected)
    observation, _, reward, terminated, truncated, _ = played
    element(f"observation of {env_id} after a step", space, observation)
    flags = {"terminated": terminated, "truncated": truncated}
    for name, value in {"reward": reward, **flags}.items():
      kinds = "b" if name in flags else _NUMBERS
      value = jnp.asarray(value)
      if value.shape or value.dtype.kind not in kinds:
        expected = "a scalar bool" if name in flags else "a scalar"
        raise validate.error(f"{name} of {env_id}", _said(value), expected)

  jax.eval_shape(play, jax.eval_shape(lambda: jax.random.key(0)))


def _said(value):
  """Returns shape and dtype of an array, or the class of anything else."""
  if hasattr(value, "shape") and hasattr(value, "dtype"):
    return f"shape {value.shape} of {value.dtype}"
  return type(value).__name__


def _leaf(name, space, value):
  """Returns an element of a leaf space as an array."""
  assert isinstance(space, spaces.Discrete | spaces.Box | spaces.MultiDiscrete)
  expected = f"shape {tuple(space.shape)} of {np.dtype(space.dtype)}"
  if isinstance(value, Mapping):
    raise validate.error(name, sorted(value), expected)
  leaves = jax.tree.leaves(value)
  traced = any(isinstance(leaf, jax.core.Tracer) for leaf in leaves)
  array = jnp.asarray(value) if traced else np.asarray(value)
  discrete = not isinstance(space, spaces.Box)
  # A mask of -inf and 0 would be inverted by a conversion to bool.
  integers = discrete or np.dtype(space.dtype).kind in "ub"
  kinds = _INTEGERS if integers else _NUMBERS
  if array.shape != tuple(space.shape) or array.dtype.kind not in kinds:
    got = _said(array)
    raise validate.error(name, got, expected)
  if not traced:
    if not np.isfinite(array).all():
      raise validate.error(name, array.tolist(), "finite numbers")
    if discrete and not bool(space.contains(array)):
      raise validate.error(name, array.tolist(), f"an element of {space}")
  return array.astype(space.dtype)
