"""The machine that programs are made for, and contexts that say otherwise.

The contexts are part of what `jax.jit` remembers a program by: a function that
was traced outside of one is traced anew inside.
"""

import jax

from jaxseq import validate

_machine = jax.make_user_context(None)
_branch = jax.make_user_context(None)
_with_cpu = jax.make_user_context(False)


def choosing_for(platform: str, chip: str | None = None):
  """Context in which methods are chosen as on a machine with that chip.

  For exports from a machine without it; and with "cpu" for programs that run
  on the CPU of a machine with an accelerator. Without it, or `with_cpu`, they
  take the accelerator's methods, which are slower there.

  Args:
    platform: "cpu", "gpu" or "tpu".
    chip: as `machine` gives it; None is a chip of which nothing is known.
  """
  validate.choice("platform", platform, ("cpu", "gpu", "tpu"))
  return _machine((platform, chip))


def with_cpu(on: bool = True):
  """Context in which programs hold the CPU's methods beside an accelerator's.

  For one program that is exported for several platforms. Recurrences are traced
  twice then.

  Args:
    on: whether they do, False as outside of such a context.
  """
  return _with_cpu(bool(on))


def holds_cpu() -> bool:
  """True inside of `with_cpu`."""
  return _with_cpu.value


def branch(platform: str, chip: str | None):
  """Context of code that is traced for one kind of chip alone."""
  return _branch((platform, chip))


def machine() -> tuple[str, str | None]:
  """Platform and chip of the machine, or of one branch of a program.

  Returns:
    The platform as `jax.default_backend()` gives it, and the chip: a GPU's
    compute capability, such as "sm_90"; a TPU's kind, such as "TPU v5 lite";
    None of other platforms.
  """
  fixed = _branch.value or _machine.value
  if fixed is not None:
    return fixed
  platform = jax.default_backend()
  return platform, _chip(platform)


def is_branch() -> bool:
  """True while code is traced for one kind of chip alone."""
  return _branch.value is not None


def _chip(platform):
  """The kind of the first device."""
  if platform not in ("gpu", "tpu"):
    return None
  device = jax.devices()[0]
  if platform == "tpu":
    return device.device_kind
  capability = getattr(device, "compute_capability", None)
  return capability and f"sm_{capability.replace('.', '')}"
