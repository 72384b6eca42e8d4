"""What is timed, the most valuable first, and the least that it can take."""

from collections.abc import Callable
import dataclasses
import math
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from benchmarks.accelerators import arrays
from benchmarks.accelerators import recurrences

KINDS = ("forward", "gradient")


@dataclasses.dataclass(frozen=True)
class Problem:
  """A recurrence of some size.

  Attributes:
    op: name in `recurrences.OPS`.
    label: which of its sizes: "main", "rl", "long" or "tiny".
    dtype: of the activations.
    sizes: pairs of name and number, as in B sequences of T elements.
  """

  op: str
  label: str
  dtype: str
  sizes: tuple[tuple[str, int], ...]

  @property
  def name(self) -> str:
    """What tables call it."""
    return self.op if self.label == "main" else f"{self.op} {self.label}"

  @property
  def shape(self) -> str:
    """Its sizes in words."""
    words = [f"{name}{size}" for name, size in self.sizes]
    return " ".join([*words, "bf16" if self.dtype == "bfloat16" else "f32"])

  @property
  def arrays(self) -> dict[str, arrays.Array]:
    """Its arguments by names."""
    return self._op.arrays(dict(self.sizes), self.dtype)

  @property
  def methods(self) -> tuple[str, ...]:
    """Methods that "auto" chooses from; "auto" where there is no choice."""
    return self._op.methods()

  def arguments(self, seed: int = 0) -> dict[str, jax.Array]:
    """Draws arguments on the default device."""
    drawn = arrays.drawn(self.arrays, seed)
    return {
      name: jnp.asarray(x, self.arrays[name].dtype) for name, x in drawn.items()
    }

  def shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of the arguments."""
    return {
      name: jax.ShapeDtypeStruct(array.shape, array.dtype)
      for name, array in self.arrays.items()
    }

  def function(self, kind: str, method: str = "auto", **options) -> Callable:
    """What is timed, a function of `arguments`.

    Args:
      kind: "forward": outputs and last state; "gradient": the sum of the
        squares of the outputs, and its gradient.
      method: one of `methods`, or "auto".
      **options: further ones of the public function.
    """
    how = self._op.how(method) | options
    sizes = dict(self.sizes)

    def forward(arguments):
      y, final = self._op.run(sizes, how, False, **arguments)
      return y, jax.tree.leaves(final)

    def loss(learned, given):
      y, _ = forward({**learned, **given})
      return jnp.sum(jnp.square(y.astype(jnp.float32)))

    def gradient(arguments):
      return jax.value_and_grad(loss)(*self.split(arguments))

    return {"forward": forward, "gradient": gradient}[kind]

  def plain(self, arguments: dict[str, Any]) -> tuple[jax.Array, list]:
    """The same by plain steps, in the dtypes of the arguments."""
    y, final = self._op.run(dict(self.sizes), {}, True, **arguments)
    return y, jax.tree.leaves(final)

  def split(self, arguments: dict) -> tuple[dict, dict]:
    """Arguments that gradients are taken of, and the others."""
    learned = {n: x for n, x in arguments.items() if self.arrays[n].learned}
    return learned, {n: x for n, x in arguments.items() if n not in learned}

  def least_bytes(self, kind: str) -> int:
    """What must be read and written once.

    Forward: arguments and results. The gradient also reads arguments and the
    outputs' cotangents, and writes the arguments' cotangents.
    """
    learned, given = self.split(self.shapes())
    outputs = jax.eval_shape(self.function("forward"), learned | given)
    inputs = bytes_of((learned, given))
    forward = inputs + bytes_of(outputs)
    backward = inputs + bytes_of(outputs[0]) + bytes_of(learned)
    return forward if kind == "forward" else forward + backward

  def floor(self, kind: str, chip: "Chip") -> float:
    """Seconds that a chip needs at least.

    The longest of: its bytes at the speed of copies; exponentials, three times
    as many with a gradient, which needs each twice more; products that wait for
    each other, three times as many, too.
    """
    sizes = dict(self.sizes)
    passes = 1 if kind == "forward" else 3
    return max(
      self.least_bytes(kind) / chip.bandwidth,
      passes * self._op.exps(sizes) / chip.exps,
      passes * self._op.steps(sizes) * chip.step,
    )

  @property
  def _op(self):
    return recurrences.OPS[self.op]


class Chip(NamedTuple):
  """What bounds a program.

  Attributes:
    bandwidth: bytes per second of main memory.
    exps: exponentials per second.
    step: seconds between two products that wait for each other.
  """

  bandwidth: float
  exps: float = math.inf
  step: float = 0.0


# Bandwidths are those of copies on an H100, and of the data sheet of a v5e;
# exponentials 16 per multiprocessor and cycle, and one vector register a cycle
# at 1.5 GHz; 2 us for a step of a network across the multiprocessors.
H100 = Chip(3.0e12, 3.7e12, 2e-6)
TPU_V5E = Chip(0.819e12, 1.5e12)


def chip_of(device_kind: str, bandwidth: float) -> Chip:
  """The chip that a device says it is, with the bandwidth that was measured."""
  if "H100" in device_kind or "H200" in device_kind:
    return H100._replace(bandwidth=bandwidth)
  if "v5 lite" in device_kind or "v5e" in device_kind:
    return TPU_V5E._replace(bandwidth=bandwidth)
  return Chip(bandwidth)


def bytes_of(tree) -> int:
  """Bytes of all arrays, or shapes, of a tree."""
  return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def _problem(op, label, dtype, **sizes):
  return Problem(op, label, dtype, tuple(sizes.items()))


_F, _H = "float32", "bfloat16"
MAIN = (
  _problem("selective", "main", _H, B=8, T=4096, D=2048, N=16),
  _problem("ssd", "main", _H, B=8, T=4096, H=32, K=128, V=64),
  _problem("linear", "main", _F, B=8, T=4096, n=1024),
  _problem("gla", "main", _H, B=8, T=4096, H=8, K=128, V=128),
  _problem("delta", "main", _H, B=8, T=4096, H=8, K=128, V=128),
  _problem("kda", "main", _H, B=8, T=4096, H=8, K=128, V=128),
  _problem("mlstm", "main", _H, B=8, T=4096, H=8, K=128, V=128),
  _problem("lti", "main", _F, B=8, T=4096, H=256, P=128),
  _problem("lightnet", "main", _H, B=64, T=4096, K=128, V=128),
  _problem("aaren", "main", _F, B=8, T=4096, V=256),
  _problem("lstm", "main", _F, B=64, T=1024, H=512),
  _problem("gru", "main", _F, B=64, T=1024, H=512),
  _problem("window", "main", _H, B=8, T=4096, H=8, D=64, window=512),
  _problem("slstm", "main", _F, B=64, T=1024, H=512),
)
OTHERS = (
  _problem("lstm", "bfloat16", _H, B=64, T=1024, H=512),
  _problem("gru", "bfloat16", _H, B=64, T=1024, H=512),
  _problem("slstm", "bfloat16", _H, B=64, T=1024, H=512),
  _problem("linear", "rl", _F, B=64, T=1024, n=256),
  _problem("selective", "rl", _H, B=64, T=1024, D=256, N=16),
  _problem("ssd", "rl", _H, B=64, T=1024, H=4, K=64, V=64),
  _problem("linear", "long", _F, B=1, T=262144, n=256),
  _problem("selective", "long", _H, B=1, T=262144, D=256, N=16),
  _problem("ssd", "long", _H, B=1, T=262144, H=4, K=64, V=64),
)
ROWS = MAIN + OTHERS


def small(op: str, dtype: str = _F, time: int = 193) -> Problem:
  """A problem to check numbers on, of widths that kernels take."""
  sizes = {
    "linear": {"n": 128},
    "lti": {"H": 64, "P": 64},
    "selective": {"D": 128, "N": 16},
    "ssd": {"H": 2, "K": 64, "V": 64},
    "gla": {"H": 2, "K": 64, "V": 64},
    "delta": {"H": 2, "K": 64, "V": 64},
    "kda": {"H": 2, "K": 64, "V": 64},
    "mlstm": {"H": 2, "K": 64, "V": 64},
    "lightnet": {"K": 64, "V": 64},
    "aaren": {"V": 128},
    "window": {"H": 2, "D": 64, "window": 40},
    "lstm": {"H": 128},
    "gru": {"H": 128},
    "slstm": {"H": 128},
  }
  return _problem(op, "small", dtype, B=2, T=time, **sizes[op])


def tiny(op: str, dtype: str = _F) -> Problem:
  """A problem that a CPU does in milliseconds."""
  found = dict(small(op, dtype).sizes)
  fewer = {name: min(size, 8) for name, size in found.items()}
  return _problem(op, "tiny", dtype, **(fewer | {"B": 2, "T": 37}))
