"""All metrics together, what they check, and what they import."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from jaxseq.dts import metrics
from tests.dts.metrics import cases

_ROOT = pathlib.Path(__file__).resolve().parents[3]


def test_golden(golden):
  arrays = golden("dts/metrics_good")
  codes, factors, _, _ = cases.recorded(arrays)
  seen = metrics.summary(codes, factors, votes=100)
  for name, expected in (
    ("mig", "mig"),
    ("sap_continuous", "sap_cont"),
    ("modularity", "modularity"),
    ("irs", "irs"),
    ("gaussian_tc", "gaussian_tc"),
    ("pairwise_information", "code_mi_score"),
  ):
    np.testing.assert_allclose(
      seen[name], arrays[expected], atol=1e-10, err_msg=name
    )
  # Three of its six codes are noise that counts.
  assert seen["active_codes"] == 3
  assert seen["modularity_active"] > 0.99 > 0.8 > seen["modularity"]
  assert seen["information_bias"] == pytest.approx(19 * 4 / 1200)
  assert seen["factor_vae"] == 1.0
  assert "sap_discrete" not in seen


def test_codes_of_factors_have_the_best_scores():
  pytest.importorskip("sklearn")
  factors = cases.grid((3, 2), repeats=10)
  codes = cases.one_to_one(factors, np.random.default_rng(0))
  seen = metrics.summary(codes, factors, votes=50, bins=200)
  seen |= metrics.learned(codes, factors, codes, factors, trees=5)
  for name in ("mig", "modularity", "irs", "factor_vae", "explicitness"):
    assert seen[name] == pytest.approx(1.0, abs=1e-6), name
  for name in ("disentanglement", "completeness", "informativeness"):
    assert seen[f"dci_{name}"] == pytest.approx(1.0, abs=1e-6), name
  expected = metrics.sap_discrete(codes, factors, codes, factors)
  assert seen["sap_discrete"] == expected
  assert isinstance(seen["active_codes"], int)
  scores = {k: value for k, value in seen.items() if k != "active_codes"}
  assert all(isinstance(value, float) for value in scores.values())


_FACTORS = cases.grid((2, 2))


@pytest.mark.parametrize(
  ("codes", "factors", "match"),
  [
    (
      np.ones(4),
      _FACTORS,
      r"codes: got dtype float64 of shape \(4,\)",
    ),
    (np.ones((4, 2), complex), _FACTORS, "got dtype complex128"),
    (np.ones((0, 2)), _FACTORS, r"got dtype float64 of shape \(0, 2\)"),
    (
      [[0, 1], [0, np.nan], [0, 1], [0, 1]],
      _FACTORS,
      r"codes, columns \[1\]: got .* finite",
    ),
    (np.eye(4), _FACTORS[:3], r"of shape \(3, 2\), .* each of the 4 examples"),
    (np.eye(4), _FACTORS + 0.5, "got dtype float64 .* integers"),
    (np.eye(4), _FACTORS[:, 0], r"got dtype int64 of shape \(4,\)"),
    (np.eye(4), _FACTORS * [1, 0], r"columns \[1\]: got .constants."),
    (np.eye(4), _FACTORS[:, :1], "factors: got .* at least 2 factors"),
    (np.ones((4, 1)), _FACTORS, "codes: got .* expected at least 2 codes"),
  ],
)
def test_wrong_arrays(codes, factors, match):
  with pytest.raises(ValueError, match=match):
    metrics.summary(codes, factors)


def test_wrong_test_arrays():
  codes = np.eye(4)
  with pytest.raises(
    ValueError, match=r"codes_test: got shape \(4, 3\), expected 4 codes"
  ):
    metrics.explicitness(codes, _FACTORS, codes[:, :3], _FACTORS)
  with pytest.raises(
    ValueError, match="factors_test: got .* expected 2 factors"
  ):
    metrics.dci(codes, _FACTORS, codes, _FACTORS[:, :1])
  with pytest.raises(
    ValueError, match="bins: got 0, expected an integer of at least 1"
  ):
    metrics.mig(codes, _FACTORS, bins=0)


def test_without_scikit_learn_a_sentence_says_so(monkeypatch):
  monkeypatch.setitem(sys.modules, "sklearn.svm", None)
  codes = np.eye(4)
  with pytest.raises(ModuleNotFoundError, match=r'install "jaxseq\[dts\]"'):
    metrics.sap_discrete(codes, _FACTORS, codes, _FACTORS)


def test_arrays_are_all_that_it_needs():
  program = (
    "import sys, jaxseq.dts.metrics\n"
    "print({'jax', 'sklearn', 'matplotlib'} & set(sys.modules))"
  )
  done = subprocess.run(
    [sys.executable, "-c", program],
    env={**os.environ, "PYTHONPATH": str(_ROOT)},
    capture_output=True,
    text=True,
    timeout=60,
  )
  assert done.stdout == "set()\n", done.stderr


@pytest.mark.parametrize("size", [0.0, 0.01])
def test_codes_that_say_nothing_win_nothing(size):
  # Not at all, or less than counts as active.
  noise = np.random.default_rng(0).normal(size=(4, 2))
  seen = metrics.summary(1 + size * noise, _FACTORS, votes=10)
  undefined = {name for name, value in seen.items() if np.isnan(value)}
  independence = {"gaussian_tc", "gaussian_wasserstein", "pairwise_information"}
  assert undefined == {"irs", "modularity", "modularity_active"} | independence
  assert seen["active_codes"] == 0
  if not size:
    assert seen["mig"] == seen["factor_vae"] == 0
  # One that says something is independent of nothing else.
  one = np.stack([np.arange(4.0), np.ones(4)], axis=1)
  seen = metrics.summary(one, _FACTORS, votes=10)
  undefined = {name for name, value in seen.items() if np.isnan(value)}
  assert undefined == independence
