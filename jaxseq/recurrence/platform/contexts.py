"""Contexts: which machine methods are chosen for, and kernels interpreted.

All of it is part of what `jax.jit` remembers a program by: a function that was
traced outside such a context is traced anew inside.
"""

import jax

from jaxseq import _machine
from jaxseq import _validate

_interpreted = jax.make_user_context(None)
_mode = jax.make_user_context("auto")
_exchange = jax.make_user_context("auto")
_guarded = jax.make_user_context(True)

# Of the machine itself.
choosing_for = _machine.choosing_for
with_cpu = _machine.with_cpu
holds_cpu = _machine.holds_cpu
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


def guarded(on: bool):
  """Context that says whether undefined numbers of one episode reach others.

  In matrix products 0 * NaN is NaN: what is not finite in one episode of a
  packed row would undo the others. So scans of matrix states with resets look
  for such numbers, set them aside, and write NaN where an output depends on
  them. The same holds for gradients: cotangents that are not finite are set
  aside, and the gradients of their own episode that depend on them are NaN.
  Without it they save that, and one NaN ruins its row.

  It concerns `outer_scan`, `delta_scan`, `dplr_scan` and `mlstm_scan` computed
  by "chunked", and `chunked`; and of cotangents also kernels,
  `softmax_outer_scan`, `window_attention` and `softmax_attention`, which look
  for numbers among their inputs in any case. Other methods need no guard.

  Args:
    on: as it is outside of such a context, True; or False.
  """
  return _guarded(bool(on))


def is_guarded() -> bool:
  """True if undefined numbers of one episode are kept from others here."""
  return _guarded.value


EXCHANGES = ("auto", "gather", "ppermute")


def exchanging(exchange: str):
  """Context that says what devices send where time is split over them.

  Args:
    exchange: "gather", one `all_gather` of a packed summary per chunk,
      "ppermute", ceil(log2(devices)) + 1 messages with one summary each, or
      "auto", the first unless very much would be gathered.

  Raises:
    ValueError: if it is none of these.
  """
  return _exchange(_validate.choice("exchange", exchange, EXCHANGES))


def exchange() -> str:
  """One of `EXCHANGES`: that of the `exchanging` that this is called in."""
  return _exchange.value


def mode() -> str:
  """One of `MODES`: that of the `use` that this is called in."""
  return _mode.value
