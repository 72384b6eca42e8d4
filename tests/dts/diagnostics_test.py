"""Tests of diagnostics on arrays."""

import numpy as np
import pytest

from jaxseq.dts import diagnostics


def test_anomaly_auc():
  pytest.importorskip("sklearn")
  scores = [0.1, 0.4, 0.35, 0.8]
  assert diagnostics.anomaly_auc(scores, [0, 0, 1, 1]) == 0.75
  assert diagnostics.anomaly_auc(scores, np.array(scores) > 0.38) == 1.0
  assert diagnostics.anomaly_auc(np.ones(4), [0, 0, 1, 1]) == 0.5
  with pytest.raises(ValueError, match="at least two classes"):
    diagnostics.anomaly_auc(scores, [0, 0, 0, 0])
  with pytest.raises(ValueError, match=r"got \[0, 2\], expected 0 and 1"):
    diagnostics.anomaly_auc(scores, [0, 0, 2, 2])
  with pytest.raises(ValueError, match="finite"):
    diagnostics.anomaly_auc([0.0, np.nan], [0, 1])


def test_traversal_effect():
  reference = np.ones((4, 2))
  traversal = np.ones((3, 5, 4, 2))
  traversal[1] += np.array([-2, -1, 0, 1, 2])[:, None, None]
  traversal[2, :, :, 0] += 1
  np.testing.assert_array_equal(
    diagnostics.traversal_effect(traversal, reference), [0, 2, 0.5]
  )
  with pytest.raises(ValueError, match=r"got shape \(3, 5, 4, 2\) and \(4,"):
    diagnostics.traversal_effect(traversal, reference[:, :1])
