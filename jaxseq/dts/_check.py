"""Checks of the arguments of this package's functions."""

from collections.abc import Sequence
import math

Groups = tuple[tuple[int, int], ...]


def choice(name: str, value: object, choices: Sequence[str]) -> None:
  """Checks an option that is one of some names.

  Raises:
    ValueError: naming the option, what came and what is expected.
  """
  if value not in choices:
    raise ValueError(
      f"{name} must be one of {', '.join(choices)}; got {value!r}."
    )


def number(
  name: str, value: object, low: float = -math.inf, high: float = math.inf
) -> None:
  """Checks a finite number in [low, high].

  Raises:
    ValueError: naming the option, what came and what is expected.
  """
  is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
  if not is_number or not math.isfinite(value) or not low <= value <= high:
    raise ValueError(
      f"{name} must be a finite number in [{low}, {high}]; got {value!r}."
    )


def positive(name: str, value: object) -> None:
  """Checks a positive integer.

  Raises:
    ValueError: naming the option and what came.
  """
  if isinstance(value, bool) or not isinstance(value, int) or value < 1:
    raise ValueError(f"{name} must be a positive integer; got {value!r}.")


def partition(groups: Sequence[Sequence[int]], size: int) -> Groups:
  """Checks half-open ranges that cover coordinates 0 .. size - 1 once.

  Args:
    groups: pairs (start, end), in any order.
    size: D.

  Returns:
    The same as a tuple of pairs of Python integers.

  Raises:
    ValueError: the ranges are empty, overlap or leave something out.
  """
  pairs = tuple((int(start), int(end)) for start, end in groups)
  covered = sorted(i for start, end in pairs for i in range(start, end))
  if any(a >= b for a, b in pairs) or covered != list(range(size)):
    raise ValueError(
      f"groups must be ranges [start, end) that together cover the {size} "
      f"coordinates once; got {pairs}."
    )
  return pairs
