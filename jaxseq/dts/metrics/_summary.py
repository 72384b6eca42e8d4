"""The usual metrics of a representation in one dict."""

import numpy as np

from jaxseq.dts import _arrays
from jaxseq.dts.metrics import _dci
from jaxseq.dts.metrics import _factor_vae
from jaxseq.dts.metrics import _gap
from jaxseq.dts.metrics import _information
from jaxseq.dts.metrics import _irs
from jaxseq.dts.metrics import _modularity
from jaxseq.dts.metrics import _sap
from jaxseq.dts.metrics import _unsupervised


def summary(
  codes: np.ndarray,
  factors: np.ndarray,
  *,
  bins: int = 20,
  votes: int = 10_000,
  active_variance: float = 0.01,
  seed: int = 0,
) -> dict[str, float]:
  """Returns the usual metrics; those that are learned are in `learned`.

  Hand in means of q(z|x), not samples, of windows that the model was not
  trained on: 10,000 for numbers that are reported. "information_bias" tells how
  much of the mutual information that MIG and modularity compare is nothing.

  Args:
    codes: (n, D) float, D >= 2. A golden or published array (D, n) must be
      transposed.
    factors: (n, K) int, K >= 2.
    bins: number of bins of a code.
    votes: training votes of the FactorVAE score, and half as many to score.
    active_variance: a code with a larger variance is active.
    seed: of everything random.

  Returns:
    "mig", "sap_continuous", "modularity", "modularity_active" (of active codes
    only), "irs", "factor_vae", "gaussian_tc", "gaussian_wasserstein"
    (normalized), "pairwise_information", "active_codes", "information_bias" (of
    the factor with the most levels). What a code that says nothing does well is
    NaN: IRS and modularity without an active code, and the three scores of
    independence with fewer than two.

  Raises:
    ValueError: shapes or dtypes are wrong, or a factor is constant.
  """
  codes, factors = _arrays.pair(codes, factors, codes_least=2, factors_least=2)
  active = codes.var(0, ddof=1) > active_variance
  matrix = _information.information_matrix(codes, factors, bins)
  modularity = _modularity.modularity_per_code(matrix)
  gap = _gap.top_two_gap(matrix) / _information.entropies(factors)
  voted = _factor_vae.factor_vae_from_table(
    codes,
    factors,
    train_votes=votes,
    evaluation_votes=max(1, votes // 2),
    seed=seed,
  )
  levels = max(len(np.unique(column)) for column in factors.T)
  out = {
    "mig": gap.mean(),
    "sap_continuous": _sap.sap_continuous(codes, factors),
    "modularity": np.nan,
    "modularity_active": np.nan,
    "irs": np.nan,
    "factor_vae": voted.evaluation,
    "gaussian_tc": np.nan,
    "gaussian_wasserstein": np.nan,
    "pairwise_information": np.nan,
    "information_bias": _information.information_bias(len(codes), bins, levels),
  }
  if active.any():
    out["irs"] = _irs.irs(codes, factors, bins=bins).score
    out["modularity"] = modularity.mean()
    out["modularity_active"] = modularity[active].mean()
  if active.sum() > 1:
    out["gaussian_tc"] = _unsupervised.gaussian_total_correlation(codes)
    distance = _unsupervised.gaussian_wasserstein(codes, True)
    pairwise = _unsupervised.mean_pairwise_information(codes, bins)
    out |= {"gaussian_wasserstein": distance, "pairwise_information": pairwise}
  scores = {name: float(value) for name, value in out.items()}
  return scores | {"active_codes": int(active.sum())}


def learned(
  codes: np.ndarray,
  factors: np.ndarray,
  codes_test: np.ndarray,
  factors_test: np.ndarray,
  *,
  trees: int = 100,
  seed: int = 0,
) -> dict[str, float]:
  """Returns the metrics for which scikit-learn learns on one half of examples.

  Arguments and errors are those of `dci`. For numbers that are reported, 5,000
  test examples.

  Returns:
    "sap_discrete", "dci_disentanglement", "dci_completeness",
    "dci_informativeness" and "explicitness" (both on test data).
  """
  parts = codes, factors, codes_test, factors_test
  dci = _dci.dci(*parts, trees=trees, seed=seed)
  return {
    "sap_discrete": _sap.sap_discrete(*parts, seed=seed),
    "dci_disentanglement": dci.disentanglement,
    "dci_completeness": dci.completeness,
    "dci_informativeness": dci.informativeness_test,
    "explicitness": float(_modularity.explicitness(*parts).test.mean()),
  }
