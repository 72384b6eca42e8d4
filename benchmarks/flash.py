"""Feed-forwards computed from a file, beside those in memory and mapped ones.

  python -m benchmarks.flash
  python -m benchmarks.flash --model runs/notes/gru/model.safetensors

The first line times single steps of an untrained network with feed-forwards of
`--kind`, of one row of tokens, whose weights are all in memory, or of which
some share is: `interop.streamed`, and arrays that lie in a mapped file, as the
operating system reads them by itself. "cached": the file is in the system's
page cache, so that no drive is read, which is so wherever there is memory
enough. "dropped": before each token the cache forgets the file, of the mapped
one the part that is not in the share, so that each token reads the drive. The
file is the same but for its order. Runs take turns; printed is the median.

With `--model`, of which the feed-forwards must be relu or relu2, lines follow
on windows and predictors: which share of the rows a token of a test text needs,
which share is read with windows of several tokens and an exact predictor, and
how many bits a byte takes with predictors of several ranks.
"""

import argparse
import functools
import mmap
import os
import pathlib
import tempfile
import time

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
import jaxseq
from jaxseq import data
from jaxseq import nn
from jaxseq.interop import row_predictors
from jaxseq.interop import safetensors_file
from jaxseq.interop import streamed
from jaxseq.tasks import language


def _parse():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--kind", default="swiglu", help="of the feed-forwards")
  parser.add_argument("--width", type=int, default=512, help="d_model")
  parser.add_argument("--neurons", type=int, default=4096)
  parser.add_argument("--layers", type=int, default=4)
  parser.add_argument("--tokens", type=int, default=16, help="of a run")
  parser.add_argument("--repeats", type=int, default=3)
  parser.add_argument(
    "--shares", type=float, nargs="+", default=[1.0, 0.5, 0.25]
  )
  parser.add_argument("--model", help="a trained model of bytes")
  parser.add_argument("--text", default="python_source", help="with --model")
  parser.add_argument("--windows", type=int, nargs="+", default=[1, 2, 4, 8])
  parser.add_argument("--ranks", type=int, nargs="+", default=[8, 16, 32, 64])
  return parser.parse_args()


def _network(flags):
  """An untrained network, and the bytes of its feed-forwards' kernels."""
  stack = nn.StackConfig(
    "gru",
    d_model=flags.width,
    num_layers=flags.layers,
    norm="rms",
    feedforward=flags.kind,
    feedforward_width=flags.neurons,
  )
  network = nn.SequenceNetwork(nn.NetworkConfig(stack), 256, 256)
  tokens = jnp.zeros((1, 1), jnp.int32)
  return network, jax.jit(network.init)(jax.random.key(0), tokens)


def _kernels(variables):
  flat = traverse_util.flatten_dict(variables, sep="/")
  return {k: x for k, x in flat.items() if "/feedforward/" in k and x.ndim == 2}


class _Mapped:
  """Variables whose feed-forwards lie in a mapped file."""

  def __init__(self, path, variables):
    kernels = _kernels(variables)
    parts = {
      name: safetensors_file.Part(x.dtype, x.shape, lambda x=x: np.asarray(x))
      for name, x in kernels.items()
    }
    safetensors_file.write_parts(path, parts, lambda digests: {})
    self._file = os.open(path, os.O_RDONLY)
    self._memory = mmap.mmap(self._file, 0, prot=mmap.PROT_READ)
    flat = traverse_util.flatten_dict(variables, sep="/")
    self._regions = safetensors_file.regions(path)[0]
    for name, region in self._regions.items():
      array = np.frombuffer(
        self._memory, region.dtype, np.prod(region.shape), region.start
      )
      flat[name] = jax.device_put(array.reshape(region.shape))
      # Otherwise the arrays are copies in memory.
      assert flat[name].unsafe_buffer_pointer() == array.ctypes.data
    self.variables = traverse_util.unflatten_dict(flat, sep="/")

  def drop(self, share):
    """Forgets what is not in the share, at the end of each array."""
    page = mmap.PAGESIZE
    for region in self._regions.values():
      start = -(-int(region.start + share * region.size) // page) * page
      size = region.start + region.size - start
      if size > 0:
        self._memory.madvise(mmap.MADV_DONTNEED, start, size)
        os.posix_fadvise(self._file, start, size, os.POSIX_FADV_DONTNEED)


def _timed(network, runs, flags):
  """Median seconds of a token of each run, in turns."""
  step = jax.jit(functools.partial(network.apply, method="step"))
  token = jnp.zeros((1,), jnp.int32)
  times = [[] for _ in runs]
  for repeat in range(flags.repeats + 1):
    for i, (variables, drop) in enumerate(runs):
      states = network.initial_state((1,))
      for _ in range(flags.tokens):
        drop()
        start = time.perf_counter()
        logits, states = step(variables, token, states)
        jax.block_until_ready(logits)
        if repeat:
          times[i].append(time.perf_counter() - start)
  return [float(np.median(each)) for each in times]


def _compare(folder, flags):
  """Prints tokens a second of all ways and shares."""
  network, variables = _network(flags)
  path = pathlib.Path(folder) / "network.rows"
  streamed.save(path, network, variables)
  mapped = _Mapped(pathlib.Path(folder) / "mapped", variables)
  rows = sum(x.nbytes for x in _kernels(variables).values())
  total = sum(x.nbytes for x in jax.tree.leaves(variables))
  descriptor = os.open(path, os.O_RDONLY)

  def forget():
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

  def nothing():
    pass

  names, runs = [("in memory", "", "")], [(variables, nothing)]
  for share in flags.shares:
    # Two buffers of 4 MiB are part of the memory.
    memory = int(total - (1 - share) * rows)
    _, weights = streamed.load(path, memory, check=False)
    drop = functools.partial(mapped.drop, share)
    for cache, ours, theirs in (
      ("cached", nothing, nothing),
      ("dropped", forget, drop),
    ):
      names += [("streamed", share, cache), ("mapped", share, cache)]
      runs += [(weights, ours), (mapped.variables, theirs)]
  print(f"feed-forwards {rows / 2**20:.0f} MiB, all {total / 2**20:.0f} MiB")
  for (name, share, cache), seconds in zip(names, _timed(network, runs, flags)):
    share = f"{share:.0%}" if share else ""
    print(f"| {name} | {share} | {cache} | {1 / seconds:.1f} |", flush=True)
  os.close(descriptor)


def _bits(network, variables, tokens):
  """Bits of a byte."""
  logits, _ = jax.jit(network.apply)(variables, tokens[:, :-1])
  logs = jax.nn.log_softmax(logits)
  taken = jnp.take_along_axis(logs, tokens[:, 1:, None], -1)
  return -float(jnp.mean(taken)) / np.log(2)


def _read_shares(network, variables, tokens):
  """The shares of rows that steps need, and that they read."""
  step = jax.jit(functools.partial(network.apply, method="step"))
  states = network.initial_state((1,))
  for token in tokens:
    _, states = step(variables, token[None], states)
  layers = streamed.layers(variables).values()
  rows = sum(x.counts.calls * x.source.region.shape[0] for x in layers)
  needed = sum(x.counts.rows for x in layers)
  return needed / rows, sum(x.counts.rows_read for x in layers) / rows


def _predict(folder, flags):
  """Prints what windows and predictors of a trained model do."""
  model = jaxseq.load(flags.model)
  network = model.network
  path = pathlib.Path(folder) / "model.rows"
  streamed.save(path, network, model.variables)
  splits = language.from_splits(data.load(flags.text))
  train, test = (np.asarray(x.tokens) for x in (splits.train, splits.test))
  train = train.reshape(-1)[: 64 * 256].reshape(64, 256).astype(np.int32)
  test = test.reshape(-1)[: 32 * 256].reshape(32, 256).astype(np.int32)
  load = functools.partial(streamed.load, path, "1GB", check=False)
  _, weights = load()
  exact = row_predictors.exact(weights)
  for window in flags.windows:
    found = load(predictors=exact, window=window)[1]
    needed, read = _read_shares(network, found, test[0])
    print(f"| {window} | {needed:.3f} | {read:.3f} |", flush=True)
  bits = _bits(network, model.variables, test)
  print(f"| all | {bits:.4f} | | |")
  for rank in flags.ranks:
    for steps in (0, 1000):
      fitted = row_predictors.fit(network, weights, train, rank, steps=steps)
      found = load(predictors=fitted)[1]
      share, _ = _read_shares(network, found, test[0])
      bits = _bits(network, load(predictors=fitted)[1], test)
      print(f"| {rank} | {steps} | {bits:.4f} | {share:.3f} |", flush=True)


def main():
  """Prints all that is asked for."""
  flags = _parse()
  print(timing.machine())
  with tempfile.TemporaryDirectory(dir=".") as folder:
    if flags.model:
      _predict(folder, flags)
    else:
      _compare(folder, flags)


if __name__ == "__main__":
  main()
