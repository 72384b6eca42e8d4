"""Programs over lists of bytes: the language of the KoLMogorov Test.

Each line names the result of one function of numbers and of earlier lines, and
the last one is the output:

    sequence_1 = range_func_up(3, 9)
    sequence_2 = filter(is_odd, sequence_1)
    output = sequence_2

`parse` and `run` are a parser of this grammar and an interpreter of its
programs. They never call Python's own, and bound lengths and numbers.

Source: arXiv 2503.13992 and its code.
"""

from collections.abc import Callable
from collections.abc import Sequence
import itertools
import math
import re
from typing import Any
from typing import NamedTuple

from jaxseq import validate

# Kinds of arguments: a number 0 .. 255, one of 1 .. 255, one of 1 .. 256 that
# ends a range, an earlier line, a predicate, and numbers in brackets.
VALUE, COUNT, STOP, LIST, PREDICATE, VALUES = range(6)
PREDICATES: dict[str, Callable[[int], bool]] = {
  "is_even": lambda x: x % 2 == 0,
  "is_odd": lambda x: x % 2 == 1,
  "is_not_zero": lambda x: x != 0,
}
# Most lines of a program, longest list, and exclusive bound of numbers.
MAX_LINES, MAX_LENGTH, MAX_NUMBER = 64, 4096, 2**31
# Numbers of functions and of bits per value in the published bit count.
_PUBLISHED_FUNCTIONS, _BITS = 23, 8


def _length(*arguments):
  """Sums the lengths of the arguments that are lists."""
  return sum(len(x) for x in arguments if isinstance(x, list | tuple))


class Function(NamedTuple):
  """A function of the language.

  Attributes:
    arguments: kinds of its arguments.
    call: computes the result from the arguments.
    size: bounds the length of the result from the arguments.
  """

  arguments: tuple[int, ...]
  call: Callable[..., list[int]]
  size: Callable[..., int] = _length


class Line(NamedTuple):
  """A line of a program.

  Attributes:
    function: name of the function.
    arguments: numbers; a tuple of numbers for VALUES, a name for PREDICATE, and
      for LIST the number of an earlier line, from 0 on.
  """

  function: str
  arguments: tuple[Any, ...]

  @property
  def by_kind(self) -> list[tuple[int, Any]]:
    """The arguments, as pairs (kind, argument)."""
    return list(zip(FUNCTIONS[self.function].arguments, self.arguments))


class Program(NamedTuple):
  """A program.

  Attributes:
    lines: lines of the program.
    output: number of the line that is the output.
  """

  lines: tuple[Line, ...]
  output: int


def _interleaved(x, y):
  """Interleaves two lists, then appends the rest of the longer one."""
  both = list(itertools.chain.from_iterable(zip(x, y)))
  rest = min(len(x), len(y))
  return both + x[rest:] + y[rest:]


def _span(low, high, step=1):
  """Upper bound on the length of a range."""
  return max(0, high - low) // step + 1


FUNCTIONS: dict[str, Function] = {
  "range_func_up": Function(
    (VALUE, VALUE), lambda a, b: list(range(a, b + 1)), _span
  ),
  "range_func_interval": Function(
    (VALUE, STOP, COUNT), lambda a, b, step: list(range(a, b, step)), _span
  ),
  "repeat_num": Function((COUNT, VALUE), lambda n, v: [v] * n, lambda n, v: n),
  "set_list": Function((VALUES,), list),
  "repeat_list": Function(
    (COUNT, LIST), lambda n, x: x * n, lambda n, x: n * len(x)
  ),
  "reverse_list": Function((LIST,), lambda x: x[::-1]),
  "substitute": Function(
    (LIST, VALUE, VALUE),
    lambda x, old, new: [new if each == old else each for each in x],
  ),
  "get_subsequence_with_jumps": Function(
    (LIST, COUNT), lambda x, step: x[::step]
  ),
  "get_subsequence_between_indices": Function(
    (LIST, VALUE, STOP), lambda x, low, high: x[low:high]
  ),
  "max_n": Function((LIST, COUNT), lambda x, n: sorted(x, reverse=True)[:n]),
  "min_n": Function((LIST, COUNT), lambda x, n: sorted(x)[:n]),
  "add_item_list": Function((LIST, VALUE), lambda x, v: [i + v for i in x]),
  "subtract_item_list": Function(
    (LIST, VALUE), lambda x, v: [i - v for i in x]
  ),
  "modulo_item_list": Function((LIST, COUNT), lambda x, v: [i % v for i in x]),
  "filter": Function(
    (PREDICATE, LIST), lambda name, x: list(filter(PREDICATES[name], x))
  ),
  "add_two_lists": Function(
    (LIST, LIST), lambda x, y: [a + b for a, b in zip(x, y)]
  ),
  "subtract_two_lists": Function(
    (LIST, LIST), lambda x, y: [a - b for a, b in zip(x, y)]
  ),
  "modulo_two_lists": Function(
    (LIST, LIST), lambda x, y: [a % b for a, b in zip(x, y) if b]
  ),
  "scan_add": Function((LIST,), lambda x: list(itertools.accumulate(x))),
  "concatenate": Function((LIST, LIST), lambda x, y: x + y),
  "interleave": Function((LIST, LIST), _interleaved),
}
# Fixed bits in the published count that differ from, or add to, the bits of the
# arguments.
_PUBLISHED_COUNTS = {
  "range_func_interval": 3.0,
  "repeat_num": math.log2(20),
  "get_subsequence_with_jumps": 3.0,
  "repeat_list": 3.0,
}


def call(function: str, *arguments: object) -> list[int]:
  """Calls a function.

  Args:
    function: name of the function.
    *arguments: its arguments, with lists of numbers in place of lines.

  Raises:
    ValueError: if there is no such function, an argument is of another kind, or
      the result is too long or has too large numbers.
  """
  validate.choice("function", function, FUNCTIONS)
  kinds, result_of, size = FUNCTIONS[function]
  if len(arguments) != len(kinds):
    raise validate.error(function, len(arguments), f"{len(kinds)} arguments")
  for kind, value in zip(kinds, arguments):
    _check(function, kind, value)
  if size(*arguments) > MAX_LENGTH:
    expected = f"at most {MAX_LENGTH} numbers"
    raise validate.error(function, "a longer list", expected)
  result = result_of(*arguments)
  if any(abs(number) >= MAX_NUMBER for number in result):
    raise validate.error(function, max(map(abs, result)), "smaller numbers")
  return result


def _check(function, kind, value):
  """Checks an argument of a function."""
  name = f"an argument of {function}"
  if kind == PREDICATE:
    validate.choice(name, value, PREDICATES)
  elif kind == LIST:
    validate.instance(name, value, list, "a list")
  elif kind == VALUES:
    if not value:
      raise validate.error(name, value, "at least one number")
    for each in value:
      validate.integer(name, each, 0, 255)
  else:
    low = 0 if kind == VALUE else 1
    validate.integer(name, value, low, 256 if kind == STOP else 255)


def run(program: Program) -> list[int]:
  """Runs a program and returns its output.

  Raises:
    ValueError: if a line refers to a line that is not before it, or as in
      `call`; or if there are more lines than MAX_LINES.
  """
  if len(program.lines) > MAX_LINES:
    expected = f"at most {MAX_LINES} lines"
    raise validate.error("program", len(program.lines), expected)
  results: list[list[int]] = []

  def line(number):
    validate.integer("number of a line", number, 0, len(results) - 1)
    return results[number]

  for function, arguments in program.lines:
    validate.choice("function", function, FUNCTIONS)
    kinds = FUNCTIONS[function].arguments
    values = [
      line(value) if kind == LIST else value
      for kind, value in itertools.zip_longest(kinds, arguments)
    ]
    results.append(call(function, *values))
  return line(program.output)


_CALL = re.compile(r"(\w+) = (\w+)\((.*)\)", re.ASCII)
_OUTPUT = re.compile(r"output = (\w+)", re.ASCII)
_ARGUMENT = re.compile(r"\[[\d, ]*\]|\w+", re.ASCII)
_NAME = re.compile(r"sequence_([1-9]\d{0,2})", re.ASCII)
_NUMBER = re.compile(r"\d{1,3}", re.ASCII)


def parse(text: str) -> Program:
  """Parses a program.

  Args:
    text: one assignment per line, to sequence_1, sequence_2 and so on, the last
      one to `output`; empty lines, and text after "#", are skipped.

  Raises:
    ValueError: if it is not a program of this grammar.
  """
  rows = [row.split("#")[0].strip() for row in text.splitlines()]
  numbered = [(number, row) for number, row in enumerate(rows, 1) if row]
  lines: list[Line] = []
  for number, row in numbered[:-1]:
    where = f"program, line {number}"
    match = _CALL.fullmatch(row)
    if match is None:
      expected = "an assignment, such as sequence_1 = set_list([1, 2])"
      raise validate.error(where, row, expected)
    name = f"sequence_{len(lines) + 1}"
    if match[1] != name:
      raise validate.error(where, match[1], f"an assignment to {name}")
    lines.append(_line(match[2], match[3], len(lines), where))
  number, row = numbered[-1] if numbered else (1, text)
  where = f"program, line {number}"
  match = _OUTPUT.fullmatch(row)
  if match is None:
    expected = "at the end a line output = sequence_N"
    raise validate.error(where, row, expected)
  return Program(tuple(lines), _place(match[1], len(lines), where))


def _line(function, inside, count, where):
  """Parses a call into a line that comes after `count` others."""
  validate.choice(where, function, FUNCTIONS)
  kinds, words = FUNCTIONS[function].arguments, _ARGUMENT.findall(inside)
  if ", ".join(words) != inside:
    expected = "numbers, names and lists of numbers, with ', ' between them"
    raise validate.error(where, inside, expected)
  if len(words) != len(kinds):
    expected = f"{len(kinds)} arguments of {function}"
    raise validate.error(where, inside, expected)
  arguments = []
  for kind, word in zip(kinds, words):
    if kind == LIST:
      arguments.append(_place(word, count, where))
    elif kind == PREDICATE:
      arguments.append(word)
    elif kind == VALUES:
      arguments.append(tuple(map(int, _NUMBER.findall(word))))
      if word != str(list(arguments[-1])):
        expected = "a list such as [1, 20], of numbers up to 255"
        raise validate.error(where, word, expected)
    elif _NUMBER.fullmatch(word):
      arguments.append(int(word))
    else:
      expected = f"a number up to {256 if kind == STOP else 255}"
      raise validate.error(where, word, expected)
  return Line(function, tuple(arguments))


def _place(word, count, where):
  """The index of a named line among `count` lines."""
  match = _NAME.fullmatch(word)
  if match is None or int(match[1]) > count:
    expected = f"one of the {count} lists that are assigned before"
    raise validate.error(where, word, expected)
  return int(match[1]) - 1


def text_of(program: Program) -> str:
  """Writes a program as a text that `parse` reads."""

  def word(kind, value):
    if kind == LIST:
      return f"sequence_{value + 1}"
    return str(list(value)) if kind == VALUES else str(value)

  rows = []
  for place, line in enumerate(program.lines, 1):
    inside = ", ".join(word(kind, value) for kind, value in line.by_kind)
    rows.append(f"sequence_{place} = {line.function}({inside})")
  return "\n".join([*rows, f"output = sequence_{program.output + 1}"])


def published_bits(program: Program) -> float:
  """Returns the size of a program as the paper counts it.

  This count cannot be decoded: it has no bits for the length of a set_list, the
  predicate of a filter or the bounds of a slice; `program_codes` has a code.
  """
  bits = math.log2(_PUBLISHED_FUNCTIONS + 1) * (len(program.lines) + 1)
  for place, line in enumerate(program.lines, 1):
    lists = FUNCTIONS[line.function].arguments.count(LIST)
    bits += math.log2(place) * lists
    for kind, value in line.by_kind:
      if kind in (VALUE, STOP):
        bits += _BITS
      elif kind == VALUES:
        bits += _BITS * len(value)
      elif kind == COUNT:
        bits += _PUBLISHED_COUNTS.get(line.function, float(_BITS))
  return bits


def raw_bits(sequence: Sequence[int]) -> int:
  """Returns the size of an uncompressed sequence, a byte per number."""
  return _BITS * len(sequence)
