"""What devices send each other when time is split over them, and keep.

  python -m benchmarks.sequence_parallel

For each scheme: messages one after the other, elements that a device receives
(the formula's number and what the traced program has), the work of the device
that is waited for, and temporary memory of the compiled program on each device.
On eight virtual devices; nothing is run. The table is that of
docs/sequence_parallel_attention.md.
"""

import argparse
from collections.abc import Callable
import os
from typing import NamedTuple

if __name__ == "__main__":
  # Read by jax when it is first imported.
  os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")
  os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from benchmarks import collectives
from jaxseq import recurrence
from jaxseq.recurrence import sharded
from jaxseq.recurrence import sharded_attention

P = jax.sharding.PartitionSpec


class Sizes(NamedTuple):
  """Sizes of the problem; letters as in the table.

  Attributes:
    W: devices.
    B: rows of the batch.
    h: heads of queries.
    g: heads of keys and values.
    C: elements on each device.
    d: width of queries, keys and values.
  """

  W: int
  B: int
  h: int
  g: int
  C: int
  d: int


class Scheme(NamedTuple):
  """A row of the table.

  Attributes:
    function: of q (B, heads, time, d), k and v, on this device's chunk.
    messages: number of messages one after the other, as a formula.
    volume: elements that a device receives, as a formula.
    count: `messages` as a function of the sizes.
    received: `volume` as a function of the sizes.
    work: products of C queries and C keys that the slowest device is waited
      for; None for linear attention, which has no such products between
      devices.
  """

  function: Callable[..., jax.Array]
  messages: str
  volume: str
  count: Callable[[Sizes], int]
  received: Callable[[Sizes], float]
  work: Callable[[Sizes], float] | None = None


def lasp1(q, k, v, *, axis):
  """Linear attention; the running state goes from device to device.

  Sun et al., "Linear Attention Sequence Parallelism", arXiv:2404.02882.
  """
  q, k, v = (x.swapaxes(-2, -3) for x in (q, k, v))
  q, k, v = sharded.sharded_exchange.vary(axis, q, k, v)
  repeats = q.shape[-2] // k.shape[-2]
  own = jnp.repeat(jnp.einsum("...tgk,...tgv->...gkv", k, v), repeats, axis=-3)
  state = jnp.zeros_like(own)
  for i in range(lax.axis_size(axis) - 1):
    received = lax.ppermute(state + own, axis, [(i, i + 1)])
    state = jnp.where(lax.axis_index(axis) == i + 1, received, state)
  k, v = (jnp.repeat(x, repeats, axis=-2) for x in (k, v))
  return recurrence.outer_scan_heads(q, k, v, None, state)[0].swapaxes(-2, -3)


def lasp2(q, k, v, *, axis):
  """Linear attention; one gather of the states of all chunks."""
  q, k, v = (x.swapaxes(-2, -3) for x in (q, k, v))
  k, v = (jnp.repeat(x, q.shape[-2] // x.shape[-2], axis=-2) for x in (k, v))
  return sharded.outer_scan_heads(q, k, v, axis=axis)[0].swapaxes(-2, -3)


def _lockstep(order, moves):
  """Steps wait for the device that has most to do."""

  def work(sizes):
    return sharded_attention.work(sizes.W, order, moves).max(1).sum() / 4

  return work


def _zigzag(scheme):
  return lambda *args, **options: scheme(*args, order="zigzag", **options)


def _keys_and_values(s):
  return (s.W - 1) * s.B * s.g * s.C * 2 * s.d


def _queries_and_results(s):
  return (s.W - 1) * s.B * s.h * s.C * (2 * s.d + 2)


_RING = "(W-1) B g C 2d"
_TOKENS = "(W-1) B h C (2d+2)"

SCHEMES = {
  "LASP-1": Scheme(
    lasp1,
    "W-1",
    "(W-1)/W B h d²",
    lambda s: s.W - 1,
    lambda s: (s.W - 1) / s.W * s.B * s.h * s.d**2,
  ),
  "LASP-2": Scheme(
    lasp2,
    "1",
    "(W-1) B h d²",
    lambda s: 1,
    lambda s: (s.W - 1) * s.B * s.h * s.d**2,
  ),
  "LASP-2H (gather)": Scheme(
    sharded_attention.gather,
    "1",
    _RING,
    lambda s: 1,
    _keys_and_values,
    lambda s: s.W,
  ),
  "RSA": Scheme(
    sharded_attention.ring_self_attention,
    "2(W-1)",
    _RING,
    lambda s: 2 * (s.W - 1),
    _keys_and_values,
    lambda s: s.W,
  ),
  "ring": Scheme(
    sharded_attention.ring,
    "W-1",
    _RING,
    lambda s: s.W - 1,
    _keys_and_values,
    _lockstep("contiguous", "keys"),
  ),
  "ring, zig-zag": Scheme(
    _zigzag(sharded_attention.ring),
    "W-1",
    _RING,
    lambda s: s.W - 1,
    _keys_and_values,
    _lockstep("zigzag", "keys"),
  ),
  "Ulysses": Scheme(
    sharded_attention.ulysses,
    "4",
    "(W-1)/W B C (2h+2g)d",
    lambda s: 4,
    # Heads of keys that W does not divide are repeated before they are sent.
    lambda s: (s.W - 1) / s.W * s.B * s.C * 2 * s.d * (s.h + np.lcm(s.g, s.W)),
    lambda s: (s.W + 1) / 2,
  ),
  "TokenRing": Scheme(
    sharded_attention.token_ring,
    "2(W-1)",
    _TOKENS,
    lambda s: 2 * (s.W - 1),
    _queries_and_results,
    _lockstep("contiguous", "queries"),
  ),
  "TokenRing, zig-zag": Scheme(
    _zigzag(sharded_attention.token_ring),
    "2(W-1)",
    _TOKENS,
    lambda s: 2 * (s.W - 1),
    _queries_and_results,
    _lockstep("zigzag", "queries"),
  ),
}


class Row(NamedTuple):
  """What one program has; of the forward pass, or with the gradient behind it.

  Attributes:
    messages: number of collectives.
    received: elements that a device receives, on average.
  """

  messages: int
  received: float


def programs(scheme: Scheme, sizes: Sizes):
  """The forward pass, the gradient, and shapes of the whole arrays."""
  mesh = jax.sharding.Mesh(np.asarray(jax.devices()[: sizes.W]), ("sp",))
  split = P(None, None, "sp")
  forward = jax.shard_map(
    lambda q, k, v: scheme.function(q, k, v, axis="sp"),
    mesh=mesh,
    in_specs=(split,) * 3,
    out_specs=split,
  )

  def gradient(q, k, v):
    return jax.grad(lambda *xs: jnp.sum(forward(*xs) ** 2), (0, 1, 2))(q, k, v)

  arguments = tuple(
    jax.ShapeDtypeStruct(
      (sizes.B, heads, sizes.W * sizes.C, sizes.d),
      jnp.float32,
      sharding=jax.NamedSharding(mesh, split),
    )
    for heads in (sizes.h, sizes.g, sizes.g)
  )
  return forward, gradient, arguments


def measure(function, arguments, devices: int) -> Row:
  """Counts the collectives of a function."""
  found = collectives.of(function, *arguments)
  return Row(
    sum(each.times for each in found),
    sum(each.received(devices) for each in found),
  )


def temporary(function, arguments) -> int:
  """Bytes of temporary memory on each device."""
  compiled = jax.jit(function).lower(*arguments).compile()
  return compiled.memory_analysis().temp_size_in_bytes


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  meanings = {
    "W": "devices",
    "B": "rows of the batch",
    "h": "heads of queries",
    "g": "heads of keys and values",
    "C": "elements on each device",
    "d": "width of a head",
  }
  for name, size in Sizes(8, 1, 8, 8, 512, 64)._asdict().items():
    parser.add_argument(
      f"--{name}",
      type=int,
      default=size,
      help=f"{meanings[name]}; {size} if not given",
    )
  sizes = Sizes(**vars(parser.parse_args()))
  if jax.device_count() < sizes.W:
    parser.error(
      f"--W={sizes.W} needs as many devices, there are {jax.device_count()}; "
      "set JAX_NUM_CPU_DEVICES."
    )
  print(
    f"jax {jax.__version__}, float32, causal;",
    ", ".join(f"{name} = {size}" for name, size in sizes._asdict().items()),
  )
  print()
  print(
    "| scheme | messages | found | elements received | predicted | found | "
    "work | MiB, forward | messages with gradient | elements | MiB |"
  )
  print("|---" * 11 + "|")
  for name, scheme in SCHEMES.items():
    forward, gradient, arguments = programs(scheme, sizes)
    once = measure(forward, arguments, sizes.W)
    both = measure(gradient, arguments, sizes.W)
    memory = [temporary(f, arguments) / 2**20 for f in (forward, gradient)]
    work = "" if scheme.work is None else f"{scheme.work(sizes):g}"
    cells = (
      name,
      f"{scheme.messages} = {scheme.count(sizes)}",
      once.messages,
      scheme.volume,
      f"{scheme.received(sizes):,.0f}",
      f"{once.received:,.0f}",
      work,
      f"{memory[0]:.1f}",
      both.messages,
      f"{both.received:,.0f}",
      f"{memory[1]:.1f}",
    )
    print("|", " | ".join(map(str, cells)), "|", flush=True)


if __name__ == "__main__":
  main()
