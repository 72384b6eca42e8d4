r"""Parser of regular expressions, to automata over bytes that have choices.

The syntax is that of Python's `re`, without what no finite automaton can do or
what whole matches have no use for: back references, looking around, anchors and
flags. Classes as `\d` are those of ASCII. A pattern of text stands for its
UTF-8: a character, also of a class, is all of its bytes.
"""

from collections.abc import Iterable
from collections.abc import Iterator
import re
from typing import NamedTuple

from jaxseq import validate

# Maximum number of alternatives and repetitions, each written out, of a
# pattern.
_MOST = 200_000
_COUNTS = re.compile(r"\{(\d*)(,?)(\d*)\}")
_LETTERS = {"n": 10, "t": 9, "r": 13, "f": 12, "v": 11, "a": 7, "0": 0}
_CLASSES = {
  "d": [(48, 57)],
  "w": [(48, 57), (65, 90), (95, 95), (97, 122)],
  "s": [(9, 13), (32, 32)],
}
_HEXADECIMAL = {"x": 2, "u": 4, "U": 8}
# Code points with encodings of the same length; surrogates have none.
_PLANES = (
  *((0, 0x7F), (0x80, 0x7FF), (0x800, 0xD7FF), (0xE000, 0xFFFF)),
  (0x10000, 0x10FFFF),
)

Ranges = list[tuple[int, int]]


class Choices(NamedTuple):
  """A nondeterministic automaton."""

  # For each state (low, high, next): bytes from low to high lead there.
  edges: list[list[tuple[int, int, int]]]
  free: list[list[int]]  # For each state those reached without a byte.
  start: int
  end: int  # The state of whole matches.


def parse(pattern: str | bytes) -> Choices:
  """Returns the automaton of a pattern."""
  parser = _Parser(pattern)
  start = parser.state()
  try:
    end = parser.alternatives(start)
  except RecursionError:
    raise parser.error("groups that are less deep") from None
  if parser.place < len(parser.text):
    raise parser.error("an opening parenthesis before it")
  return Choices(parser.edges, parser.free, start, end)


class _Parser:
  """Reads a pattern once for each time that its parts are repeated."""

  def __init__(self, pattern):
    if not isinstance(pattern, str | bytes):
      raise validate.error("pattern", pattern, "a str or bytes")
    self.bytes = isinstance(pattern, bytes)
    self.text = pattern.decode("latin-1") if self.bytes else pattern
    self.last = 255 if self.bytes else 0x10FFFF
    self.place = 0
    self.edges: list[list[tuple[int, int, int]]] = []
    self.free: list[list[int]] = []

  def error(self, expected, place=None):
    """Returns an error about the text at a place, the present one if None."""
    place = self.place if place is None else place
    # Places count characters of the pattern as it was written.
    shown = repr(self.text).replace(r"\\", "\\")
    text = f"{shown}, at place {place} (the first is 0)"
    return ValueError(f"pattern: got {text}, expected {expected}.")

  def state(self):
    """Makes a state."""
    if len(self.edges) >= _MOST:
      raise self.error(f"fewer than {_MOST} states, repetitions written out")
    self.edges.append([])
    self.free.append([])
    return len(self.edges) - 1

  def taken(self, word):
    """Advances past a word, if it is next, and returns whether it was."""
    match = self.text.startswith(word, self.place)
    self.place += len(word) * match
    return match

  def next(self):
    """Returns the next character, and advances."""
    if self.place >= len(self.text):
      raise self.error("the pattern to go on")
    self.place += 1
    return self.text[self.place - 1]

  def alternatives(self, start):
    """Parses `a|b` from a state on; returns the state after it."""
    end = self.state()
    while True:
      first = self.state()
      self.free[start].append(first)
      self.free[self.sequence(first)].append(end)
      if not self.taken("|"):
        return end

  def sequence(self, state):
    """Parses `ab*c` from a state on; returns the state after it."""
    while self.place < len(self.text) and self.text[self.place] not in "|)":
      begin, first = self.place, self.state()
      parts = [(first, self.atom(first))]
      least, most = self.counts()
      behind = self.place
      copies = max(1, least) if most is None else most
      while len(parts) < copies:
        self.place, first = begin, self.state()
        parts.append((first, self.atom(first)))
      self.place = behind
      state = self.chained(state, parts[:copies], least, most is None)
    return state

  def chained(self, state, parts, least, loops):
    """Joins repetitions, the first `least` of which are required."""
    end = self.state()
    for i, (first, after) in enumerate(parts):
      if i >= least:
        self.free[state].append(end)
      self.free[state].append(first)
      state = after
    if loops:
      self.free[state].append(parts[-1][0])
    self.free[state].append(end)
    return end

  def counts(self):
    """Reads a quantifier; returns the least and most repetitions."""
    begin = self.place
    match = _COUNTS.match(self.text, self.place)
    if self.taken("*"):
      least, most = 0, None
    elif self.taken("+"):
      least, most = 1, None
    elif self.taken("?"):
      least, most = 0, 1
    elif match and match[0] != "{}":
      self.place = match.end()
      least = int(match[1] or 0)
      most = int(match[3]) if match[3] else None if match[2] else least
      if most is not None and most < least:
        raise self.error("no fewer repetitions at most than at least", begin)
      if max(least, most or 0) > _MOST:
        raise self.error(f"at most {_MOST} repetitions", begin)
    else:
      return 1, 1
    # A lazy quantifier has the same whole matches.
    if not self.taken("?") and self.taken("+"):
      raise self.error("no possessive quantifier", self.place - 1)
    following = self.text[self.place : self.place + 1]
    counts = _COUNTS.match(self.text, self.place)
    if (following and following in "*+?") or (counts and counts[0] != "{}"):
      raise self.error("one quantifier")
    return least, most

  def atom(self, state):
    """Parses a character, a class or a group; returns the state after it."""
    begin = self.place
    character = self.next()
    if character == "(":
      if self.taken("?") and not self.taken(":"):
        name = re.compile(r"P<\w+>").match(self.text, self.place)
        if name is None:
          expected = "a group (...), (?:...) or (?P<name>...)"
          raise self.error(expected, begin)
        self.place = name.end()
      end = self.alternatives(state)
      if not self.taken(")"):
        raise self.error("a closing parenthesis")
      return end
    if character in "*+?":
      expected = f"something before {character!r} to repeat"
      raise self.error(expected, begin)
    if character in "^$":
      raise self.error("no anchor: the whole text is matched", begin)
    if character == "[":
      ranges = self.characters()
    elif character == ".":
      ranges = self.others([(10, 10)])
    elif character == "\\":
      ranges = self.escape()
    else:
      ranges = [(ord(character), ord(character))]
    return self.step(state, ranges)

  def characters(self):
    """Parses a class after its bracket; returns the ranges."""
    negated = self.taken("^")
    ranges: Ranges = []
    first = True
    while first or not self.taken("]"):
      first = False
      begin = self.place
      one = self.member()
      if (
        self.text.startswith("-", self.place)
        and self.text[self.place + 1 : self.place + 2] != "]"
      ):
        self.place += 1
        two = self.member()
        if len(one) > 1 or len(two) > 1 or one[0][0] > two[0][0]:
          expected = "a range of characters, from the lower one on"
          raise self.error(expected, begin)
        if one[0][0] != one[0][1] or two[0][0] != two[0][1]:
          raise self.error("a range between two characters", begin)
        one = [(one[0][0], two[0][1])]
      ranges += one
    return self.others(ranges) if negated else ranges

  def member(self):
    """Reads a character of a class, or a class in it."""
    character = self.next()
    if character == "\\":
      return self.escape()
    return [(ord(character), ord(character))]

  def escape(self):
    """Parses the text after a backslash; returns the ranges."""
    begin = self.place - 1
    letter = self.next()
    if letter in _HEXADECIMAL and not (self.bytes and letter != "x"):
      count = _HEXADECIMAL[letter]
      digits = self.text[self.place : self.place + count]
      if not re.fullmatch(f"[0-9a-fA-F]{{{count}}}", digits):
        raise self.error(f"{count} hexadecimal digits")
      code = int(digits, 16)
      if code > self.last:
        raise self.error(f"at most {self.last:x} in hexadecimal digits")
      self.place += count
      return [(code, code)]
    if letter.lower() in _CLASSES:
      ranges = _CLASSES[letter.lower()]
      return list(ranges) if letter.islower() else self.others(ranges)
    if letter == "0" and self.text[self.place : self.place + 1].isdigit():
      raise self.error("\\x and two digits, not octal ones", begin)
    if letter in _LETTERS:
      return [(_LETTERS[letter],) * 2]
    if letter.isascii() and letter.isalnum():
      raise self.error(f"no \\{letter}", begin)
    return [(ord(letter), ord(letter))]

  def others(self, ranges):
    """Returns the ranges of all other characters."""
    gaps, after = [], 0
    for low, high in sorted(ranges):
      if low > after:
        gaps.append((after, low - 1))
      after = max(after, high + 1)
    if after <= self.last:
      gaps.append((after, self.last))
    return gaps

  def step(self, state, ranges):
    """Adds the bytes of a character; returns the state after it."""
    end = self.state()
    for low, high in ranges:
      for encoding in [((low, high),)] if self.bytes else encodings(low, high):
        at = state
        for i, (least, most) in enumerate(encoding, 1):
          to = end if i == len(encoding) else self.state()
          self.edges[at].append((least, most, to))
          at = to
    return end


def encodings(low: int, high: int) -> Iterator[tuple[tuple[int, int], ...]]:
  """Yields the UTF-8 of code points as ranges of first bytes, second ones..."""
  for first, last in _PLANES:
    least, most = max(low, first), min(high, last)
    if least <= most:
      yield from _between(chr(least).encode(), chr(most).encode())


def _between(low: bytes, high: bytes) -> Iterable[tuple[tuple[int, int], ...]]:
  """Yields ranges of byte strings between two of equal length, inclusive."""
  if len(low) == 1:
    yield ((low[0], high[0]),)
    return
  zeros, ones = b"\x80" * (len(low) - 1), b"\xbf" * (len(low) - 1)
  first, last = low[0], high[0]
  if first == last:
    for rest in _between(low[1:], high[1:]):
      yield ((first, first), *rest)
    return
  if low[1:] != zeros:
    for rest in _between(low[1:], ones):
      yield ((first, first), *rest)
    first += 1
  if high[1:] != ones:
    for rest in _between(zeros, high[1:]):
      yield ((last, last), *rest)
    last -= 1
  if first <= last:
    yield ((first, last), *[(0x80, 0xBF)] * len(zeros))
