"""Layers with time split over chips of a TPU v5e that are not there.

Run by `make test-compile`; `-s` shows the numbers behind the budgets.
"""

import functools
import re
from typing import NamedTuple

import pytest

pytestmark = pytest.mark.compile

CHIPS, WIDTH = 4, 256
LENGTHS = (2**14, 2**16)
# MB of temporaries of the gradient at the two lengths: what was measured with
# jax 0.11.2, and a third more.
BUDGETS = {"s5": (13.3, 21.9), "gru": (18.3, 52.2), "mamba2": (14.0, 765)}
# Collectives, and those with other work between start and end. Gathers of small
# summaries become all-reduces, which the compiler does not overlap; the third
# is that of the gradients. A loop counts once: that of the turns of a GRU.
SCHEDULES = {
  "s5": {"all-reduce": (3, 0)},
  "gru": {"all-reduce": (1, 0), "collective-permute": (2, 0)},
  "mamba2": {"all-reduce": (3, 0), "collective-permute": (2, 2)},
}


# The same on 16 chips (4x4) with four times the tokens: one length a chip. The
# matrices of Mamba-2 go in log steps there.
SIXTEEN = {
  "s5": (14.7, {"all-reduce": (3, 0)}),
  "mamba2": (52, {"all-reduce": (1, 0), "collective-permute": (12, 12)}),
}


class Program(NamedTuple):
  """What a compiled program says: see `benchmarks.sequence_memory`."""

  schedule: dict[str, tuple[int, int]]
  results: list[str]
  temporary: float
  timeline: list[str]


@functools.cache
def program(name, length, chips=CHIPS):
  # Defines flags: only where these tests run.
  from benchmarks import sequence_memory

  compiled = sequence_memory.compile_gradient(name, chips, length, 1, WIDTH)
  text = compiled.as_text()
  temporary = compiled.memory_analysis().temp_size_in_bytes / 1e6
  where = f"{chips} chips, {length:,} tokens"
  print(f"\n{name:>8}, {where}: temporary {temporary:.1f} MB")
  return Program(
    sequence_memory.schedule(text),
    _results(text),
    temporary,
    sequence_memory.timeline(text),
  )


def _results(text):
  """Types of what collectives return, without layouts, sorted."""
  found = re.findall(
    r"= (\S.*?) (?:all-gather|all-reduce|all-to-all|collective-permute|"
    r"reduce-scatter)(?:-start)?\(",
    text,
  )
  return sorted(re.sub(r"\{[^}]*\}|/\*.*?\*/", "", each) for each in found)


@pytest.mark.parametrize("name", BUDGETS)
def test_what_travels_does_not_grow_with_time(name):
  short, long = (program(name, length) for length in LENGTHS)
  assert short.schedule == long.schedule == SCHEDULES[name]
  assert short.results
  assert long.results == short.results


@pytest.mark.parametrize("name", BUDGETS)
def test_memory_of_a_chip(name):
  for length, budget in zip(LENGTHS, BUDGETS[name]):
    assert program(name, length).temporary <= budget


@pytest.mark.parametrize("name", SIXTEEN)
def test_sixteen_chips(name):
  budget, collectives = SIXTEEN[name]
  found = program(name, 4 * LENGTHS[0], 16)
  assert found.schedule == collectives
  assert found.temporary <= budget


def test_the_schedule_lists_starts_and_ends_in_order():
  lines = program("gru", LENGTHS[0]).timeline
  kinds = [line.split()[0] for line in lines if not line.endswith(":")]
  kinds = [kind for kind in kinds if not kind.isdigit()]  # Other operations.
  # A message in the loop of the turns, one in that of the gradient, and a sum.
  assert kinds == ["start", "done", "start", "done", "whole"]
