"""Every method of every recurrence against float64, on the device there is."""

import functools

import jax
import pytest

from benchmarks.accelerators import correctness
from benchmarks.accelerators import problems
from benchmarks.accelerators import recurrences

pytestmark = pytest.mark.accelerator

CASES = [
  (op, dtype, method)
  for op in recurrences.OPS
  for dtype in ("float32", "bfloat16")
  for method in problems.small(op).methods
]


@functools.cache
def truth(op, dtype):
  """A problem as large as the device is quick, and its numbers in float64."""
  make = problems.tiny if jax.default_backend() == "cpu" else problems.small
  problem = make(op, dtype)
  return problem, correctness.truth(problem)


@pytest.mark.parametrize(("op", "dtype", "method"), CASES)
def test_outputs_states_and_gradients(op, dtype, method):
  problem, known = truth(op, dtype)
  check = correctness.check(problem, method, known)
  print(f"\n{op} {dtype} {check}")
  if check.note:
    # A kernel says in a sentence for what it is; all else must run.
    assert method in ("pallas", "cudnn", "tokamax")
    assert f"method='{method}'" in check.note
    pytest.skip(check.note)
  assert check.right, check
