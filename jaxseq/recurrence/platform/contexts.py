"""Contexts: the machine to choose methods for, and interpreted kernels.

All of it is part of the key of `jax.jit`'s cache: a function that was traced
outside of such a context is traced again inside.
"""

import jax

from jaxseq import _machine
from jaxseq import validate

_interpreted = jax.make_user_context(None)
_mode = jax.make_user_context("auto")
_exchange = jax.make_user_context("auto")
_guarded = jax.make_user_context(True)

# Functions of the machine itself.
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
    chip: the chip whose kernels are interpreted, "tpu" or "gpu" (from jax
      0.11).
  """
  return _interpreted(validate.choice("chip", chip, ("tpu", "gpu")))


def interpreted() -> str | None:
  """Returns the chip of the innermost `interpret`, or None."""
  return _interpreted.value


# The kernels that "auto" may choose.
MODES = ("auto", "on", "off")


def use(mode: str):
  """Context that sets whether "auto" chooses kernels.

      with recurrence.kernels.use("on"):
        y, state = mixer.apply(config, params, x)

  The gradient of a function traced inside uses the same choice. A program with
  a kernel can be exported for its chip only, not for several platforms in one.

  Args:
    mode: "auto" chooses a kernel if `table` has measured that it is the
      fastest, "on" if there is one for the platform, the dtype and the shape,
      "off" never. On a CPU all are equal, as it has no kernels.

  Raises:
    ValueError: if it is not one of these.
  """
  return _mode(validate.choice("mode", mode, MODES))


def off():
  """Context in which "auto" chooses no kernel: `use("off")`."""
  return use("off")


def guarded(on: bool):
  """Context that sets whether undefined numbers may reach other episodes.

  In matrix products 0 * NaN is NaN: numbers in one episode of a packed row that
  are not finite would spoil the others. So scans of matrix states with resets
  find such numbers, replace them by zeros, and write NaN to outputs that depend
  on them. The same holds for gradients: cotangents that are not finite are
  replaced, and the gradients of their own episode that depend on them are NaN.
  Without the guard they save that work, and one NaN spoils its row.

  It concerns `outer_scan`, `delta_scan`, `dplr_scan` and `mlstm_scan` computed
  by "chunked", and `chunked`; and for cotangents also kernels,
  `softmax_outer_scan`, `window_attention` and `softmax_attention`, which always
  check their inputs. Other methods need no guard.

  Args:
    on: True, as outside of such a context; or False.
  """
  return _guarded(bool(on))


def is_guarded() -> bool:
  """True if undefined numbers of one episode must not reach others here."""
  return _guarded.value


EXCHANGES = ("auto", "gather", "ppermute")


def exchanging(exchange: str):
  """Context that sets the exchange between devices if time is split over them.

  Args:
    exchange: "gather", one `all_gather` of a packed summary per chunk,
      "ppermute", ceil(log2(devices)) + 1 messages with one summary each, or
      "auto", the first unless very much would be gathered.

  Raises:
    ValueError: if it is not one of these.
  """
  return _exchange(validate.choice("exchange", exchange, EXCHANGES))


def exchange() -> str:
  """Returns the exchange of the innermost `exchanging`, one of `EXCHANGES`."""
  return _exchange.value


def mode() -> str:
  """Returns the mode of the innermost `use`, one of `MODES`."""
  return _mode.value
