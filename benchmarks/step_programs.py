"""One step of every mixer, as a program of JAX and as a graph of ONNX.

    python -m benchmarks.step_programs --format=onnx --mixers=s5,gru

For each mixer in two layers: the size of the file, the largest difference from
`network.step` over 50 steps in which the states are fed back and episodes
begin, in a process without jaxseq; and microseconds of a step of one example
there, beside those of `network.step` compiled here. The best of five rounds.
"""

from collections.abc import Sequence
import pathlib
import tempfile
import time

from absl import app
from absl import flags
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import mixers
from jaxseq import nn
from jaxseq.interop import step_program

_FORMAT = flags.DEFINE_enum("format", "onnx", ["jax", "onnx"], "Of programs.")
_MIXERS = flags.DEFINE_list("mixers", None, "Which; all by default.")
_WIDTH = flags.DEFINE_integer("width", 64, "Of the two layers.")
_STEPS, _ROUNDS, _TIMED = 50, 5, 200
_FEATURES = 4


def main(argv: Sequence[str]) -> None:
  del argv
  print(
    "| mixer | kB | error | microseconds | ours |\n|---|---:|---:|---:|---:|"
  )
  for name in _MIXERS.value or mixers.names():
    try:
      row = _row(name)
    except ValueError as error:
      row = [str(error)]
    print("|", " | ".join([name, *row]), "|", flush=True)


def _row(name):
  """The columns of a mixer."""
  stack = nn.StackConfig(name, d_model=_WIDTH.value, num_layers=2)
  network = nn.SequenceNetwork(nn.NetworkConfig(stack), 5)
  variables = network.init(jax.random.key(0), jnp.zeros((1, 2, _FEATURES)))
  element = jax.ShapeDtypeStruct((_FEATURES,), np.float32)
  step = step_program.of_network(network, variables, element)
  one = jax.jit(
    lambda *arrays: network.apply(variables, *arrays, method="step")
  )
  generator = np.random.default_rng(0)
  inputs = generator.normal(size=(_STEPS, 1, _FEATURES)).astype(np.float32)
  reset = generator.random((_STEPS, 1)) < 0.1
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / f"step.{_FORMAT.value}"
    described = step_program.save(path, step, _FORMAT.value)
    size = path.stat().st_size / 1000
    program = _program(path, described)
    fresh = {
      entry["name"]: np.full(
        [1 if n == "batch" else n for n in entry["shape"]],
        float(entry["initial"]),
        entry["dtype"],
      )
      for entry in described["inputs"]
      if "next" in entry
    }
  states, ours, error = fresh, network.initial_state((1,)), 0.0
  for x, first in zip(inputs, reset):
    result = program({"inputs": x, "reset": first, **states})
    states = {k: result[f"next_{k}"] for k in states}
    want, ours = one(x, ours, first)
    difference = np.abs(np.asarray(result["outputs"]) - np.asarray(want))
    error = max(error, float(difference.max()))

  given = {"inputs": inputs[0], "reset": reset[0], **states}
  elsewhere = _microseconds(lambda: program(given)["outputs"])
  here = _microseconds(lambda: one(inputs[0], ours, reset[0])[0])
  return [f"{size:.0f}", f"{error:.0e}", f"{elsewhere:.0f}", f"{here:.0f}"]


def _program(path, described):
  """A function from arrays to arrays, by name."""
  if _FORMAT.value == "jax":
    program = jax.export.deserialize(bytearray(path.read_bytes()))
    return jax.jit(program.call)
  import onnxruntime

  options = onnxruntime.SessionOptions()
  options.intra_op_num_threads = 1
  session = onnxruntime.InferenceSession(path.read_bytes(), options)
  names = [entry["name"] for entry in described["outputs"]]
  return lambda arrays: dict(zip(names, session.run(names, arrays)))


def _microseconds(call):
  """The time of a call, in the best of some rounds."""
  best = float("inf")
  for _ in range(_ROUNDS):
    start = time.perf_counter()
    for _ in range(_TIMED):
      jax.block_until_ready(call())
    best = min(best, time.perf_counter() - start)
  return best / _TIMED * 1e6


if __name__ == "__main__":
  app.run(main)
