"""How disentangled a representation is, against known factors or without.

Any representation will do: all that is needed are arrays, codes (n, D) float
and factors (n, K) int, with a row for each example. Nothing here imports JAX;
what is learned by a classifier needs scikit-learn, the rest numpy and scipy.

Definitions and defaults are those of google-research/disentanglement_lib
(Locatello et al., arXiv:1811.12359), whose arrays are (D, n) and (K, n).
"""

from jaxseq.dts.metrics._beta_vae import BetaVae
from jaxseq.dts.metrics._beta_vae import beta_vae_features
from jaxseq.dts.metrics._beta_vae import beta_vae_from_encoder
from jaxseq.dts.metrics._beta_vae import beta_vae_from_features
from jaxseq.dts.metrics._beta_vae import beta_vae_from_table
from jaxseq.dts.metrics._dci import Dci
from jaxseq.dts.metrics._dci import Importance
from jaxseq.dts.metrics._dci import boosting_importance
from jaxseq.dts.metrics._dci import completeness
from jaxseq.dts.metrics._dci import completeness_per_factor
from jaxseq.dts.metrics._dci import dci
from jaxseq.dts.metrics._dci import disentanglement
from jaxseq.dts.metrics._dci import disentanglement_per_code
from jaxseq.dts.metrics._factor_vae import FactorVae
from jaxseq.dts.metrics._factor_vae import factor_vae_from_encoder
from jaxseq.dts.metrics._factor_vae import factor_vae_from_table
from jaxseq.dts.metrics._factor_vae import factor_vae_from_votes
from jaxseq.dts.metrics._gap import mig
from jaxseq.dts.metrics._gap import mig_per_factor
from jaxseq.dts.metrics._gap import top_two_gap
from jaxseq.dts.metrics._information import discretise
from jaxseq.dts.metrics._information import entropies
from jaxseq.dts.metrics._information import information_bias
from jaxseq.dts.metrics._information import information_matrix
from jaxseq.dts.metrics._irs import Irs
from jaxseq.dts.metrics._irs import irs
from jaxseq.dts.metrics._modularity import Explicitness
from jaxseq.dts.metrics._modularity import explicitness
from jaxseq.dts.metrics._modularity import modularity
from jaxseq.dts.metrics._modularity import modularity_per_code
from jaxseq.dts.metrics._posterior import PosteriorGap
from jaxseq.dts.metrics._posterior import joint_entropy
from jaxseq.dts.metrics._posterior import posterior_entropies
from jaxseq.dts.metrics._posterior import posterior_mig
from jaxseq.dts.metrics._sap import sap_continuous
from jaxseq.dts.metrics._sap import sap_discrete
from jaxseq.dts.metrics._sap import sap_matrix_continuous
from jaxseq.dts.metrics._sap import sap_matrix_discrete
from jaxseq.dts.metrics._summary import summary
from jaxseq.dts.metrics._unsupervised import gaussian_total_correlation
from jaxseq.dts.metrics._unsupervised import gaussian_wasserstein
from jaxseq.dts.metrics._unsupervised import mean_pairwise_information

__all__ = [
  "BetaVae",
  "Dci",
  "Explicitness",
  "FactorVae",
  "Importance",
  "Irs",
  "PosteriorGap",
  "beta_vae_features",
  "beta_vae_from_encoder",
  "beta_vae_from_features",
  "beta_vae_from_table",
  "boosting_importance",
  "completeness",
  "completeness_per_factor",
  "dci",
  "discretise",
  "disentanglement",
  "disentanglement_per_code",
  "entropies",
  "explicitness",
  "factor_vae_from_encoder",
  "factor_vae_from_table",
  "factor_vae_from_votes",
  "gaussian_total_correlation",
  "gaussian_wasserstein",
  "information_bias",
  "information_matrix",
  "irs",
  "joint_entropy",
  "mean_pairwise_information",
  "mig",
  "mig_per_factor",
  "modularity",
  "modularity_per_code",
  "posterior_entropies",
  "posterior_mig",
  "sap_continuous",
  "sap_discrete",
  "sap_matrix_continuous",
  "sap_matrix_discrete",
  "summary",
  "top_two_gap",
]
