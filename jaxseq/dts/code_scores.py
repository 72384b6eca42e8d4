"""Scores of codes: against known factors, and between two domains."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxseq import data
from jaxseq.data import domains
from jaxseq.dts import _sklearn
from jaxseq.dts import metrics
from jaxseq.dts import probes
from jaxseq.tasks import base
from jaxseq.training import per_seed

SEGMENTS = ("g_y", "g_d")


def of_factors(
  mu: np.ndarray,
  logvar: np.ndarray,
  factors: np.ndarray,
  *,
  trees: int = 0,
  votes: int = 10_000,
) -> dict[str, float]:
  """Returns the metrics of disentanglement of one model.

  Args:
    mu: (n, D) means of test windows.
    logvar: (n, D) their log-variances.
    factors: (n, K) int levels.
    trees: of DCI's boosting; 0 leaves out DCI and what else is learned.
    votes: of the FactorVAE score, and points of the beta-VAE score; half as
      many are scored.

  Returns:
    What `metrics.summary` returns of all windows, "sap" for its continuous SAP,
    and "posterior_mig". With trees also what scikit-learn learns on the first
    half of the windows, scored on the second: "dci", its disentanglement,
    "dci_completeness", "dci_informativeness", "sap_discrete", "explicitness";
    and "beta_vae".
  """
  scores = metrics.summary(mu, factors, votes=votes)
  scores["sap"] = scores.pop("sap_continuous")
  noise = np.random.default_rng(0).standard_normal(mu.shape)
  z = mu + np.exp(0.5 * logvar) * noise
  scores["posterior_mig"] = metrics.posterior_mig(mu, logvar, z, factors).score
  if trees:
    half = len(mu) // 2
    parts = mu[:half], factors[:half], mu[half:], factors[half:]
    # The published settings stop after 100 steps, whatever is left to learn.
    with _sklearn.may_stop_early():
      scores |= metrics.learned(*parts, trees=trees)
      voted = metrics.beta_vae_from_table(
        mu, factors, train_points=votes, evaluation_points=max(1, votes // 2)
      )
    scores["dci"] = scores.pop("dci_disentanglement")
    scores["beta_vae"] = voted.evaluation
  return scores


def of_domains(
  ranges: Sequence[tuple[int, int]],
  splits: data.Splits,
  test: data.ArrayDataset,
  means: Callable[[data.ArrayDataset], np.ndarray],
) -> dict[str, dict[str, float]]:
  """Returns what probes read off both segments of one model's codes.

  Args:
    ranges: of the coordinates of "g_y" and "g_d".
    splits: windows of two domains, see `data.domains.adapt`.
    test: windows of the target.
    means: from windows to means (n, D).

  Returns:
    See `probes.domain_table`. If the windows name their recordings, the domain
    probe is scored on other recordings than it was fitted on.
  """
  train = base.host(splits.train)

  def windows(part):
    return probes.Windows(
      means(part), np.asarray(part.targets), part.extras.recording
    )

  return probes.domain_table(
    windows(domains.labeled(train)),
    windows(base.host(splits.valid)),
    windows(domains.unlabeled(train)),
    windows(test),
    {name: slice(*ends) for name, ends in zip(SEGMENTS, ranges)},
  )


def over_seeds(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  """Returns the same mapping with a list over seeds for each number."""
  return {
    key: over_seeds([row[key] for row in rows])
    if isinstance(value, Mapping)
    else per_seed.PerSeed(row[key] for row in rows)
    for key, value in rows[0].items()
  }
