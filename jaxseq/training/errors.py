"""Errors that the user can fix, with a one-sentence message."""

import contextlib
import re
from typing import Literal

# Reaction to numbers that are not finite, see `finite`.
OnNonfinite = Literal["stop", "skip", "ignore"]


class UserError(ValueError):
  """A mistake in a flag, config, path or data set; the message is for a user.

  `app.run_main` prints the message alone, without a traceback.
  """


# Packages that lie beside jaxseq and are not installed with it.
_OF_THE_CLONE = ("configs", "experiments")


@contextlib.contextmanager
def setup():
  """Turns what goes wrong inside into a `UserError`.

  Wrap the part of a program that reads configs, data and files and builds
  models: there a ValueError, a missing file, a missing permission or a missing
  optional package is the user's to mend. Anything else is a bug and keeps its
  traceback.
  """
  try:
    yield
  except UserError:
    raise
  except (ValueError, OSError) as error:
    raise UserError(one_sentence(error)) from error
  except ModuleNotFoundError as error:
    text = one_sentence(error)
    if "pip install" not in text:
      text = f"the package {error.name!r} is needed here and is not installed"
      if error.name in _OF_THE_CLONE:
        text = (
          f"the config imports {error.name!r}, a folder of the clone of jaxseq "
          "that Python does not find: set PYTHONPATH to the clone, or leave "
          "--config out and give --data=FILE, with --tiny for a quick check"
        )
    raise UserError(text) from error


def one_sentence(error: BaseException) -> str:
  """Returns the error's message on one line, or its type if it has none."""
  if isinstance(error, OSError) and error.strerror:
    place = f"{error.filename}: " if error.filename else ""
    return f"{place}{error.strerror}"
  return " ".join(str(error).split()) or type(error).__name__


def of_callback(error: BaseException) -> str | None:
  """Returns the message of a `UserError` that compiled code's callback raised.

  JAX raises an error of its own, whose text ends with the traceback.

  Args:
    error: any error.

  Returns:
    The message; None if the error is of anything else.
  """
  found = re.findall(r"^(?:[\w.]+\.)?UserError: (.+)", str(error), re.M)
  return found[-1] if found else None
