"""Chips that kernels run on, and why they do not run elsewhere."""

from typing import NamedTuple
from typing import NoReturn

import jax
import jax.numpy as jnp

from jaxseq.recurrence.platform import contexts
from jaxseq.recurrence.platform import registry

# The public functions that run them, for messages.
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
# Other names of methods that run a chip's kernels.
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
  """Returns the form in which `method="pallas"` runs here.

  Args:
    op: a key of `registry.KERNELS`.
    dtype: of the inputs.

  Returns:
    The form.

  Raises:
    NotImplementedError: if no kernel runs here, with the reason.
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
  """Returns why no kernel runs there: a sentence, or None if one does.

  Args:
    op: a key of `registry.KERNELS`.
    platform: "cpu", "gpu", "tpu", ...
    chip: as `contexts.machine` gives it.
    dtype: dtype of the inputs.
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
  """Returns the text of the error that there is no kernel.

  Args:
    op: the recurrence.
    got: the given value.
    expected: the values that kernels support.
    method: the method that the caller named.
  """
  name = _FUNCTIONS.get(op, op)
  return f"method={method!r} of {name}: got {got}, expected {expected}."


def refuse(op: str, got: str, expected: str) -> NoReturn:
  """Raises NotImplementedError: no kernel of a GPU supports the given value."""
  raise NotImplementedError(sentence(op, f"{got} on a GPU", expected))
