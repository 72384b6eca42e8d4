"""How many kernels a program compiled for a GPU starts."""

import re

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
_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
# The opcode is the first word before a bracket that follows the result's type.
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?[\w.\-]+ = .*?[\])}] ([a-z\-]+)\(")
_CALLED = re.compile(r"(?:body|condition|to_apply|calls)=%?([\w.\-]+)")
_BRANCHES = re.compile(
  r"branch_computations=\{([^}]*)\}|(?:true|false)_computation=([^,]*)"
)
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')


def count(text: str) -> int:
  """Counts the kernels of one run: fusions, calls of libraries and copies.

  Loops count their bodies as many times as they run, and of branches the
  longest one counts.

  Args:
    text: optimised HLO, from `compiled.as_text()`.

  Returns:
    The number.

  Raises:
    ValueError: if a loop does not say how often it runs.
  """
  computations, entry = _computations(text)

  def of(name):
    total = 0
    for line, opcode in computations[name]:
      called = _CALLED.findall(line)
      if opcode == "while":
        trips = _TRIPS.search(line)
        if trips is None:
          raise ValueError(f"a loop of unknown length: {line.strip()[:80]}.")
        total += int(trips.group(1)) * sum(of(each) for each in called)
      elif opcode == "conditional":
        total += 1 + max(of(each) for each in _branches(line))
      elif opcode == "call" or opcode.startswith("async"):
        total += sum(of(each) for each in called)
      elif opcode not in _FREE and not opcode.endswith("-done"):
        total += 1
    return total

  return of(entry)


def _branches(line):
  found = ",".join(several or one for several, one in _BRANCHES.findall(line))
  return [name.strip().lstrip("%") for name in found.split(",")]


def _computations(text):
  """Instructions of each computation, with opcodes, and the entry's name."""
  computations, entry, current = {}, None, None
  for line in text.splitlines():
    header = _HEADER.match(line)
    if header:
      current = computations.setdefault(header.group(2), [])
      if header.group(1):
        entry = header.group(2)
      continue
    instruction = _INSTRUCTION.match(line)
    if instruction and current is not None:
      current.append((line, instruction.group(1)))
  return computations, entry
