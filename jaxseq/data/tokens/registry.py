"""The tasks on tokens and signals, by name."""

import dataclasses
from typing import Any

from jaxseq import _registry
from jaxseq import validate

_HERE = "jaxseq.data.tokens"
TASKS = _registry.Registry(
  "task",
  {
    "adding": f"{_HERE}.signal_tasks:ADDING",
    "associative_recall": f"{_HERE}.associative_recall:ASSOCIATIVE_RECALL",
    "binary_addition": f"{_HERE}.strings:BINARY_ADDITION",
    "bucket_sort": f"{_HERE}.strings:BUCKET_SORT",
    "copying": f"{_HERE}.copying:COPYING",
    "cycle_navigation": f"{_HERE}.regular:CYCLE_NAVIGATION",
    "delay": f"{_HERE}.signal_tasks:DELAY",
    "duplicate_string": f"{_HERE}.strings:DUPLICATE_STRING",
    "even_pairs": f"{_HERE}.regular:EVEN_PAIRS",
    "group_words": f"{_HERE}.group_words:GROUP_WORDS",
    "induction": f"{_HERE}.induction:INDUCTION",
    "missing_duplicate": f"{_HERE}.strings:MISSING_DUPLICATE",
    "modular_arithmetic": f"{_HERE}.regular:MODULAR_ARITHMETIC",
    "mqar": f"{_HERE}.mqar:MQAR",
    "odds_first": f"{_HERE}.strings:ODDS_FIRST",
    "order_recall": f"{_HERE}.order_recall:ORDER_RECALL",
    "parity": f"{_HERE}.regular:PARITY",
    "programs": f"{_HERE}.program_draws:PROGRAMS",
    "reverse_string": f"{_HERE}.strings:REVERSE_STRING",
    "selective_copying": f"{_HERE}.copying:SELECTIVE_COPYING",
    "set_disjointness": f"{_HERE}.set_disjointness:SET_DISJOINTNESS",
    "stack_manipulation": f"{_HERE}.strings:STACK_MANIPULATION",
    "successor": f"{_HERE}.recursion:SUCCESSOR_OF",
    "traversal": f"{_HERE}.recursion:TRAVERSAL",
  },
)


get = TASKS.get


def make_config(name: str, **options: object) -> Any:
  """Builds the configuration of a task from its name and options.

  Args:
    name: one of the names in `TASKS`.
    **options: fields of the task's configuration.

  Raises:
    ValueError: if there is no such task or option, or a value is out of range.
  """
  kind = get(name).config
  fields = [field.name for field in dataclasses.fields(kind)]
  for option in options:
    validate.choice(f"options of task {name!r}", option, fields)
  return kind(**options)
