import argparse

import numpy as np
import pytest

from benchmarks import packed_chats


@pytest.mark.slow
def test_both_ways_have_the_same_loss_of_the_same_chats():
  flags = argparse.Namespace(chats=6, median=6, length=16, width=8, repeats=1)
  shared, own = packed_chats.compare("gru", flags)
  assert shared["rows"] < own["rows"] == 6
  assert shared["filled"] > own["filled"]
  # A mean of some numbers of size 5, in float32 in another order.
  np.testing.assert_allclose(shared["loss"], own["loss"], rtol=1e-5)
