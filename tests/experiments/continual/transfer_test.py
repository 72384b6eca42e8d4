"""Metrics of continual learning, against those of libraries."""

import numpy as np
import pytest

from experiments.continual import transfer


def test_metrics(golden):
  arrays = golden("continual/metrics")
  found = transfer.summary(arrays["R"], arrays["baseline"])
  for name, expected in {
    "last": "acc_last",
    "incremental": "acc_average_incremental",
    "backward_transfer": "backward_transfer",
    "forward_transfer": "forward_transfer",
    "forgetting": "forgetting_before_last",
    "learning": "learning_accuracy",
  }.items():
    np.testing.assert_allclose(found[name], arrays[expected], err_msg=name)
  weighted = transfer.summary(arrays["R"], sizes=arrays["test_sizes"])
  after = arrays["acc_after_weighted"]
  np.testing.assert_allclose(weighted["last"], after[-1])
  np.testing.assert_allclose(weighted["incremental"], after.mean())


def test_a_table_that_does_not_change():
  found = transfer.summary(np.full((3, 3), 0.5))
  assert found["backward_transfer"] == found["forgetting"] == 0
  # What becomes better at the end has been forgotten by less than nothing.
  better = np.array([[0.2, 0], [0.8, 0.9]])
  np.testing.assert_allclose(transfer.summary(better)["forgetting"], -0.6)


def test_a_table_that_is_not_square():
  with pytest.raises(ValueError, match="accuracies: got shape .2, 3."):
    transfer.summary(np.zeros((2, 3)))
