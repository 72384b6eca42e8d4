"""A million tokens: one device in chunks, and eight with time split over them.

  python -m benchmarks.million_tokens [--length=1048576] [--mixers=s5,mamba] \
    [--float64]

Each mixer's forward pass and the gradient of its parameters and inputs, resets
included, in a process of its own, so that its peak memory is known: what the
process held at most, and XLA's temporaries for each device. The eight devices
are virtual ones on the cores of this machine, so that the times say nothing of
eight real ones. Ends with an error if the results differ. With --float64, a
difference that is rounding falls by nine orders of magnitude.
"""

import functools
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

from absl import app
from absl import flags
import numpy as np

_LENGTH = flags.DEFINE_integer("length", 2**20, "Tokens of the sequence.")
_WIDTH = flags.DEFINE_integer("d_model", 16, "Width of the layer.")
_MIXERS = flags.DEFINE_list("mixers", ["s5", "mamba"], "Mixers to run.")
_DEVICES = flags.DEFINE_integer("devices", 8, "Virtual devices.")
_FLOAT64 = flags.DEFINE_bool("float64", False, "Instead of float32.")
_WORKER = flags.DEFINE_list(
  "worker", None, "MIXER,DEVICES,FILE: what a child process does."
)

# Sums of a million terms in another order, of 24 and 53 bits each.
_TOLERANCE = {"float32": 2e-4, "float64": 4e-13}


def work(name: str, devices: int, path: str) -> None:
  """Runs one mixer on a number of devices and saves what came out."""
  import jax
  import jax.numpy as jnp
  from jax.sharding import PartitionSpec as P

  from jaxseq import mixers

  jax.config.update("jax_enable_x64", _FLOAT64.value)
  dtype = jnp.dtype(_dtype())
  module = mixers.get(name)
  config = mixers.make_config(name, d_model=_WIDTH.value)
  params = module.init(jax.random.key(0), config)
  params = jax.tree.map(lambda leaf: leaf.astype(dtype), params)
  key_x, key_y = jax.random.split(jax.random.key(1))
  shape = (1, _LENGTH.value, _WIDTH.value)
  x = jax.random.normal(key_x, shape, dtype)
  weights = jax.random.normal(key_y, shape, dtype)
  # A document of 100,000 tokens on average; in short sequences, a tenth.
  share = max(1e-5, 10 / _LENGTH.value)
  reset = jax.random.uniform(key_x, shape[:2], jnp.float32) < share
  run = functools.partial(module.apply, config)
  state = module.initial_state(config, (1,), dtype)
  if devices > 1:
    mesh = jax.make_mesh(
      (devices,), ("time",), axis_types=(jax.sharding.AxisType.Auto,)
    )
    run = jax.shard_map(
      functools.partial(run, axis="time"),
      mesh=mesh,
      in_specs=(P(), P(None, "time"), P(), P(None, "time")),
      out_specs=(P(None, "time"), P()),
    )
    place = jax.sharding.NamedSharding(mesh, P(None, "time"))
    x, weights, reset = jax.device_put((x, weights, reset), place)

  def loss(params, x):
    y, final = run(params, x, state, reset)
    return jnp.vdot(y, weights) / y.size, (y, final)

  step = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
  compiled = jax.jit(step).lower(params, x).compile()
  start = time.perf_counter()
  (value, (y, final)), grads = jax.block_until_ready(compiled(params, x))
  seconds = time.perf_counter() - start
  leaves = [value, y, *jax.tree.leaves(final), *jax.tree.leaves(grads)]
  np.savez(
    path,
    *(np.asarray(leaf) for leaf in leaves),
    seconds=seconds,
    temporary=compiled.memory_analysis().temp_size_in_bytes,
    peak=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
  )


def start_worker(name: str, devices: int, folder: str) -> dict:
  """Returns what a child process measured and computed."""
  path = pathlib.Path(folder) / f"{name}_{devices}.npz"
  subprocess.run(
    [
      sys.executable,
      "-m",
      "benchmarks.million_tokens",
      f"--length={_LENGTH.value}",
      f"--d_model={_WIDTH.value}",
      f"--float64={_FLOAT64.value}",
      f"--worker={name},{devices},{path}",
    ],
    env={
      **os.environ,
      "JAX_PLATFORMS": "cpu",
      "JAX_NUM_CPU_DEVICES": str(devices),
    },
    check=True,
  )
  with np.load(path) as arrays:
    return dict(arrays)


def _dtype() -> str:
  return "float64" if _FLOAT64.value else "float32"


def difference(one: dict, many: dict) -> float:
  """Returns the largest difference, relative to the largest value."""
  names = [name for name in one if name.startswith("arr_")]
  return max(
    float(np.abs(one[n] - many[n]).max() / max(np.abs(one[n]).max(), 1e-30))
    for n in names
  )


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments {argv[1:]}")
  if _WORKER.value:
    name, devices, path = _WORKER.value
    work(name, int(devices), path)
    return
  print(
    f"{_LENGTH.value:,} tokens, d_model {_WIDTH.value}, batch 1, {_dtype()}"
  )
  print(
    f"{'mixer':<8}{'devices':>9}{'seconds':>10}{'peak MB':>10}"
    f"{'temporary MB a device':>24}{'difference':>12}"
  )
  worst = 0.0
  with tempfile.TemporaryDirectory() as folder:
    for name in _MIXERS.value:
      one = start_worker(name, 1, folder)
      many = start_worker(name, _DEVICES.value, folder)
      found = difference(one, many)
      worst = max(worst, found)
      for devices, values in ((1, one), (_DEVICES.value, many)):
        print(
          f"{name:<8}{devices:>9}{float(values['seconds']):>10.1f}"
          f"{int(values['peak']) / 1e6:>10.0f}"
          f"{int(values['temporary']) / 1e6:>24.1f}"
          f"{found if devices > 1 else 0.0:>12.1e}"
        )
  tolerance = _TOLERANCE[_dtype()]
  if worst > tolerance:
    raise SystemExit(
      f"the results differ by {worst:.1e}, more than {tolerance:.0e}"
    )


if __name__ == "__main__":
  app.run(main)
