"""Checks of arrays that all recurrences share; None passes them."""

import jax
import jax.numpy as jnp

from jaxseq import validate


def floating(**arrays: jax.Array | None) -> None:
  """Raises ValueError unless the arrays of these names are floating."""
  for name, x in arrays.items():
    if x is not None and not jnp.issubdtype(jnp.result_type(x), jnp.floating):
      raise validate.error(
        name, f"dtype {jnp.result_type(x)}", "a floating one"
      )


def shape(name: str, x: jax.Array | None, expected: tuple[int, ...]) -> None:
  """Raises ValueError unless `x` has that shape."""
  if x is not None:
    validate.shape(name, x, expected)


def flags(name: str, x: jax.Array | None, expected: tuple[int, ...]) -> None:
  """Raises ValueError unless `x` is bool and of that shape."""
  shape(name, x, expected)
  if x is not None and jnp.result_type(x) != jnp.bool_:
    raise validate.error(name, f"dtype {jnp.result_type(x)}", "bool")


def reset(x: jax.Array | None, expected: tuple[int, ...]) -> None:
  """Raises ValueError unless resets are bool and of that shape."""
  flags("reset", x, expected)
