"""Classes of states that `jax.export` can serialize."""

from collections.abc import Callable
from typing import TypeVar

from jax import export

Class = TypeVar("Class", bound=type)


def exported(name: str) -> Callable[[Class], Class]:
  """Makes a NamedTuple class known to `jax.export`; a decorator.

  An exported program that takes or returns it can then be written to a file.

  Args:
    name: what stands for the class in such files. It never changes, wherever
      the class moves, so that files that exist can still be read.
  """

  def register(cls: Class) -> Class:
    export.register_namedtuple_serialization(cls, serialized_name=name)
    return cls

  return register
