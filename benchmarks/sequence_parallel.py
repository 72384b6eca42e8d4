"""What devices send each other when time is split over them, and keep.

  python -m benchmarks.sequence_parallel

For each scheme, by formula and as found: messages one after the other, elements
that a device receives (in the traced program), temporary memory of each device
(in the compiled program), and time: CPU seconds of the forward pass of all
devices together, since virtual devices share the cores. Its prediction is the
number of products of blocks times the time of one, measured on one device. On
eight virtual devices. The tables are those of
docs/sequence_parallel_attention.md.
"""

import argparse
from collections.abc import Callable
import functools
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
from benchmarks import timing
from jaxseq import recurrence
from jaxseq.recurrence.attention._schemes import layout
from jaxseq.recurrence.shared import _prefix

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
    memory: what a device has to hold beside arguments and results, as a
      formula: K is a block of keys and values, Q one of queries, A one of
      running averages, S a tile of scores.
    held: `memory` in elements, as a function of the sizes.
    memory_gradient: `memory` of the gradient.
    held_gradient: `memory_gradient` in elements.
    products: of blocks, of all devices together.
    work: products of C queries and C keys that the slowest device is waited
      for; None for linear attention, which has no such products between
      devices.
  """

  function: Callable[..., jax.Array]
  messages: str
  volume: str
  count: Callable[[Sizes], int]
  received: Callable[[Sizes], float]
  memory: str
  held: Callable[[Sizes], float]
  memory_gradient: str
  held_gradient: Callable[[Sizes], float]
  products: Callable[[Sizes], float]
  work: Callable[[Sizes], float] | None = None


def lasp1(q, k, v, *, axis):
  """Linear attention; the running state goes from device to device.

  Sun et al., "Linear Attention Sequence Parallelism", arXiv:2404.02882.
  """
  q, k, v = (x.swapaxes(-2, -3) for x in (q, k, v))
  q, k, v = _prefix.vary(axis, q, k, v)
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
  return recurrence.outer_scan_heads(q, k, v, axis=axis)[0].swapaxes(-2, -3)


def ring_work(
  devices: int, order: str = "contiguous", moves: str = "keys"
) -> np.ndarray:
  """Counts what each device computes in each step of a causal ring.

  The unit is the product of half of a device's queries with half of a device's
  keys. What is skipped, because all of it is in the future, is not counted.
  `moves` is "keys", as in `ring`, or "queries", as in `token_ring`. Returns
  (steps, devices) integers; a step lasts as long as the largest of its row.
  """
  split = layout.Layout(order, devices, 2)
  step, home = np.mgrid[:devices, :devices]
  q, k = (
    (home, (home - step) % devices)
    if moves == "keys"
    else ((home + step) % devices, home)
  )
  unit = (2 // split.parts) ** 2
  return unit * sum(
    (split.chunk(q, a) >= split.chunk(k, c)).astype(int)
    for a in range(split.parts)
    for c in range(split.parts)
  )


def _lockstep(order, moves):
  """Steps wait for the device that has most to do."""

  def work(sizes):
    return ring_work(sizes.W, order, moves).max(1).sum() / 4

  return work


def _attention(scheme):
  return functools.partial(recurrence.softmax_attention, scheme=scheme)


def _zigzag(scheme):
  return lambda *args, **options: scheme(*args, order="zigzag", **options)


def _keys_and_values(s):
  return (s.W - 1) * s.B * s.g * s.C * 2 * s.d


def _queries_and_results(s):
  return (s.W - 1) * s.B * s.h * s.C * (2 * s.d + 2)


def _all(order, moves):
  """Products of blocks that are not skipped, on all devices together."""

  def products(sizes):
    return ring_work(sizes.W, order, moves).sum() / 4

  return products


def _k(s):
  return s.B * s.g * s.C * 2 * s.d


def _q(s):
  return s.B * s.h * s.C * s.d


def _a(s):
  return s.B * s.h * s.C * (s.d + 2)


def _s(s):
  return s.B * s.h * min(s.C, _TILE) * s.C


def _row(s):
  """A device's scores with the whole sequence."""
  return s.B * s.h * s.C * s.W * s.C


def _exchanged(s):
  """Queries, keys, values and outputs; Ulysses repeats keys where W wants."""
  return 2 * s.B * s.C * s.d * (s.h + np.lcm(s.g, s.W))


def _ring_holds(s):
  return 2 * _k(s) + 2 * _a(s) + _s(s)


def _ring_gradient_holds(s):
  return 4 * _k(s) + 2 * _a(s) + _q(s) + 2 * _s(s)


def _tokens_hold(s):
  return 2 * _q(s) + 3 * _a(s) + _s(s)


def _tokens_gradient_holds(s):
  return s.W * _q(s) + 2 * s.W * _a(s) + 2 * _s(s)


# Queries whose scores are worked on at once.
_TILE = 128
_RING = "(W-1) B g C 2d"
_TOKENS = "(W-1) B h C (2d+2)"

_RING_SCHEME = Scheme(
  _attention("ring"),
  "W-1",
  _RING,
  lambda s: s.W - 1,
  _keys_and_values,
  "2 K + 2 A + S",
  _ring_holds,
  "4 K + 2 A + Q + 2 S",
  _ring_gradient_holds,
  _all("contiguous", "keys"),
  _lockstep("contiguous", "keys"),
)
_TOKEN_SCHEME = Scheme(
  _attention("token_ring"),
  "2(W-1)",
  _TOKENS,
  lambda s: 2 * (s.W - 1),
  _queries_and_results,
  "2 Q + 3 A + S",
  _tokens_hold,
  "W Q + 2 W A + 2 S",
  _tokens_gradient_holds,
  _all("contiguous", "queries"),
  _lockstep("contiguous", "queries"),
)


def _in_zigzag(scheme, moving):
  """The same in the other layout, which shares the work otherwise."""
  return scheme._replace(
    function=_zigzag(scheme.function),
    products=_all("zigzag", moving),
    work=_lockstep("zigzag", moving),
  )


SCHEMES = {
  "LASP-1": Scheme(
    lasp1,
    "W-1",
    "(W-1)/W B h d²",
    lambda s: s.W - 1,
    lambda s: (s.W - 1) / s.W * s.B * s.h * s.d**2,
    "2 Q + K + B h d²",
    lambda s: 2 * _q(s) + _k(s) + s.B * s.h * s.d**2,
    "4 Q + 2 K + 2 B h d²",
    lambda s: 4 * _q(s) + 2 * _k(s) + 2 * s.B * s.h * s.d**2,
    lambda s: s.W,
  ),
  "LASP-2": Scheme(
    lasp2,
    "1",
    "(W-1) B h d²",
    lambda s: 1,
    lambda s: (s.W - 1) * s.B * s.h * s.d**2,
    "2 Q + K + W B h d²",
    lambda s: 2 * _q(s) + _k(s) + s.W * s.B * s.h * s.d**2,
    "4 Q + 2 K + 2 W B h d²",
    lambda s: 4 * _q(s) + 2 * _k(s) + 2 * s.W * s.B * s.h * s.d**2,
    lambda s: s.W,
  ),
  "LASP-2H (gather)": Scheme(
    _attention("gather"),
    "1",
    _RING,
    lambda s: 1,
    _keys_and_values,
    "W K + 2 A + S",
    lambda s: s.W * _k(s) + 2 * _a(s) + _s(s),
    "2 W K + W A + 2 S",
    lambda s: 2 * s.W * _k(s) + s.W * _a(s) + 2 * _s(s),
    lambda s: s.W * (s.W + 1) / 2,
    lambda s: s.W,
  ),
  "RSA": Scheme(
    _attention("ring_self_attention"),
    "2(W-1)",
    _RING,
    lambda s: 2 * (s.W - 1),
    _keys_and_values,
    "2 B h C N + K",
    lambda s: 2 * _row(s) + _k(s),
    "4 B h C N + W K",
    lambda s: 4 * _row(s) + s.W * _k(s),
    lambda s: s.W**2,
    lambda s: s.W,
  ),
  "ring": _RING_SCHEME,
  "ring, zig-zag": _in_zigzag(_RING_SCHEME, "keys"),
  "Ulysses": Scheme(
    _attention("ulysses"),
    "4",
    "(W-1)/W B C (2h+2g)d",
    lambda s: 4,
    # Heads of keys that W does not divide are repeated before they are sent.
    lambda s: (s.W - 1) / s.W * s.B * s.C * 2 * s.d * (s.h + np.lcm(s.g, s.W)),
    "2 Q + K + S / W",
    lambda s: _exchanged(s) + _s(s) / s.W,
    "4 Q + 2 K + 2 S / W",
    lambda s: 2 * _exchanged(s) + 2 * _s(s) / s.W,
    lambda s: s.W * (s.W + 1) / 2,
    lambda s: (s.W + 1) / 2,
  ),
  "TokenRing": _TOKEN_SCHEME,
  "TokenRing, zig-zag": _in_zigzag(_TOKEN_SCHEME, "queries"),
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


def seconds(function, arguments, repeats: int = 5) -> float:
  """CPU seconds of a run on all devices, the least of several."""
  rng = np.random.default_rng(0)
  arrays = [
    jax.device_put(rng.normal(size=x.shape).astype(x.dtype), x.sharding)
    for x in arguments
  ]
  return timing.measure(function, arrays, repeats).cpu


def unit_seconds(sizes: Sizes, linear: bool) -> float:
  """CPU seconds of one block on one device: of all there is with W = 1.

  Args:
    sizes: of the problem on W devices.
    linear: of linear attention, a chunk; else C queries with C keys.
  """
  name = "LASP-1" if linear else "LASP-2H (gather)"
  forward, _, arguments = programs(SCHEMES[name], sizes._replace(W=1))
  return seconds(forward, arguments)


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
    "memory | MiB predicted | found | work | CPU ms predicted | found |"
  )
  print("|---" * 12 + "|", flush=True)
  gradients = []
  units = {linear: unit_seconds(sizes, linear) for linear in (False, True)}
  for name, scheme in SCHEMES.items():
    forward, gradient, arguments = programs(scheme, sizes)
    once = measure(forward, arguments, sizes.W)
    both = measure(gradient, arguments, sizes.W)
    found = [temporary(f, arguments) / 2**20 for f in (forward, gradient)]
    held, held_gradient = (
      4 * f(sizes) / 2**20 for f in (scheme.held, scheme.held_gradient)
    )
    predicted = scheme.products(sizes) * units[scheme.work is None]
    cells = (
      name,
      f"{scheme.messages} = {scheme.count(sizes)}",
      once.messages,
      scheme.volume,
      f"{scheme.received(sizes):,.0f}",
      f"{once.received:,.0f}",
      scheme.memory,
      f"{held:.1f}",
      f"{found[0]:.1f}",
      "" if scheme.work is None else f"{scheme.work(sizes):g}",
      f"{1e3 * predicted:.0f}",
      f"{1e3 * seconds(forward, arguments):.0f}",
    )
    print("|", " | ".join(map(str, cells)), "|", flush=True)
    gradients.append(
      (
        name,
        both.messages,
        f"{both.received:,.0f}",
        scheme.memory_gradient,
        f"{held_gradient:.1f}",
        f"{found[1]:.1f}",
      )
    )
  print("\nwith gradient")
  print("\n| scheme | messages | elements | memory | MiB predicted | found |")
  print("|---" * 6 + "|")
  for cells in gradients:
    print("|", " | ".join(map(str, cells)), "|", flush=True)


if __name__ == "__main__":
  main()
