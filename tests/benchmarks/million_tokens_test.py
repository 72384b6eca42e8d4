"""A sequence on one device in chunks and on eight gives the same numbers."""

import pytest

from tests import programs


@pytest.mark.slow
@pytest.mark.parametrize(
  ("dtype", "tolerance"),
  [
    # Sums of 16,384 terms in another order, of 24 bits and of 53: what differs
    # falls by 2^29 only if it is rounding.
    ("float32", 2e-5),
    ("float64", 1e-13),
  ],
)
def test_one_device_and_eight(dtype, tolerance):
  # The same comparison as for a million, and in the same processes.
  result = programs.run(
    "-m",
    "benchmarks.million_tokens",
    f"--length={2**14}",
    f"--float64={dtype == 'float64'}",
    timeout=1000,
  )
  assert result.returncode == 0, result.stderr
  rows = [line.split() for line in result.stdout.splitlines()[2:]]
  found = {row[0]: float(row[-1]) for row in rows if row[1] == "8"}
  assert set(found) == {"s5", "mamba"}
  assert all(0 < value <= tolerance for value in found.values())
