"""Networks whose steps are exported, and the loop that runs them elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import nn
from jaxseq.interop import step_program
from tests import programs

TIME, BATCHES = 50, (1, 7)

# Where it runs there is no jaxseq: nothing but JAX, or onnxruntime.
_LOOP = """
import json, pathlib, sys
sys.modules["jaxseq"] = None
import numpy as np
form, *paths = sys.argv[1:]
if form == "jax":
  import jax.export
else:
  sys.modules["jax"] = None
  import onnxruntime
for path in map(pathlib.Path, paths):
  described = json.loads(path.with_suffix(".json").read_text())
  if form == "jax":
    program = jax.export.deserialize(bytearray(path.read_bytes()))
    run = jax.jit(program.call)
  else:
    session = onnxruntime.InferenceSession(path.read_bytes())
    names = [entry["name"] for entry in described["outputs"]]
    run = lambda arrays: dict(zip(names, session.run(names, arrays)))
  varied = path.with_suffix(".npz")
  varied = np.load(varied) if varied.exists() else {}
  taken = {e["name"]: e for e in described["inputs"] if "next" in e}
  for given in path.parent.glob(path.stem + "-*.given.npz"):
    arrays = np.load(given)
    batch = arrays["reset"].shape[1]
    states = {}
    for name, entry in taken.items():
      shape = [batch if size == "batch" else size for size in entry["shape"]]
      value = entry["initial"]
      value = varied[name] if value == "npz" else float(value)
      states[name] = np.broadcast_to(value, shape).astype(entry["dtype"])
    results = []
    for t in range(len(arrays["reset"])):
      result = run({**{k: x[t] for k, x in arrays.items()}, **states})
      states = {name: result[e["next"]] for name, e in taken.items()}
      results.append({k: np.asarray(x) for k, x in result.items()})
    results = {k: np.stack([r[k] for r in results]) for k in results[0]}
    np.savez(str(given).replace("given", "results"), **results)
"""


def run(form, *paths):
  """Runs steps of arrays in STEM-*.given.npz, (time, batch, ...) each."""
  done = programs.run("-c", _LOOP, form, *paths, timeout=500)
  assert done.returncode == 0, done.stderr


def network(mixer, *others, tokens=False, **options):
  stack = nn.StackConfig.of_layers(
    *(nn.LayerConfig(name, d_model=8) for name in (mixer, *others)), **options
  )
  config = nn.NetworkConfig(stack, pooling="last")
  return nn.SequenceNetwork(config, 5, 5 if tokens else None)


def compare(directory, form, networks, time=TIME, batches=BATCHES):
  """Runs programs of networks in another process; returns errors by name."""
  paths, wanted = [], {}
  for name, each in networks.items():
    generator = np.random.default_rng(0)
    tokens = each.vocab_size is not None
    element = jax.ShapeDtypeStruct(
      () if tokens else (3,), np.int32 if tokens else np.float32
    )
    variables = jax.jit(each.init)(
      jax.random.key(0), jnp.zeros((1, 2, *element.shape), element.dtype)
    )
    path = directory / f"{name}.{form}"
    step = step_program.of_network(each, variables, element)
    step_program.save(path, step, form)
    paths.append(path)
    one = jax.jit(
      lambda *arrays, each=each, variables=variables: each.apply(
        variables, *arrays, method="step"
      )
    )
    for batch in batches:
      shape = time, batch, *element.shape
      inputs = generator.normal(size=shape).astype(np.float32)
      if tokens:
        inputs = generator.integers(0, 5, shape, np.int32)
      reset = generator.random((time, batch)) < 0.1
      np.savez(
        directory / f"{name}-{batch}.given.npz", inputs=inputs, reset=reset
      )
      states, outputs = each.initial_state((batch,)), []
      for t in range(time):
        output, states = one(inputs[t], states, reset[t])
        outputs.append(np.asarray(output))
      wanted[name, batch] = np.stack(outputs)
  run(form, *paths)
  errors = dict.fromkeys(networks, 0.0)
  for (name, batch), want in wanted.items():
    with np.load(directory / f"{name}-{batch}.results.npz") as results:
      error = float(np.abs(results["outputs"] - want).max())
    errors[name] = max(errors[name], error)
  return errors
