"""Programs of `jax.export` as bytes, and the classes of states in them."""

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


def serialized(program: export.Exported) -> bytes:
  """Returns the bytes of a program.

  Raises:
    ModuleNotFoundError: if the extra "export" is not installed.
  """
  try:
    return bytes(program.serialize())
  except ImportError as error:
    raise ModuleNotFoundError(
      'programs are written with flatbuffers: pip install "jaxseq[export]".',
      name="flatbuffers",
    ) from error
