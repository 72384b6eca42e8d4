"""Chips that kernels run on, and helpers that kernels share."""

from collections.abc import Callable
import functools
from typing import NamedTuple
from typing import NoReturn
from typing import TypeVar

import jax
import jax.numpy as jnp

from jaxseq.recurrence.platform import contexts
from jaxseq.recurrence.platform import registry

_T = TypeVar("_T")

# What is called to reach them, for messages.
_FUNCTIONS = {
  "delta_per_channel": "delta_scan with a decay per channel",
  "outer": "outer_scan",
  "outer_per_channel": "outer_scan with a decay per channel",
  "softmax_outer": "softmax_outer_scan",
  "window": "window_attention",
} | {
  op: f"{op}_scan"
  for op in ("delta", "gated", "linear", "lti", "mlstm", "selective")
}
# Methods of other names, by which a chip's kernels are taken.
_OTHERS = {("window", "gpu"): "; a GPU has method='tokamax' and 'cudnn'"}
# GPUs that the kernels are written for: Hopper.
_CAPABILITIES = ("sm_90",)


class Form(NamedTuple):
  """Static form of the kernel that runs.

  Attributes:
    chip: "tpu" or "gpu".
    interpret: whether Pallas's interpreter runs it.
  """

  chip: str
  interpret: bool


def form(op: str, dtype: jnp.dtype) -> Form:
  """The form in which `method="pallas"` runs here.

  Args:
    op: a key of `registry.KERNELS`.
    dtype: of the inputs.

  Returns:
    The form.

  Raises:
    NotImplementedError: if there is none, with the reason.
  """
  chip = contexts.interpreted()
  if chip is None:
    reason = why_not(op, *contexts.machine(), dtype)
    result = Form(contexts.machine()[0], False)
  else:
    fitting = {"tpu": None, "gpu": _CAPABILITIES[0]}[chip]
    reason = why_not(op, chip, fitting, dtype)
    result = Form(chip, True)
  if reason is not None:
    raise NotImplementedError(reason)
  return result


def why_not(
  op: str, platform: str, chip: str | None, dtype: jnp.dtype
) -> str | None:
  """Reason why no kernel runs there: a sentence, or None if one does.

  Args:
    op: a key of `registry.KERNELS`.
    platform: "cpu", "gpu", "tpu", ...
    chip: as `contexts.machine` gives it.
    dtype: of the inputs.
  """

  def why(got, expected):
    return sentence(op, got, expected)

  dtype = jnp.dtype(dtype)
  if op not in registry.KERNELS:
    return why("a recurrence without kernels", " or ".join(registry.KERNELS))
  if platform not in ("gpu", "tpu"):
    expected = "a TPU, a GPU of the kind H100, or a test's context "
    expected += "jaxseq.recurrence.kernels.interpret()"
    return why(f"platform {platform}", expected)
  chips = [each for each in registry.KERNELS[op] if (op, each) not in _OTHERS]
  if platform not in chips:
    others = _OTHERS.get((op, platform), "")
    return why(f"platform {platform}", " or ".join(chips) + others)
  if jnp.finfo(dtype).bits > 32:
    return why(f"dtype {dtype}", "numbers of at most 32 bits a part")
  if platform == "gpu" and chip not in _CAPABILITIES:
    return why(f"GPU {chip}", " or ".join(_CAPABILITIES))
  if platform == "gpu" and jax.__version_info__ < (0, 11):
    return why(f"jax {jax.__version__} on a GPU", "0.11 or later")
  if not registry.is_there(op, platform):
    name = registry.module(op, platform)
    return why(f"no module {name}", "an installation that has it")
  return None


def sentence(op: str, got: str, expected: str, method: str = "pallas") -> str:
  """Error text where there is no kernel.

  Args:
    op: the recurrence.
    got: what came.
    expected: what there are kernels for.
    method: what the caller named.
  """
  name = _FUNCTIONS.get(op, op)
  return f"method={method!r} of {name}: got {got}, expected {expected}."


def refuse(op: str, got: str, expected: str) -> NoReturn:
  """Raises NotImplementedError: no kernel of a GPU takes what came."""
  raise NotImplementedError(sentence(op, f"{got} on a GPU", expected))


def in_32_bits(call: Callable[..., _T]) -> Callable[..., _T]:
  """The function that calls a kernel, with integers of 32 bits inside.

  Those of 64, which Python's numbers are with `jax_enable_x64`, are none that
  Pallas lowers.
  """

  @functools.wraps(call)
  def narrow(*arguments, **named):
    with jax.enable_x64(False):
      return call(*arguments, **named)

  return narrow


def interpreter(form: Form):
  """Argument `interpret=` of `pl.pallas_call` or `plgpu.kernel`."""
  if not form.interpret:
    return False
  if form.chip == "tpu":
    return True
  from jax.experimental.pallas import mosaic_gpu as plgpu

  return plgpu.InterpretGPUParams()


def varying(
  like: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype
) -> jax.ShapeDtypeStruct:
  """A result of a kernel that varies over devices as an argument does.

  Args:
    like: the argument; of no consequence outside `jax.shard_map`.
    shape: of the result.
    dtype: of the result.
  """
  varies = jax.typeof(like).manual_axis_type
  return jax.ShapeDtypeStruct(shape, dtype, manual_axis_type=varies)


def padded(
  x: jax.Array, axis: int, multiple: int, fill: float = 0
) -> jax.Array:
  """`x` with `fill` at the end of an axis, up to a multiple of a size."""
  missing = -x.shape[axis] % multiple
  if not missing:
    return x
  widths = [(0, 0)] * x.ndim
  widths[axis] = (0, missing)
  return jnp.pad(x, widths, constant_values=fill)


def cut(x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """The first entries of all axes, of an array that was padded."""
  return x[tuple(map(slice, shape))]
