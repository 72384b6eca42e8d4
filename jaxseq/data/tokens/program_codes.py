"""Programs as tokens and as bits, both decodable.

As tokens a line is its function and its arguments: a number is one of 256
tokens (one less if it ends a range), a list in brackets its numbers and an end,
an earlier line its number.
As bits it is a prefix code: functions and lines by truncated binary codes of
their count, numbers by 8 bits, counts and lengths by Elias' gamma code.
"""

from collections.abc import Iterator
from collections.abc import Sequence

from jaxseq import validate
from jaxseq.data.tokens import byte_programs

NAMES = tuple(byte_programs.FUNCTIONS)
PREDICATES = tuple(byte_programs.PREDICATES)
# Most lines that tokens can refer to.
LINES = 32
# Tokens: numbers, then functions, predicates, the output, the end of a list,
# lines, and SEP and END.
FUNCTION = 256
PREDICATE = FUNCTION + len(NAMES)
OUTPUT = PREDICATE + len(PREDICATES)
LIST_END = OUTPUT + 1
LINE = LIST_END + 1
SEP = LINE + LINES
END = SEP + 1
VOCAB_SIZE = END + 1


def tokens_of(program: byte_programs.Program) -> list[int]:
  """Encodes a program as tokens, with END at the end.

  Raises:
    ValueError: if it has more than LINES lines.
  """
  if len(program.lines) > LINES:
    expected = f"at most {LINES} lines"
    raise validate.error("program", len(program.lines), expected)
  tokens = []
  for line in program.lines:
    tokens.append(FUNCTION + NAMES.index(line.function))
    for kind, value in line.by_kind:
      if kind == byte_programs.LIST:
        tokens.append(LINE + value)
      elif kind == byte_programs.PREDICATE:
        tokens.append(PREDICATE + PREDICATES.index(value))
      elif kind == byte_programs.VALUES:
        tokens += [*value, LIST_END]
      else:
        tokens.append(value - (kind == byte_programs.STOP))
  return [*tokens, OUTPUT, LINE + program.output, END]


def program_of(tokens: Sequence[int]) -> byte_programs.Program:
  """Decodes tokens to a program; tokens after END are ignored.

  Raises:
    ValueError: if they do not encode a program.
  """
  rest = iter(map(int, tokens))

  def take(low, high):
    token = next(rest, None)
    if token is None or not low <= token < high:
      expected = f"{low} to {high - 1}, by the grammar of programs"
      raise validate.error("token", token, expected)
    return token - low

  def argument(kind):
    if kind == byte_programs.LIST:
      return take(LINE, LINE + len(lines))
    if kind == byte_programs.PREDICATE:
      return PREDICATES[take(PREDICATE, OUTPUT)]
    if kind != byte_programs.VALUES:
      return take(0, 256) + (kind == byte_programs.STOP)
    values = [take(0, 256)]
    while (value := next(rest, None)) != LIST_END:
      if value is None or not 0 <= value < 256:
        raise validate.error("token", value, "a number or the end of a list")
      values.append(value)
    return tuple(values)

  lines: list[byte_programs.Line] = []
  while (head := take(FUNCTION, LIST_END)) != OUTPUT - FUNCTION:
    if head >= len(NAMES):
      raise validate.error("token", head + FUNCTION, "a function, or OUTPUT")
    kinds = byte_programs.FUNCTIONS[NAMES[head]].arguments
    lines.append(byte_programs.Line(NAMES[head], tuple(map(argument, kinds))))
  program = byte_programs.Program(tuple(lines), argument(byte_programs.LIST))
  take(END, END + 1)
  return program


def bits_of(program: byte_programs.Program) -> str:
  """Encodes a program as a string of "0" and "1".

  No code is a prefix of another one, so `program_of_bits` finds its end.
  """
  code = []
  for place, line in enumerate(program.lines):
    code.append(_choice(1 + NAMES.index(line.function), len(NAMES) + 1))
    for kind, value in line.by_kind:
      if kind == byte_programs.LIST:
        code.append(_choice(value, place))
      elif kind == byte_programs.PREDICATE:
        code.append(_choice(PREDICATES.index(value), len(PREDICATES)))
      elif kind == byte_programs.VALUES:
        code += [_gamma(len(value)), *(f"{each:08b}" for each in value)]
      elif kind == byte_programs.COUNT:
        code.append(_gamma(value))
      else:
        code.append(f"{value - (kind == byte_programs.STOP):08b}")
  code.append(_choice(0, len(NAMES) + 1))
  code.append(_choice(program.output, len(program.lines)))
  return "".join(code)


def program_of_bits(bits: str) -> tuple[byte_programs.Program, str]:
  """Decodes the program that bits begin with; also returns the other bits.

  Raises:
    ValueError: if they do not begin with a program.
  """
  rest = iter(bits)

  def argument(kind):
    if kind == byte_programs.LIST:
      return _read_choice(rest, len(lines))
    if kind == byte_programs.PREDICATE:
      return PREDICATES[_read_choice(rest, len(PREDICATES))]
    if kind == byte_programs.VALUES:
      return tuple(_read(rest, 8) for _ in range(_read_gamma(rest)))
    if kind == byte_programs.COUNT:
      return _read_gamma(rest)
    return _read(rest, 8) + (kind == byte_programs.STOP)

  lines: list[byte_programs.Line] = []
  while head := _read_choice(rest, len(NAMES) + 1):
    name = NAMES[head - 1]
    kinds = byte_programs.FUNCTIONS[name].arguments
    lines.append(byte_programs.Line(name, tuple(map(argument, kinds))))
  output = argument(byte_programs.LIST)
  return byte_programs.Program(tuple(lines), output), "".join(rest)


def _choice(index, count):
  """The truncated binary code of one of `count` indices."""
  width = (count - 1).bit_length()
  short = 2**width - count  # So many codes are a bit shorter.
  if not width:
    return ""
  if index < short:
    return f"{index:0{width - 1}b}"
  return f"{index + short:0{width}b}"


def _gamma(number):
  """The gamma code of a number of at least 1."""
  digits = f"{number:b}"
  return "0" * (len(digits) - 1) + digits


def _read(rest: Iterator[str], count: int) -> int:
  """Reads a number of `count` bits."""
  number = 0
  for _ in range(count):
    bit = next(rest, None)
    if bit not in ("0", "1"):
      raise validate.error("bits", bit, "0 or 1: the code has no end")
    number = 2 * number + int(bit)
  return number


def _read_choice(rest, count):
  """Reads the code of one of `count` indices."""
  if count < 1:
    raise validate.error("bits", "a line", "none: there is none before")
  width = (count - 1).bit_length()
  short = 2**width - count
  number = _read(rest, max(0, width - 1))
  if not width or number < short:
    return number
  return 2 * number + _read(rest, 1) - short


def _read_gamma(rest):
  """Reads the gamma code of a number of at least 1."""
  zeros = 0
  while not _read(rest, 1):
    zeros += 1
    if zeros > 32:
      raise validate.error("bits", "33 zeros", "a number below 2^32")
  return (1 << zeros) + _read(rest, zeros)
