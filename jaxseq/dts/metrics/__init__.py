"""Metrics of disentanglement, against known factors or without.

They work on any representation: arrays of codes (n, D) float and of factors (n,
K) int, with a row for each example. Nothing here imports JAX; metrics with a
classifier need scikit-learn, the others numpy and scipy.

Definitions and defaults are those of google-research/disentanglement_lib
(Locatello et al., arXiv:1811.12359), whose arrays are (D, n) and (K, n).
"""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.dts.metrics._beta_vae import BetaVae as BetaVae
  from jaxseq.dts.metrics._beta_vae import (
    beta_vae_from_table as beta_vae_from_table,
  )
  from jaxseq.dts.metrics._dci import Dci as Dci
  from jaxseq.dts.metrics._dci import Importance as Importance
  from jaxseq.dts.metrics._dci import boosting_importance as boosting_importance
  from jaxseq.dts.metrics._dci import completeness as completeness
  from jaxseq.dts.metrics._dci import (
    completeness_per_factor as completeness_per_factor,
  )
  from jaxseq.dts.metrics._dci import dci as dci
  from jaxseq.dts.metrics._dci import disentanglement as disentanglement
  from jaxseq.dts.metrics._dci import (
    disentanglement_per_code as disentanglement_per_code,
  )
  from jaxseq.dts.metrics._factor_vae import FactorVae as FactorVae
  from jaxseq.dts.metrics._factor_vae import (
    factor_vae_from_table as factor_vae_from_table,
  )
  from jaxseq.dts.metrics._gap import mig as mig
  from jaxseq.dts.metrics._gap import mig_per_factor as mig_per_factor
  from jaxseq.dts.metrics._gap import top_two_gap as top_two_gap
  from jaxseq.dts.metrics._information import discretize as discretize
  from jaxseq.dts.metrics._information import entropies as entropies
  from jaxseq.dts.metrics._information import (
    information_bias as information_bias,
  )
  from jaxseq.dts.metrics._information import (
    information_matrix as information_matrix,
  )
  from jaxseq.dts.metrics._irs import Irs as Irs
  from jaxseq.dts.metrics._irs import irs as irs
  from jaxseq.dts.metrics._modularity import Explicitness as Explicitness
  from jaxseq.dts.metrics._modularity import explicitness as explicitness
  from jaxseq.dts.metrics._modularity import modularity as modularity
  from jaxseq.dts.metrics._modularity import (
    modularity_per_code as modularity_per_code,
  )
  from jaxseq.dts.metrics._posterior import PosteriorGap as PosteriorGap
  from jaxseq.dts.metrics._posterior import posterior_mig as posterior_mig
  from jaxseq.dts.metrics._sap import sap_continuous as sap_continuous
  from jaxseq.dts.metrics._sap import sap_discrete as sap_discrete
  from jaxseq.dts.metrics._sap import (
    sap_matrix_continuous as sap_matrix_continuous,
  )
  from jaxseq.dts.metrics._sap import sap_matrix_discrete as sap_matrix_discrete
  from jaxseq.dts.metrics._summary import learned as learned
  from jaxseq.dts.metrics._summary import summary as summary
  from jaxseq.dts.metrics._unsupervised import (
    gaussian_total_correlation as gaussian_total_correlation,
  )
  from jaxseq.dts.metrics._unsupervised import (
    gaussian_wasserstein as gaussian_wasserstein,
  )
  from jaxseq.dts.metrics._unsupervised import (
    mean_pairwise_information as mean_pairwise_information,
  )
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
