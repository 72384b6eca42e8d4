"""Generated event graphs."""

import numpy as np

from jaxseq.data import graph_generators


def test_followers_differ_in_their_items_alone():
  splits = graph_generators.followers(pairs=20, repeats=2)
  sets = splits.train, splits.valid, splits.test
  nodes = np.concatenate([one.inputs for one in sets])
  times = np.concatenate([one.extras.times[:, 0] for one in sets])
  for pair in range(20):
    rows = [nodes[:, 0] == 11 + 2 * pair + n for n in range(2)]
    items = [nodes[row, 1] for row in rows]
    assert abs(items[0] - items[1]).tolist() == [5] * 10
    assert (np.diff(items[0]) % 5).tolist() == [1] * 9
    np.testing.assert_array_equal(*(times[row] for row in rows))
  assert set(abs(splits.test.targets - splits.test.inputs[:, 1:]).ravel()) == {
    5
  }


def test_nodes_drift_around_a_ring():
  splits = graph_generators.drifting_nodes(
    users=2, items=10, events=4000, speed=0.01, noise=0.0
  )
  nodes, times = splits.train.inputs, splits.train.extras.times[:, 0]
  for user in (11, 12):
    own = nodes[:, 0] == user
    steps = np.diff(nodes[own, 1]) % 10
    # Never more than one item ahead, or never more than one back.
    assert set(steps) <= {0, 1} or set(steps) <= {0, 9}
    assert len(times[own]) > 1000
