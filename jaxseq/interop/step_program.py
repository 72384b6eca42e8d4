"""One step of a network, with states, as a program without jaxseq's code.

    walks.onnx, or any other name    the program
    walks.json                       its inputs and outputs, see below
    walks.npz                        initial states, where these vary

A program takes arrays by name, (batch, ...) each: the network's inputs, `reset`
(batch,) bool, true at the first step of an episode, and the states, `state_0_h`
and so on, by their paths. It returns outputs by name, and each state after the
step as `next_state_0_h`, the next step's input. Complex states are two arrays,
which end in `_re` and `_im`. The JSON:

    format     1
    form       "onnx" or "jax": how the program is written
    inputs     in order: name, shape with "batch", dtype; of states also
               "initial", the number that all of a fresh one are ("-Infinity"
               is one), or "npz": an array without the batch; and "next", the
               output that follows it
    outputs    in order: name, shape, dtype
    about      what it is, such as classes, units, the model's digest
    versions   of the libraries that it was made with
    files      SHA-256 of the program, and of the initial states
    sha256     that of the JSON without it, with sorted keys
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import hashlib
import io
import json
import os
import pathlib
from typing import Any
from typing import Literal
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import _json
from jaxseq import _machine
from jaxseq import _serialization
from jaxseq import limits
from jaxseq import nn
from jaxseq import validate
from jaxseq.interop import _model_files
from jaxseq.interop import onnx_graph
from jaxseq.training import files
from jaxseq.training import run_directory
from jaxseq.types import PyTree

Arrays = Mapping[str, Any]
Form = Literal["jax", "onnx"]

FORMAT = 1
_FORMS = ("jax", "onnx")
_VERSIONS = ("python", "jaxseq", "jax", "jaxlib", "numpy")
# Steps to check an ONNX graph on before it is saved, and the tolerance to JAX's
# numbers: float32 in another order.
_STEPS, _TOLERANCE = 3, 1e-3


class Step(NamedTuple):
  """A step to export.

  Attributes:
    compute: (inputs, states) -> (outputs, states); inputs and outputs by name,
      with a leading batch axis in all arrays. "reset" is an input.
    inputs: shapes without the batch axis, and dtypes, by name.
    states: fresh states of one example, without the batch axis, by name.
    about: its description, as JSON values.
  """

  compute: Callable[[Arrays, PyTree], tuple[Arrays, PyTree]]
  inputs: Mapping[str, jax.ShapeDtypeStruct]
  states: Mapping[str, PyTree]
  about: Mapping[str, Any]


def of_network(
  network: nn.SequenceNetwork, variables: PyTree, inputs: Any, **about: Any
) -> Step:
  """Returns the step of a network.

  Args:
    network: a network without pooling "mean".
    variables: its variables.
    inputs: shape and dtype of an element, such as a vector (features,) or a
      token ().
    **about: see `Step`.

  Raises:
    ValueError: if the network has no steps.
  """
  if not isinstance(network, nn.SequenceNetwork):
    name = type(network).__name__
    expected = "a SequenceNetwork: others have no step of one element"
    raise validate.error("network", name, expected)
  if network.config.pooling == "mean":
    expected = "'none' or 'last': a mean is not known from one step"
    raise validate.error("pooling", "mean", expected)

  # NumPy arrays would be widened at once instead of in the program.
  variables = jax.tree.map(jnp.asarray, variables)

  def compute(arrays, states):
    outputs, after = network.apply(
      variables,
      arrays["inputs"],
      states["state"],
      arrays["reset"],
      method="step",
    )
    return {"outputs": outputs}, {"state": after}

  return Step(
    compute,
    {"inputs": jax.ShapeDtypeStruct(inputs.shape, inputs.dtype)},
    {"state": first_of(network.initial_state((1,), variables=variables))},
    about,
  )


def first_of(states: PyTree) -> PyTree:
  """Removes the batch axis of states (1, ...), as NumPy arrays."""
  return jax.tree.map(lambda x: np.asarray(x)[0], states)


def save(
  path: str | os.PathLike,
  step: Step,
  form: Form = "jax",
  *,
  batch: int | None = None,
  platforms: Sequence[str] | None = None,
) -> dict[str, Any]:
  """Writes a program, and a description of its inputs and outputs.

  Args:
    path: file of the program; the other files have its name with other
      suffixes. The directory is created if absent.
    step: the step.
    form: "jax" for a program of `jax.export`, "onnx" for an ONNX graph.
    batch: number of examples per step; any number if None.
    platforms: platforms of a JAX program, such as ("cpu", "cuda", "tpu"); this
      process's platform if None.

  Returns:
    The JSON.

  Raises:
    ValueError: if ONNX lacks an operation of the step, or its numbers differ;
      or if the JSON of that name describes another program.
    ModuleNotFoundError: if the extra "export" or "onnx" is not installed.
  """
  path = pathlib.Path(path)
  validate.choice("format", form, _FORMS)
  if path.suffix in (".json", ".npz"):
    raise validate.error("path", str(path), "another ending than that")
  described = path.with_suffix(".json")
  if described.exists() and path.name not in _programs(described):
    expected = f"another name: {described.name} is of another program"
    raise validate.error("path", str(path), expected)
  if form == "onnx" and platforms is not None:
    raise validate.error("platforms", platforms, "None for format 'onnx'")
  if batch is not None:
    validate.positive("batch", batch)
  flat = _Flat(step)
  make = _exported if form == "jax" else _graph
  program = make(flat, batch, platforms)
  varied = {k: x for k, x in flat.initial.items() if _alike(x) is None}
  contents = {path.name: program}
  if varied:
    stored = io.BytesIO()
    np.savez(stored, **varied)
    contents[path.with_suffix(".npz").name] = stored.getvalue()
  sizes = flat.shapes(batch)
  versions = run_directory.versions()
  described = {
    "format": FORMAT,
    "form": form,
    "inputs": [flat.described(name, shape) for name, shape in sizes[0].items()],
    "outputs": [_described(name, shape) for name, shape in sizes[1].items()],
    "about": dict(step.about),
    "versions": {name: versions[name] for name in _VERSIONS},
    "files": {name: _sha256(content) for name, content in contents.items()},
  }
  described = files.json_value(described)
  described["sha256"] = _sha256(_canonical(described))
  for name, content in contents.items():
    files.write_bytes(path.with_name(name), content)
  files.write_json(path.with_suffix(".json"), described)
  return described


def read(path: str | os.PathLike) -> dict[str, Any]:
  """Reads the JSON of a program, and checks that no file was altered.

  Args:
    path: file of the program, or of the JSON.

  Raises:
    ValueError: if a file was altered, has another format, or the JSON describes
      another program.
    FileNotFoundError: if a file is missing.
  """
  program = pathlib.Path(path)
  path = program.with_suffix(".json")
  try:
    described = _json.loads(limits.read_bytes(path, limits.JSON))
    validate.instance("JSON", described, dict, "an object")
    if described.get("format") != FORMAT:
      raise validate.error("format", described.get("format"), str(FORMAT))
    rest = {k: x for k, x in described.items() if k != "sha256"}
    if described.get("sha256") != _sha256(_canonical(rest)):
      raise ValueError("its SHA-256 differs from what it says: it was altered")
    names = validate.instance("files", described["files"], dict, "an object")
    for name, stated in names.items():
      if not _model_files.is_name(name):
        raise validate.error("files", name[:80], "names of files beside it")
      with open(path.with_name(name), "rb", opener=limits.regular) as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != stated:
          raise ValueError(f"{name} is not the file that it was made with")
    if program != path and program.name not in described["files"]:
      raise ValueError(f"it is of {', '.join(described['files'])}")
  except (ValueError, KeyError, IsADirectoryError) as error:
    raise ValueError(f"{path} describes no whole program: {error}") from error
  return described


def _programs(path):
  """Returns the names of a JSON's files, which may be damaged; or []."""
  try:
    return list(_json.loads(limits.read_bytes(path, limits.JSON))["files"])
  except (ValueError, KeyError, TypeError):
    return []


class _Flat:
  """A step as a function of ordered real arrays."""

  def __init__(self, step):
    self._step = step
    paths, self._structure = jax.tree_util.tree_flatten_with_path(step.states)
    names = [
      jax.tree_util.keystr(p, simple=True, separator="_") for p, _ in paths
    ]
    self._leaves = dict(zip(names, (np.asarray(x) for _, x in paths)))
    self.initial = _real(self._leaves)
    self.inputs = (*step.inputs, "reset", *self.initial)

  def compute(self, arrays):
    """Computes results by name from arrays by name."""
    states = [
      jax.lax.complex(arrays[f"{name}_re"], arrays[f"{name}_im"])
      if np.iscomplexobj(leaf)
      else arrays[name]
      for name, leaf in self._leaves.items()
    ]
    states = jax.tree.unflatten(self._structure, states)
    outputs, after = self._step.compute(arrays, states)
    after = dict(zip(self._leaves, jax.tree.leaves(after)))
    after = {f"next_{k}": x for k, x in _real(after).items()}
    return {**outputs, **after}

  def shapes(self, batch):
    """Returns shapes of inputs and outputs by name; of any batch if None."""
    size = symbol() if batch is None else batch
    flag = jax.ShapeDtypeStruct((), np.bool_)
    shapes = {**self._step.inputs, "reset": flag, **self.initial}
    inputs = {
      name: jax.ShapeDtypeStruct((size, *x.shape), x.dtype)
      for name, x in shapes.items()
    }
    results = jax.eval_shape(self.compute, inputs)
    after = [f"next_{name}" for name in self.initial]
    names = [*(name for name in results if name not in after), *after]
    return inputs, {name: results[name] for name in names}

  def described(self, name, shape):
    """Returns the entry of an input in the JSON."""
    entry = _described(name, shape)
    if name in self.initial:
      number = _alike(self.initial[name])
      entry["initial"] = "npz" if number is None else number
      entry["next"] = f"next_{name}"
    return entry


def symbol() -> Any:
  """Returns a symbolic batch size, any number."""
  return jax.export.symbolic_shape("batch", constraints=["batch >= 1"])[0]


def _real(arrays):
  """Returns arrays by name, complex ones split in two."""
  parts = {}
  for name, x in arrays.items():
    if np.issubdtype(x.dtype, np.complexfloating):
      parts |= {f"{name}_re": x.real, f"{name}_im": x.imag}
    else:
      parts[name] = x
  return parts


def _alike(x):
  """Returns the number that fills an array, None if its numbers differ."""
  if not x.size or (x != x.flat[0]).any():
    return None
  return x.flat[0].item()


def _described(name, shape):
  sizes = [size if isinstance(size, int) else "batch" for size in shape.shape]
  return {"name": name, "shape": sizes, "dtype": str(shape.dtype)}


def _sha256(content):
  return hashlib.sha256(content).hexdigest()


def _canonical(described):
  """Returns JSON that is the same for equal values."""
  return json.dumps(described, sort_keys=True, allow_nan=False).encode()


def _exported(flat, batch, platforms):
  """Returns the bytes of a JAX program."""
  shapes, _ = flat.shapes(batch)
  with _machine.with_cpu("cpu" in (platforms or ())):
    program = jax.export.export(jax.jit(flat.compute), platforms=platforms)(
      shapes
    )
  return _serialization.serialized(program)


def _graph(flat, batch, platforms):
  """Returns the bytes of an ONNX graph with JAX's results."""
  del platforms
  shapes, results = flat.shapes(batch)

  def compute(*arrays):
    outputs = flat.compute(dict(zip(flat.inputs, arrays)))
    return [outputs[name] for name in results]

  try:
    graph = onnx_graph.convert(
      compute, list(shapes.values()), flat.inputs, list(results)
    )
    content = graph.SerializeToString()
    _check(flat, content, batch or 2)
  except ModuleNotFoundError:
    raise
  except Exception as error:
    # The packages have their own errors.
    reason = " ".join(str(error).split())[:300]
    raise ValueError(
      f"format: got 'onnx', expected 'jax' for this network: {reason}"
    ) from error
  return content


def _check(flat, content, batch):
  """Runs steps in onnxruntime and in JAX, and compares all numbers."""
  import onnxruntime

  session = onnxruntime.InferenceSession(
    content, providers=["CPUExecutionProvider"]
  )
  generator = np.random.default_rng(0)
  shapes, _ = flat.shapes(batch)
  fresh = {
    k: np.repeat(np.asarray(x)[None], batch, 0) for k, x in flat.initial.items()
  }
  states, other = fresh, fresh
  compute = jax.jit(flat.compute)
  for number in range(_STEPS):
    # Zeros and ones are tokens of every vocabulary.
    drawn = {
      name: generator.normal(size=x.shape).astype(x.dtype)
      if np.issubdtype(x.dtype, np.floating)
      else generator.integers(0, 2, x.shape).astype(x.dtype)
      for name, x in shapes.items()
      if name not in fresh
    }
    drawn["reset"] = np.arange(batch) % 2 == number % 2
    wanted = {k: np.asarray(x) for k, x in compute(drawn | states).items()}
    results = session.run(list(wanted), drawn | other)
    for (name, want), result in zip(wanted.items(), results):
      # Numbers beyond float32, such as those of fresh states, are equal.
      if not np.allclose(result, want, _TOLERANCE, _TOLERANCE, equal_nan=True):
        raise ValueError(
          f"onnxruntime computes another {name} in step {number}"
        )
    states = {k: wanted[f"next_{k}"] for k in fresh}
    after = dict(zip(wanted, results))
    other = {k: after[f"next_{k}"] for k in fresh}
