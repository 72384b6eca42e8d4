"""Classes of states that `jax.export` can serialize."""

from typing import TypeVar

from jax import export

Class = TypeVar("Class", bound=type)


def exported(cls: Class) -> Class:
  """Makes a NamedTuple class known to `jax.export`; a decorator.

  An exported program that takes or returns it can then be written to a file.
  """
  export.register_namedtuple_serialization(
    cls, serialized_name=f"{cls.__module__}.{cls.__qualname__}"
  )
  return cls
