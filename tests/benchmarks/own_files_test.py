"""With the defaults networks are no worse than what needs no network."""

import pytest

from benchmarks import own_files

# How far behind a mean over three seeds may be: a part of the noise between
# parts of such small files.
CASES = {
  "logins": (0.3, 0.03),
  "sales": (0.4, 0.0),
  "tickets": (1.0, 0.0),
  # Two of 48 test series.
  "sensors": (1.0, 0.042),
  "engines": (1.0, 0.0),
  "follows": (1.0, 0.0),
  # EASE is chosen among more rows; a standard error by users is 0.003.
  "orders": (0.4, 0.01),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_network_is_level_with_the_best_row(name, tmp_path):
  size, behind = CASES[name]
  results = own_files.train(
    name, tmp_path, "--arms=gru", "--config.num_seeds=3", size=size
  )
  for arm, score, label, other in own_files.compared(name, results):
    if own_files.CASES[name].higher:
      score, other = -score, -other
    assert score <= other + behind, (arm, label)
