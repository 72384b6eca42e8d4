"""Predicted time of a step whose time axis is split over 8 to 4096 TPU chips.

  python -m benchmarks.scaling_model [--mixers=s5,mamba2] [--plot=FILE.png]

Nothing is run. The gradient of one layer is traced for the elements that a chip
holds; its matrix products and the collectives that it really has are counted.
The prediction is a roofline for the chip and latency and bandwidth for links:

  chip    max(FLOP / peak, bytes / HBM bandwidth), bytes being what matrix
          products and loops read and write once each, and what stays on the
          chip between fused operations counting nothing
  links   for each collective: hops around a torus at a microsecond, and the
          bytes that a chip receives at the bandwidth of one axis; for a
          ppermute the hops of its longest way, and the messages of the busiest
          link one after the other, at the bandwidth of one direction
  step    both, one after the other: no overlap is assumed

with the data sheet of a TPU v5e: 197 TFLOP/s, 819 GB/s, 2 x 50 GB/s for an axis
of the torus. A pod has 256 chips; what is beyond is a larger torus that nobody
sells, so that only the trend means something. What the model leaves out:
operations on vectors, which on a TPU can cost more than products, start-up of
kernels, and everything that is no layer. Read ratios, not seconds.
"""

import argparse
import collections
import math
import os
from typing import NamedTuple

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp

from benchmarks import collectives
from jaxseq import mixers
from jaxseq.training import figures

P = jax.sharding.PartitionSpec

CHIPS = (8, 16, 64, 256, 1024, 4096)
# FLOP/s; bytes/s of memory and of an axis of the torus; seconds of a hop.
PEAK, HBM, LINK, HOP = 197e12, 819e9, 100e9, 1e-6


class Work(NamedTuple):
  """What one chip does in a step.

  Attributes:
    flops: of matrix products.
    bytes: read and written, see above.
  """

  flops: float
  bytes: float


def work_of(function, *arguments) -> Work:
  """Counts the work of a program on one chip, loops as often as they run."""
  flops = size = 0.0
  for equation, times, inside in collectives.equations(function, *arguments):
    if not inside:
      continue
    name = equation.primitive.name
    if name == "dot_general":
      (contracted, _), _ = equation.params["dimension_numbers"]
      left, out = equation.invars[0].aval, equation.outvars[0].aval
      depth = math.prod(left.shape[axis] for axis in contracted)
      flops += times * 2 * depth * math.prod(out.shape)
    if name in ("dot_general", "scan"):
      size += times * (_bytes(equation.invars) + _bytes(equation.outvars))
  return Work(flops, size)


def _bytes(variables) -> float:
  return sum(
    math.prod(v.aval.shape) * v.aval.dtype.itemsize
    for v in variables
    if hasattr(v.aval, "shape") and hasattr(v.aval.dtype, "itemsize")
  )


def traced(name: str, width: int, chips: int, local: int):
  """Returns the traced gradient of a layer, and its arguments' shapes."""
  module = mixers.get(name)
  config = mixers.make_config(name, d_model=width)
  params = jax.eval_shape(
    lambda key: module.init(key, config), jax.random.key(0)
  )
  x = jax.ShapeDtypeStruct((1, chips * local, width), jnp.bfloat16)
  reset = jax.ShapeDtypeStruct((1, chips * local), jnp.bool_)
  mesh = jax.sharding.AbstractMesh(
    (chips,), ("time",), axis_types=(jax.sharding.AxisType.Auto,)
  )
  split = P(None, "time")

  def apply(params, x, reset):
    return module.apply(config, params, x, None, reset, axis="time")[0]

  run = jax.shard_map(
    apply, mesh=mesh, in_specs=(P(), split, split), out_specs=split
  )

  def loss(params, x, reset):
    return jnp.sum(run(params, x, reset).astype(jnp.float32) ** 2)

  return jax.grad(loss, argnums=(0, 1)), (params, x, reset)


def torus(chips: int) -> tuple[int, int]:
  """Rows and columns of so many chips, a power of two."""
  rows = 2 ** (int(math.log2(chips)) // 2)
  return rows, chips // rows


def route(pairs, chips: int) -> tuple[int, int]:
  """How far messages go, and how many of them share a link.

  Chips are numbered along the rows of a torus. A message goes along its row and
  then along its column, each the shorter way round; of two ways that are as
  long, the one with rising numbers.

  Args:
    pairs: which chip sends to which.
    chips: number of chips.

  Returns:
    Hops of the longest way, and messages on the busiest link.
  """
  rows, columns = torus(chips)
  longest, loads = 0, collections.Counter()
  for source, to in pairs:
    at = list(divmod(source, columns))
    goal = divmod(to, columns)
    hops = 0
    for axis, size in ((1, columns), (0, rows)):
      distance = (goal[axis] - at[axis]) % size
      step = 1 if distance <= size - distance else -1
      for _ in range(min(distance, size - distance)):
        loads[(*at, axis, step)] += 1
        at[axis] = (at[axis] + step) % size
        hops += 1
    longest = max(longest, hops)
  return longest, max(loads.values(), default=0)


def predict(name: str, width: int, chips: int, local: int):
  """Returns the seconds of the chip and of the links."""
  gradient, arguments = traced(name, width, chips, local)
  work = work_of(gradient, *arguments)
  links = 0.0
  for found in collectives.of(gradient, *arguments):
    if found.pairs is None:
      hops = sum(torus(chips)) / 2
      sent = found.received(chips) * found.dtype.itemsize
    else:
      # A link passes the messages that share it one after the other, and half
      # of an axis' bandwidth is for the other direction.
      hops, load = route(found.pairs, chips)
      sent = 2 * found.times * load * found.size * found.dtype.itemsize
    links += found.times * HOP * hops + sent / LINK
  return max(work.flops / PEAK, work.bytes / HBM), links


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument(
    "--mixers", default="s5,mamba,mamba2,lightnet,aaren", help="with commas"
  )
  parser.add_argument("--d_model", type=int, default=1024, help="width")
  parser.add_argument("--length", type=int, default=2**20, help="tokens, fixed")
  parser.add_argument(
    "--local", type=int, default=2**14, help="tokens per chip, fixed"
  )
  parser.add_argument("--plot", help="PNG to draw")
  chosen = parser.parse_args()
  print(
    f"TPU v5e, one layer of width {chosen.d_model}, gradient, bfloat16; "
    "ms a step"
  )
  curves = {}
  for title, tokens in (
    (f"{chosen.length:,} tokens", lambda chips: chosen.length // chips),
    (f"{chosen.local:,} tokens a chip", lambda chips: chosen.local),
  ):
    print(f"\n{title}: chip + links, and the share of the links\n")
    print("| chips | " + " | ".join(f"{chips:,}" for chips in CHIPS) + " |")
    print("| --- " * (1 + len(CHIPS)) + "|")
    for name in chosen.mixers.split(","):
      cells = []
      for chips in CHIPS:
        chip, links = predict(name, chosen.d_model, chips, tokens(chips))
        curves.setdefault(title, {}).setdefault(name, []).append(chip + links)
        share = links / (chip + links)
        cells.append(f"{chip * 1e3:.2f} + {links * 1e3:.2f}, {share:.0%}")
      print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
  if chosen.plot:
    draw(curves, chosen.plot)


def draw(curves, path: str) -> None:
  """Draws the predicted time of a step against the chips."""
  figure = figures.new(path, 9, 4)
  if figure is None:
    return
  both = figure.subplots(1, 2)
  for axes, (title, by_name) in zip(both, curves.items()):
    for (name, seconds), color in zip(by_name.items(), figures.COLORS):
      axes.plot(
        CHIPS, [1e3 * s for s in seconds], "o-", color=color, label=name
      )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_title(title)
    axes.set_xlabel("chips")
    axes.set_ylabel("predicted ms a step")
  both[0].legend(loc="lower left", fontsize="small")
  figures.save(figure, path)


if __name__ == "__main__":
  main()
