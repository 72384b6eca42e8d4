"""Contexts: which machine methods are chosen for, and kernels interpreted.

All of it is part of what `jax.jit` remembers a program by: a function that was
traced outside such a context is traced anew inside.
"""

import jax

from jaxseq import _machine
from jaxseq import _validate

_interpreted = jax.make_user_context(None)
_mode = jax.make_user_context("auto")

# Of the machine itself.
choosing_for = _machine.choosing_for
branch = _machine.branch
machine = _machine.machine
is_branch = _machine.is_branch


def interpret(chip: str = "tpu"):
  """Context in which kernels run in Pallas's interpreter, on any platform.

  `method="pallas"` works on a CPU inside, slowly: for tests.

  Args:
    chip: whose form of a kernel is interpreted, "tpu" or "gpu" (from jax 0.11).
  """
  return _interpreted(_validate.choice("chip", chip, ("tpu", "gpu")))


def interpreted() -> str | None:
  """The chip of the `interpret` that this is called in, or None."""
  return _interpreted.value


# What "auto" takes of kernels.
MODES = ("auto", "on", "off")


def use(mode: str):
  """Context that says whether "auto" takes kernels.

      with recurrence.kernels.use("on"):
        y, state = mixer.apply(config, params, x)

  The gradient of what was traced inside takes what was taken there. A program
  that holds a kernel can be exported for its chip only, not for several
  platforms in one.

  Args:
    mode: "auto" takes one where `table` has measured that it is the fastest,
      "on" wherever there is one for the platform, the dtype and the shape,
      "off" none. A CPU has none: there all are equal.

  Raises:
    ValueError: if it is none of these.
  """
  return _mode(_validate.choice("mode", mode, MODES))


def off():
  """Context in which "auto" takes no kernel: `use("off")`."""
  return use("off")


def mode() -> str:
  """One of `MODES`: that of the `use` that this is called in."""
  return _mode.value
