"""One step of every mixer, as a program of JAX and as a graph of ONNX.

    python -m benchmarks.step_programs --formats=onnx --mixers=s5,gru

For each mixer in two layers: of each format the largest difference from
`network.step` over 50 steps in which the states are fed back and episodes
begin, and microseconds of processor time of a step of one example; beside those
of `network.step` compiled. The best of five rounds.
"""

from collections.abc import Sequence
import functools
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

_FORMATS = flags.DEFINE_list("formats", ["jax", "onnx"], "Of programs.")
_MIXERS = flags.DEFINE_list("mixers", None, "Which; all by default.")
_WIDTH = flags.DEFINE_integer("width", 64, "Of the two layers.")
_STEPS, _ROUNDS, _TIMED = 50, 5, 200
_FEATURES = 4


def main(argv: Sequence[str]) -> None:
  del argv
  columns = [f"{name}: {x}" for name in _FORMATS.value for x in ("error", "us")]
  print("|", " | ".join(["mixer", *columns, "ours: us"]), "|")
  print("|---" * (len(columns) + 2) + "|")
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
  init = jax.jit(network.init)
  variables = init(jax.random.key(0), jnp.zeros((1, 2, _FEATURES)))
  element = jax.ShapeDtypeStruct((_FEATURES,), np.float32)
  step = step_program.of_network(network, variables, element)
  one = jax.jit(
    lambda *arrays: network.apply(variables, *arrays, method="step")
  )
  generator = np.random.default_rng(0)
  inputs = generator.normal(size=(_STEPS, 1, _FEATURES)).astype(np.float32)
  reset = generator.random((_STEPS, 1)) < 0.1
  states, wanted = network.initial_state((1,)), []
  for x, first in zip(inputs, reset):
    want, states = one(x, states, first)
    wanted.append(np.asarray(want))
  columns = []
  for form in _FORMATS.value:
    program, fresh = _program(step, form)
    error, before = 0.0, fresh
    for x, first, want in zip(inputs, reset, wanted):
      given = {"inputs": x, "reset": first, **before}
      result = program(given)
      before = {k: result[f"next_{k}"] for k in fresh}
      difference = np.abs(np.asarray(result["outputs"]) - want)
      error = max(error, float(difference.max()))
    elsewhere = _microseconds(functools.partial(program, given))
    columns += [f"{error:.0e}", f"{elsewhere:.0f}"]
  here = _microseconds(lambda: one(inputs[0], states, reset[0]))
  return [*columns, f"{here:.0f}"]


def _program(step, form):
  """A function from arrays to arrays, by name, and fresh states."""
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / f"step.{form}"
    described = step_program.save(path, step, form)
    content = path.read_bytes()
  fresh = {
    entry["name"]: np.full(
      [1 if n == "batch" else n for n in entry["shape"]],
      float(entry["initial"]),
      entry["dtype"],
    )
    for entry in described["inputs"]
    if "next" in entry
  }
  if form == "jax":
    return jax.jit(jax.export.deserialize(bytearray(content)).call), fresh
  import onnxruntime

  options = onnxruntime.SessionOptions()
  options.intra_op_num_threads = 1
  session = onnxruntime.InferenceSession(content, options)
  names = [entry["name"] for entry in described["outputs"]]
  return lambda arrays: dict(zip(names, session.run(names, arrays))), fresh


def _microseconds(call):
  """Processor time of a call, in the best of some rounds."""
  best = float("inf")
  for _ in range(_ROUNDS):
    start = time.process_time()
    for _ in range(_TIMED):
      jax.block_until_ready(call())
    best = min(best, time.process_time() - start)
  return best / _TIMED * 1e6


if __name__ == "__main__":
  app.run(main)
