"""How many kernels a compiled program starts, and how many bytes they move."""

import functools
import math
import re
from typing import NamedTuple

# What costs no kernel of its own.
_FREE = frozenset(
  {
    "after-all",
    "bitcast",
    "bitcast-convert",
    "constant",
    "get-tuple-element",
    "opt-barrier",
    "parameter",
    "partition-id",
    "replica-id",
    "tuple",
  }
)
# Calls that say where arrays lie, and do nothing.
_PLACES = re.compile('custom_call_target="(AllocateBuffer|ConcatBitcast)"')
# Of whose first operand as much is read as the result has.
_SLICES = frozenset({"dynamic-slice", "gather", "slice", "slice-start"})
# Whose result is the first operand with another one, this one, written into it.
_UPDATES = {"dynamic-update-slice": 1, "scatter": 2}
# Copies that go on beside other work, and where their results name the copy.
_STARTS = {"copy-start": 0, "slice-start": 1}
# Inside a fusion: those that need operands whole, however little of the result
# is used.
_WHOLE = frozenset(
  {
    "convolution",
    "custom-call",
    "dot",
    "fusion",
    "reduce",
    "reduce-window",
    "sort",
  }
)
_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
# The opcode is the first word before a bracket that follows the result's type.
_INSTRUCTION = re.compile(
  r"^\s+(ROOT )?%?([\w.\-]+) = (.*?[\])}]) ([a-z\-]+)\(([^)]*)\)"
)
_CALLED = re.compile(r"(?:body|condition|to_apply|calls)=%?([\w.\-]+)")
_CONDITION = re.compile(r"condition=%?([\w.\-]+)")
_BRANCHES = re.compile(
  r"branch_computations=\{([^}]*)\}|(?:true|false)_computation=([^,]*)"
)
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_NAME = re.compile(r"%([\w.\-]+)")
_ARRAY = re.compile(r"\b([a-z]+(\d*)\w*)\[([\d,]*)\](\{[^}]*\})?")
# Another space than main memory, such as the VMEM of a TPU.
_SPACE = re.compile(r"S\([1-9]")
# What a library is lent beside its results.
_WORKSPACE = re.compile(r"\bs8\[\d+\]\{0\}")


class _Instruction(NamedTuple):
  """A line of a program: its result's type, what it does and to what."""

  name: str
  type: str
  opcode: str
  operands: tuple[str, ...]
  line: str
  root: bool


class _Program(NamedTuple):
  """Instructions of each computation by their names, and the entry's name."""

  computations: dict[str, dict[str, _Instruction]]
  entry: str


def count(text: str) -> int:
  """Counts the kernels of one run: fusions, calls of libraries and copies.

  Loops count their bodies as many times as they run, and of branches the
  longest one counts.

  Args:
    text: optimized HLO, from `compiled.as_text()`.

  Returns:
    The number.

  Raises:
    ValueError: if a loop does not say how often it runs.
  """
  return _summed(_parsed(text), lambda *_: 1, 1)


def moved(text: str) -> int:
  """Counts the bytes that one run reads from and writes to main memory.

  Every kernel counts its operands and results: slices at their size, what is
  updated in place at the size of the update, and nothing that lies in another
  space (`S(1)` in a layout is the VMEM of a TPU). Caches count as nothing, the
  padding of layouts neither, and what a kernel reads again counts once. Loops
  and branches count as in `count`.

  Args:
    text: optimized HLO, from `compiled.as_text()`.

  Returns:
    The number of bytes.

  Raises:
    ValueError: if a loop does not say how often it runs.
  """
  program = _parsed(text)
  return round(_summed(program, functools.partial(_moved, program), 0))


def _summed(program, cost, of_conditional):
  """Adds up `cost(instructions, instruction)` over a run of the entry."""

  @functools.cache
  def of(name):
    total = 0
    instructions = program.computations[name]
    for each in instructions.values():
      called = _CALLED.findall(each.line)
      if each.opcode == "while":
        total += _trips(program, each.line) * sum(of(name) for name in called)
      elif each.opcode == "conditional":
        branches = max(of(name) for name in _branches(each.line))
        total += of_conditional + branches
      elif each.opcode == "call" or each.opcode.startswith("async"):
        total += sum(of(name) for name in called)
      elif each.opcode in _FREE or each.opcode.endswith("-done"):
        continue
      elif not _PLACES.search(each.line):
        total += cost(instructions, each)
    return total

  return of(program.entry)


def _trips(program, line):
  """How often a loop runs; programs for TPUs have it in the condition only."""
  known = _TRIPS.search(line)
  if known is not None:
    return int(known.group(1))
  (name,) = _CONDITION.findall(line)
  names = [name]
  found = set()
  while names:
    for each in program.computations[names.pop()].values():
      names += _CALLED.findall(each.line)
      if each.opcode == "constant" and re.match(r"[su]\d+\[\]", each.type):
        found.add(int(re.search(r"constant\((-?\d+)\)", each.line).group(1)))
  # JAX counts the steps of a loop from 0.
  if len(found) != 1:
    raise ValueError(f"a loop of unknown length: {line.strip()[:80]}.")
  return found.pop()


def _branches(line):
  found = ",".join(several or one for several, one in _BRANCHES.findall(line))
  return [name.strip().lstrip("%") for name in found.split(",")]


def _moved(program, instructions, instruction):
  """Bytes of the operands and results of one kernel."""
  opcode, line, written = instruction.opcode, instruction.line, instruction.type
  given = [instructions[name].type for name in instruction.operands]
  if opcode in ("fusion", "fusion-start"):
    (called,) = _CALLED.findall(line)
    results = _arrays(written)
    if opcode == "fusion-start":
      # First come the operands again, last a flag.
      results = results[len(given) :]
    return _of_fusion(program.computations[called], given, results)
  if opcode in _STARTS:
    # The result also has the source, and a flag.
    written = _arrays(written)[_STARTS[opcode]]
  if "__cu" in line:
    written = _WORKSPACE.sub("", written)
  read = sum(_bytes(each) for each in given[1:])
  if opcode in _UPDATES:
    return read + _bytes(written, _elements(given[_UPDATES[opcode]]))
  if opcode in _SLICES:
    read += _bytes(given[0], _elements(written))
  elif given:
    read += _bytes(given[0])
  return read + _bytes(written)


def _of_fusion(instructions, given, results):
  """The same of a fusion, of which parts of operands may be all it needs."""
  needed, total = dict.fromkeys(instructions, 0), 0
  (root,) = (each for each in instructions.values() if each.root)
  names = root.operands if root.opcode == "tuple" else (root.name,)
  for name, written in zip(names, results):
    update = _update_in_place(instructions, name)
    if update is None:
      needed[name] = _elements(written)
      total += _bytes(written)
    else:
      # Of the place nothing is read; the backward pass below reads the update.
      given_update = update.operands[_UPDATES[update.opcode]]
      total += _bytes(written, _elements(instructions[given_update].type))
  for each in reversed(instructions.values()):
    if each.opcode == "parameter":
      index = int(re.search(r"parameter\((\d+)\)", each.line).group(1))
      total += _bytes(given[index], needed[each.name])
    for name in set(each.operands):
      size = _elements(instructions[name].type)
      part = size if _needs_whole(each, name) else needed[each.name]
      needed[name] = min(size, needed[name] + part)
  return total


def _needs_whole(instruction, operand):
  """Whether all of an operand is read, however little of the result is."""
  opcode, (first, *_) = instruction.opcode, instruction.operands
  in_parts = opcode in _SLICES or opcode in _UPDATES
  return opcode in _WHOLE or (in_parts and operand != first)


def _update_in_place(instructions, name):
  """The update of an operand whose result this is, if it is one."""
  update = _source(instructions, name)
  if update.opcode not in _UPDATES:
    return None
  place = _source(instructions, update.operands[0])
  return update if place.opcode == "parameter" else None


def _source(instructions, name):
  """What a chain of bitcasts begins with."""
  while instructions[name].opcode == "bitcast":
    (name,) = instructions[name].operands
  return instructions[name]


def _arrays(type_):
  """The types of the arrays in a type."""
  return [match.group(0) for match in _ARRAY.finditer(type_)]


def _elements(type_):
  """Numbers in all arrays of a type."""
  shapes = (match.group(3) for match in _ARRAY.finditer(type_))
  return sum(
    math.prod(int(size) for size in shape.split(",") if size)
    for shape in shapes
  )


def _bytes(type_, elements=None):
  """Bytes in main memory of a type, or of so many elements of an array."""
  total = 0
  for match in _ARRAY.finditer(type_):
    _, bits, _, layout = match.groups()
    if not _SPACE.search(layout or ""):
      total += _elements(match.group(0)) * int(bits or 8) / 8
  if elements is None:
    return total
  return total * min(1, elements / max(_elements(type_), 1))


def _parsed(text):
  """The computations of a program."""
  computations, entry, current = {}, None, None
  for line in text.splitlines():
    header = _HEADER.match(line)
    if header:
      current = computations.setdefault(header.group(2), {})
      if header.group(1):
        entry = header.group(2)
      continue
    found = _INSTRUCTION.match(line)
    if found and current is not None:
      root, name, type_, opcode, operands = found.groups()
      names = tuple(_NAME.findall(operands))
      current[name] = _Instruction(
        name, type_, opcode, names, line, root is not None
      )
  return _Program(computations, entry)
