"""Layers with time split over four chips of a TPU v5e that is not there.

Run by `make test-compile`; `-s` shows the numbers behind the budgets.
"""

import functools
import re

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


@functools.cache
def program(name, length):
  # Defines flags: only where these tests run.
  from benchmarks import sequence_memory

  compiled = sequence_memory.compile_gradient(name, CHIPS, length, 1, WIDTH)
  text = compiled.as_text()
  temporary = compiled.memory_analysis().temp_size_in_bytes / 1e6
  print(f"\n{name:>8} {length:>8,} tokens: temporary {temporary:.1f} MB")
  return sequence_memory.schedule(text), _results(text), temporary


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
  (short, sent, _), (long, sent_long, _) = (
    program(name, length) for length in LENGTHS
  )
  assert short == long == SCHEDULES[name]
  assert sent
  assert sent_long == sent


@pytest.mark.parametrize("name", BUDGETS)
def test_memory_of_a_chip(name):
  for length, budget in zip(LENGTHS, BUDGETS[name]):
    assert program(name, length)[2] <= budget
