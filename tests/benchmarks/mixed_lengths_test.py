"""The simulated table against the one of the reference simulation.

The reference drew 5 batches (2 at 512 devices), from the real lengths where
ours come from buckets. Lengths have long tails: where the means of so few draws
are uncertain, three standard errors of the difference are allowed; there are
thirty comparisons, of which one or two are beyond two.
"""

import numpy as np
import pytest

from benchmarks import mixed_lengths
from benchmarks import mixed_lengths_devices
from jaxseq import planner
from jaxseq.planner import rows

# static / plan, packing / plan, stream / plan at 8, 64 and 512 devices.
REFERENCE = {
  ("wiki", "attention"): [(1.09, 3.05, 3.11), (1.27, 1.43, 2.49)],
  ("wiki", "recurrent"): [
    (1.00, 1.47, 2.85),
    (1.29, 1.25, 1.56),
    (1.00, 1.74, 8.9),
  ],
  ("github_like", "attention"): [(1.06, 1.83, 2.30), (1.22, 1.40, 1.84)],
  ("github_like", "recurrent"): [
    (1.00, 1.48, 2.71),
    (1.23, 1.39, 1.50),
    (1.00, 1.83, 7.9),
  ],
  ("byted_like", "attention"): [(1.03, 1.41, 1.27), (1.03, 1.08, 1.03)],
  ("byted_like", "recurrent"): [
    (1.00, 1.19, 1.90),
    (1.04, 1.10, 1.10),
    (1.00, 1.47, 5.6),
  ],
}
DEVICES = (8, 64, 512)


def compare(distribution, kind, num_devices, draws):
  """Checks the means of one setting, and returns them."""
  cell = mixed_lengths.simulate(
    distribution, planner.gpt_7b(kind, num_devices), num_devices, draws
  )
  column = DEVICES.index(num_devices)
  few = 2 if num_devices == 512 else 5
  for (mean, error), values in zip(cell, REFERENCE[distribution, kind]):
    spread = error * np.sqrt(draws)
    uncertain = spread * np.sqrt(1 / few + 1 / draws)
    allowed = max(0.15 * values[column], 3 * uncertain)
    assert abs(mean - values[column]) <= allowed, (mean, values[column])
  return cell


@pytest.mark.parametrize("kind", ["attention", "recurrent"])
@pytest.mark.parametrize("distribution", ["wiki", "github_like", "byted_like"])
def test_table_at_8_devices(distribution, kind):
  cell = compare(distribution, kind, 8, 10)
  assert cell.bound < 1.01


@pytest.mark.parametrize("kind", ["attention", "recurrent"])
def test_table_where_draws_differ_little(kind):
  compare("byted_like", kind, 64, 5)


@pytest.mark.slow
@pytest.mark.parametrize("num_devices", [64, 512])
@pytest.mark.parametrize("kind", ["attention", "recurrent"])
@pytest.mark.parametrize("distribution", ["wiki", "github_like", "byted_like"])
def test_table(distribution, kind, num_devices):
  compare(distribution, kind, num_devices, 60 if num_devices == 64 else 16)


def test_small_states_and_fast_links_favor_the_stream():
  def over_lpt(factor, state_bytes):
    model = mixed_lengths.with_links(
      planner.gpt_7b("recurrent", 8), factor, state_bytes
    )
    return mixed_lengths.stream_over_others("byted_like", model, 8)[0]

  assert over_lpt(16, 1e4) < 1 < over_lpt(0.25, 3e6)


def test_what_all_devices_do_together():
  # A row over two devices beside one device's, and two idle devices.
  plan = planner.Assignment(
    [planner.Row((0,), (0,), 2, 0, 0.0), planner.Row((1,), (0,), 1, 2, 0.0)],
    np.ones(4),
    1,
    1,
    "",
    0,
  )
  documents = [np.arange(7), np.arange(3)]
  batch = rows.lay_out(plan, documents, [4], uniform=True)
  # Two waves; three devices with four tokens each. Of the four blocks of the
  # long row one lies in the future. Two devices receive something.
  for kind, expected in (
    ("attention", [1, 2, 3, 12, 3 * 16 + 16, 2 * 4]),
    ("recurrent", [1, 2, 3, 12, 0, 2]),
  ):
    np.testing.assert_array_equal(
      mixed_lengths_devices.terms(kind, batch), expected
    )


def test_coefficients_are_found_again():
  batches = [
    mixed_lengths_devices.rows_alike(*sizes)
    for sizes in mixed_lengths_devices.FITTED
  ]
  coefficients = np.array([3e-3, 1e-3, 5e-4, 1e-5, 4e-8, 2e-7])
  seconds = np.array(
    [
      mixed_lengths_devices.terms("attention", batch) @ coefficients
      for batch in batches
    ]
  )
  found = mixed_lengths_devices.fit("attention", batches, seconds)
  # Well posed: a matrix of 14 rows and six columns, in float64.
  np.testing.assert_allclose(found, coefficients, rtol=1e-6)
