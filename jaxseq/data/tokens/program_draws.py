"""Programs drawn at random, and the task of writing one for a sequence.

A sequence of the task is SEQUENCE SEP PROGRAM END, with the tokens of
`program_codes`; only the program is scored, with the true program as input. Of
programs with the same output the shortest is kept, and no sequence is in two
parts.

Source: arXiv 2503.13992, section 4, and its code.
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.data.tokens import byte_programs
from jaxseq.data.tokens import program_codes
from jaxseq.data.tokens import sampling

# One of so many sequences is for testing.
_TEST = 10


@dataclasses.dataclass(frozen=True)
class Config(sampling.TokenClasses):
  """Options of writing programs.

  Attributes:
    bases: most initial sequences of a program, 1 .. 5.
    updates: whether they are changed before they are joined.
    max_sequence: longest sequence; programs with longer ones are dropped.
    max_program: most tokens of a program without END; longer ones are dropped.
    programs: number of programs drawn in all, with duplicates.
    seed: seed of the draw.
    part: "train", or "test" for the tenth for testing.
  """

  bases: int = 2
  updates: bool = False
  max_sequence: int = 64
  max_program: int = 48
  programs: int = 20_000
  seed: int = 0
  part: Literal["train", "test"] = "train"

  vocab_size = program_codes.VOCAB_SIZE

  def __post_init__(self):
    validate.literals(self)
    validate.integer("bases", self.bases, 1, 5)
    validate.at_least(self, max_sequence=5, max_program=8, programs=100)

  @property
  def time(self) -> int:
    """Length of a padded sequence."""
    return self.max_sequence + 1 + self.max_program


class _Draft:
  """A program during its draw: lines whose results are bytes."""

  def __init__(self, rng: np.random.Generator):
    self.rng = rng
    self.lines: list[byte_programs.Line] = []
    self.results: list[list[int]] = []

  def number(self, low: int, high: int) -> int:
    """Draws a number from low to high, both included."""
    return int(self.rng.integers(low, high + 1))

  def chance(self, share: float) -> bool:
    """Draws True with probability `share`."""
    return self.rng.random() < share

  def add(self, function: str, *arguments: object) -> int | None:
    """Appends a line; returns its number, or None if it is dropped."""
    if len(self.lines) >= program_codes.LINES:
      return None
    line = byte_programs.Line(function, arguments)
    values = [
      self.results[value] if kind == byte_programs.LIST else value
      for kind, value in line.by_kind
    ]
    result = byte_programs.call(function, *values)
    if not result or min(result) < 0 or max(result) > 255:
      return None
    self.lines.append(line)
    self.results.append(result)
    return len(self.lines) - 1

  def change_each(self, change: Callable[[int, list[int]], object]) -> None:
    """Appends changes of each line, appended lines included."""
    place = 0
    while place < len(self.lines) < program_codes.LINES // 2:
      change(place, self.results[place])
      place += 1


def draw(
  rng: np.random.Generator, *, bases: int = 5, updates: bool = True
) -> byte_programs.Program:
  """Draws a program, whose output is a sequence of bytes.

  Args:
    rng: random generator.
    bases: most initial sequences.
    updates: whether they are changed before they are joined.
  """
  draft = _Draft(rng)
  for _ in range(draft.number(1, bases)):
    _draw_base(draft)
  if updates:
    _draw_updates(draft)
  sources = list(range(len(draft.lines)))
  uses = dict.fromkeys(sources, 1)
  joined: int | None = 0
  again = [draft.number(0, len(sources) - 1) for _ in sources]
  turns = [*sources[1:], *(each for each in again if draft.chance(0.2))]
  for each in turns:
    if each in sources[1:] and uses[each] > 2:
      continue
    uses[each] += 1
    how = "concatenate" if draft.chance(0.8) else "interleave"
    after = draft.add(how, joined, each)
    joined = joined if after is None else after
  return byte_programs.Program(tuple(draft.lines), joined)


def _draw_base(draft):
  """Appends an initial sequence of a program."""
  number = draft.number
  length, kind = number(5, 25), number(0, 3)
  if kind == 0:
    low = number(0, 256 - length)
    draft.add("range_func_up", low, low + length - 1)
  elif kind == 1:
    step = number(2, 5)
    low = number(0, 256 - step * length)
    high = low + step * (length - 1) + number(1, step)
    draft.add("range_func_interval", low, high, step)
  elif kind == 2:
    draft.add("repeat_num", length, number(0, 255))
  else:
    values = tuple(number(0, 255) for _ in range(length))
    draft.add("set_list", values)


def _draw_updates(draft):
  """Appends lines that change earlier ones."""
  number, chance, add = draft.number, draft.chance, draft.add

  def lists(place, result):
    if chance(0.1):
      add("reverse_list", place)
    if chance(0.1):
      add("repeat_list", number(2, 4), place)
    if chance(0.05):
      add("get_subsequence_with_jumps", place, number(2, 5))
    if chance(0.05) and len(result) > 3:
      low = number(0, len(result) // 2)
      high = number(low + 1, len(result))
      if high <= 256:
        add("get_subsequence_between_indices", place, low, high)
    if chance(0.1):
      old = result[number(0, len(result) - 1)]
      add("substitute", place, old, number(0, 255))

  def numbers(place, result):
    if draft.lines[place].function == "set_list" and chance(0.1):
      name = ("max_n", "min_n")[number(0, 1)]
      add(name, place, number(1, len(result)))
    if chance(0.1):
      name = ("add_item_list", "subtract_item_list")[number(0, 1)]
      add(name, place, number(1, 10))
    if chance(0.1):
      add("modulo_item_list", place, number(2, 100))

  def pairs(place, result):
    for other in range(place):
      if len(draft.results[other]) == len(result):
        if chance(0.1):
          name = ("add_two_lists", "subtract_two_lists")[number(0, 1)]
          add(name, other, place)
        if chance(0.1):
          add("modulo_two_lists", other, place)

  if chance(0.4):
    draft.change_each(lists)
  if chance(0.4):
    draft.change_each(numbers)
  if chance(0.4) and chance(0.3):
    name = program_codes.PREDICATES[number(0, 2)]
    add("filter", name, number(0, len(draft.lines) - 1))
  if chance(0.4):
    draft.change_each(pairs)
  draft.change_each(lambda place, _: chance(0.1) and add("scan_add", place))


@functools.cache
def examples(
  config: Config,
) -> tuple[tuple[tuple[int, ...], byte_programs.Program], ...]:
  """Returns the sequences of a part, each with its shortest drawn program.

  Args:
    config: options of the task.

  Raises:
    ValueError: if no program is short enough.
  """
  rng = np.random.default_rng(config.seed)
  best: dict[tuple[int, ...], tuple[int, byte_programs.Program]] = {}
  for _ in range(config.programs):
    program = draw(rng, bases=config.bases, updates=config.updates)
    sequence = tuple(byte_programs.run(program))
    size = len(program_codes.tokens_of(program)) - 1
    fits = size <= config.max_program and len(sequence) <= config.max_sequence
    if fits and size < best.get(sequence, (size + 1,))[0]:
      best[sequence] = size, program
  pairs = [(sequence, program) for sequence, (_, program) in best.items()]
  part = [
    pair
    for place, pair in enumerate(pairs)
    if (place % _TEST == 0) == (config.part == "test")
  ]
  if not part:
    expected = "longer: no program that was drawn is so short"
    raise validate.error("max_program", config.max_program, expected)
  return tuple(part)


@functools.cache
def _table(config):
  """All sequences of a part, padded, and the bounds of their programs."""
  part = examples(config)
  rows = np.full((len(part), config.time + 1), program_codes.END, np.int16)
  bounds = np.zeros((len(part), 2), np.int16)
  for row, place, (sequence, program) in zip(rows, bounds, part):
    tokens = program_codes.tokens_of(program)
    place[:] = len(sequence), len(sequence) + len(tokens)
    row[: place[1] + 1] = [*sequence, program_codes.SEP, *tokens]
  return rows, bounds


def sample(key: jax.Array, config: Config) -> sampling.TokenBatch:
  """Samples a sequence and a program for it.

  The mask is True on the separator and the whole program.
  """
  rows, bounds = _table(config)
  index = sampling.integers(key, (), 0, len(rows))
  row, (first, end) = jnp.asarray(rows)[index], jnp.asarray(bounds)[index]
  place = jnp.arange(config.time)
  scored = (place >= first) & (place < end)
  return sampling.TokenBatch(row[:-1], row[1:], scored)


PROGRAMS = sampling.Task(Config, sample)
