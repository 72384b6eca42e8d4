"""The sets of worn sensors by name, and the pairs of their domains."""

import pytest

from experiments.sensors import pairs
from jaxseq import data


def test_published_pairs():
  sets = {"uci_har", "hhar", "wisdm", "uwave", "watch"}
  assert set(pairs.PAIRS) == sets < set(data.registry.names())
  for each in pairs.PAIRS.values():
    assert len(set(each)) == 10
    assert all(source != target for source, target in each)
  assert pairs.PAIRS["hhar"][2] == (0, 6)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"source": 1}, "source and target: got 1 and 1, expected .* none twice"),
    (
      {"source": -1},
      "source and target: got -1, expected an integer of at least 0",
    ),
    ({"valid": 0}, "valid: got 0, expected an integer of at"),
  ],
)
def test_wrong_options_are_named(options, message):
  with pytest.raises(ValueError, match=message):
    data.load("activities", **options)
