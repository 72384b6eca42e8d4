"""Models as `jax.export` programs, which run without jaxseq.

    model.export("model.bin")
    program = jax.export.deserialize(pathlib.Path("model.bin").read_bytes())
    program.call({"inputs": inputs})["class"]

A program takes the arrays of the model's signature, prepared for the network,
and returns the result of `Model.outputs`. It contains the variables.
"""

from collections.abc import Sequence
import functools
import os
import pathlib
from typing import Any

import jax
from jax import export

from jaxseq import _machine
from jaxseq import _serialization
from jaxseq import validate
from jaxseq.training import files

# Upper bounds of the length: a mixer's form may depend on the length above one
# of these.
_LONGEST = (None, 2**16, 512, 128, 32)
_REFUSALS = (
  jax.errors.InconclusiveDimensionOperation,
  jax.errors.ConcretizationTypeError,
  AttributeError,
  TypeError,
  ValueError,
)


def make(
  model: Any,
  batch: int | None = None,
  time: int | None = None,
  platforms: Sequence[str] | None = None,
) -> export.Exported:
  """Returns the program of a model.

  Args:
    model: a `jaxseq.Model`.
    batch: number of examples; any if None.
    time: length of the sequences. Any from 2 on if None; if the mixer's form
      depends on the length, any up to 65536, 512, 128 or 32, and longer calls
      raise an error.
    platforms: such as ("cpu", "cuda", "tpu"); the platform of this process if
      None.

  Raises:
    ValueError: if the sequence length is fixed, or must be.
  """
  for name, value in (("batch", batch), ("time", time)):
    if value is not None:
      validate.positive(name, value)
  free = any("time" in axes for _, axes in model.signature.values())
  if time is not None and not free:
    raise validate.error("time", time, "None: the signature has no time")
  compute = jax.jit(
    functools.partial(model.parts.compute, model.network, model.variables)
  )

  def lower(shapes):
    with _machine.with_cpu("cpu" in (platforms or ())):
      return export.export(compute, platforms=platforms)(shapes)

  if time is not None or not free:
    return lower(_shapes(model, batch, time))
  reason = None
  for longest in _LONGEST:
    try:
      return lower(_shapes(model, batch, None, longest))
    except _REFUSALS as error:
      reason = error
  config = getattr(model.network, "config", None)
  config = getattr(config, "network", config)
  stack = getattr(config, "stack", None)
  names = (model.kind,) if stack is None else stack.mixer_names
  mixers = " and ".join(dict.fromkeys(names))
  raise ValueError(
    f"time: got None, expected a number: no program of {mixers} takes "
    "sequences of any length."
  ) from reason


def _shapes(model, batch, time, longest=None):
  """Returns shapes of the arguments, symbolic if sizes are None."""
  used = {a for _, axes in model.signature.values() for a in axes}
  sizes = {"batch": batch, "time": time}
  free = [a for a, size in sizes.items() if a in used and size is None]
  constraints = {"batch": ["batch >= 1"], "time": ["time >= 2"]}
  if longest is not None:
    constraints["time"].append(f"time <= {longest}")
  # A constraint on an axis that no argument has is an error.
  scope = export.SymbolicScope([c for a in free for c in constraints[a]])
  sizes |= {a: export.symbolic_shape(a, scope=scope)[0] for a in free}
  return {
    name: jax.ShapeDtypeStruct([sizes.get(a, a) for a in axes], dtype)
    for name, (dtype, axes) in model.signature.items()
  }


def write(path: str | os.PathLike, program: export.Exported) -> None:
  """Writes a program to a file; an existing file is replaced.

  Raises:
    ModuleNotFoundError: if the extra "export" is not installed.
  """
  files.write_bytes(pathlib.Path(path), _serialization.serialized(program))
