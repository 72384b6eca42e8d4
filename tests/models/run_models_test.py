"""Which seed of a run becomes the model, and where its file is found."""

import math
import types

import pytest

from jaxseq.models import model_file
from jaxseq.models import run_models
from jaxseq.training import errors
from jaxseq.training.per_seed import PerSeed


@pytest.mark.parametrize(
  ("report", "expected"),
  [
    ({"valid_accuracy": [0.2, 0.9, 0.5]}, (1, "valid_accuracy")),
    ({"valid_mse": [0.2, 0.9, 0.1], "mse": [0, 1, 2]}, (2, "valid_mse")),
    ({"bits_per_token": [math.nan, 3.0, 2.0]}, (2, "bits_per_token")),
    ({"valid_nll": [math.nan, 3.0, 4.0]}, (1, "valid_nll")),
    # The test set chooses nothing.
    ({"accuracy": [0.2, 0.9, 0.5], "parameters": 7}, (0, "first seed")),
    ({"accuracy": PerSeed([math.nan, 0.9, 0.5])}, (1, "first seed")),
    # As long as there are seeds, but of other things.
    ({"scores": [math.nan, 0.9, 0.5]}, (0, "first seed")),
    ({"classes": ["a", "b", "c"], "parameters": 7}, (0, "first seed")),
  ],
)
def test_validation_chooses_the_seed(report, expected):
  assert run_models.choose_seed(report, 3) == expected


@pytest.mark.parametrize(
  ("part", "better", "expected"),
  [
    ("validation", "higher", (1, "valid_ndcg_10")),
    ("validation", "lower", (2, "valid_ndcg_10")),
    ("validation", None, (0, "first seed")),
    # The test set chooses nothing.
    ("test", "higher", (0, "first seed")),
  ],
)
def test_the_metric_of_a_task_chooses_the_seed(part, better, expected):
  arm = types.SimpleNamespace(part=part, better=better, metric="valid_ndcg_10")
  report = {"valid_ndcg_10": [0.2, 0.9, 0.1]}
  assert run_models.choose_seed(report, 3, arm) == expected
  shared = {**report, "valid_nll": [1.0, 3.0, 0.5]}
  assert run_models.choose_seed(shared, 3, arm) == (2, "valid_nll")


def test_a_model_is_found_by_its_arm(tmp_path):
  for arm in ("gru", "s5-96"):
    (tmp_path / arm).mkdir()
    (tmp_path / arm / model_file.NAME).touch()
  found = run_models.find(tmp_path, "s5-96")
  assert found == tmp_path / "s5-96" / model_file.NAME
  with pytest.raises(errors.UserError, match="--arm=NAME is missing.*gru, s5"):
    run_models.find(tmp_path, None)
  with pytest.raises(errors.UserError, match="--arm=s5: there is no model"):
    run_models.find(tmp_path, "s5")
  (tmp_path / "gru" / model_file.NAME).unlink()
  assert run_models.find(tmp_path, None) == found
