"""Options of the regularizer, and the weights that methods give its terms.

All methods minimize the reconstruction's negative log likelihood plus

    w_mi I(x; z) + w_gtc TC_group + w_tc sum_k TC_within,k + w_dw DWKL

with the weights

                                       mi            gtc, tc    dw
    vae                                1             1          1
    beta_vae      (arXiv:1804.03599)   beta          beta       beta
    beta_tcvae    (arXiv:1802.04942)   1             beta       1
    factor_vae    (arXiv:1802.05983)   1             1 + gamma  1
    info_vae      (arXiv:1706.02262)   1 - alpha     lam        lam
    annealed_vae  (arXiv:1804.03599)   1             1          1
    dip_vae_i/ii  (arXiv:1711.00848)   1             1          1
    dts           (arXiv:2105.08179)   beta - alpha  beta       beta

DTS keeps the heavier penalty of beta-VAE on total correlation and
dimension-wise KL, and rewards mutual information. If the decoder could model
anything, the posterior collapses where w_mi > 1, need not where it is 1, and
does not in the optimum where it is below; below 0 information is rewarded that
the decoder never reads, so that alpha is best between beta - 1 and beta.
"""

import dataclasses
import typing
from typing import Literal
from typing import NamedTuple

from jaxseq import validate
from jaxseq.dts import divergences
from jaxseq.dts import estimators
from jaxseq.dts import schedules

Method = Literal[
  "vae",
  "beta_vae",
  "beta_tcvae",
  "factor_vae",
  "info_vae",
  "annealed_vae",
  "dip_vae_i",
  "dip_vae_ii",
  "dts",
]
METHODS = typing.get_args(Method)
# Methods that reward mutual information, by alpha.
_REWARDING = ("info_vae", "dts")
# Methods that are nothing but weights, and the fields that give these.
_WEIGHTED = ("vae", "beta_vae", "beta_tcvae", "info_vae", "dts")
_WEIGHT_FIELDS = (
  "method alpha beta gamma lam dip_off_diagonal dip_diagonal w_dw".split()
)
# Fields that hold numbers of at least 0, and those that may be None as well.
_NOT_NEGATIVE = "beta gamma lam dip_off_diagonal free_bits delta_min".split()
_OPTIONAL = "dip_diagonal w_gtc w_dw mmd_weight mi_cap capacity".split()
# DIP-VAE's weight of the diagonal over that beside it.
_DIP_FACTOR = {"dip_vae_i": 10.0, "dip_vae_ii": 1.0}


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of the regularizer.

  Attributes:
    method: see the head of this file.
    alpha: reward of the mutual information, of "dts" and "info_vae".
    beta: penalty of "beta_vae", "beta_tcvae" and "dts".
    gamma: what "factor_vae" adds on the total correlation.
    lam: penalty of the divergence of q(z) from the prior of "info_vae".
    dip_off_diagonal: penalty of the covariance beside the diagonal, "dip_vae".
    dip_diagonal: of its diagonal; ten times that (I), or the same (II), if
      None.
    w_gtc: weight of the total correlation of groups, if it is to differ from
      that within them.
    w_dw: weight of the dimension-wise KL, if it is to differ from the method's.
    estimator: how q(z) is estimated, see `estimators`.
    kl_cond: whether KL(q(z | x) || p(z)), which has the weight of the mutual
      information, is in closed form or sampled. The other terms add what they
      weigh more; the expectation is the same.
    kl_marg: whether KL(q(z) || p(z)) is sampled, or replaced by the maximum
      mean discrepancy ("info_vae" and "dts").
    mmd_weight: weight of the discrepancy; that of the KL if None.
    mmd_kernel: its kernel, see `divergences.mmd`.
    mi_cap: nats above which mutual information is not rewarded any more.
    free_bits: nats of KL(q(z | x) || p(z)) that cost nothing, by the mean of
      the batch, in each coordinate or group (Kingma et al., arXiv:1606.04934).
    free_bits_per: "coordinate" or "group".
    delta_min: nats below which that KL, as a whole, is not reduced.
    capacity: C in nats. The KL is pulled to what rises linearly from 0 to C,
      by capacity_weight * |KL - C(t)| instead of its weight. Methods published
      so have anneal="none".
    capacity_weight: weight of that.
    capacity_ramp: part of the training in which C(t) rises.
    anneal: coefficient of the whole regularizer, see `schedules.anneal`.
    anneal_shape: shape of its rise.
    anneal_cycles: number of rises of "cyclical".
    anneal_ratio: part of the training, or of a cycle, that the rise takes.
    rows: samples that are compared with the batch at a time; all if None.
  """

  method: Method = "dts"
  alpha: float = 0.5
  beta: float = 1.0
  gamma: float = 10.0
  lam: float = 1.0
  dip_off_diagonal: float = 10.0
  dip_diagonal: float | None = None
  w_gtc: float | None = None
  w_dw: float | None = None
  estimator: estimators.Kind = "mss"
  kl_cond: Literal["analytic", "sampled"] = "analytic"
  kl_marg: Literal["sampled", "mmd"] = "sampled"
  mmd_weight: float | None = None
  mmd_kernel: divergences.Kernel = "imq_wae"
  mi_cap: float | None = None
  free_bits: float = 0.0
  free_bits_per: Literal["coordinate", "group"] = "coordinate"
  delta_min: float = 0.0
  capacity: float | None = None
  capacity_weight: float = 1000.0
  capacity_ramp: float = 1.0
  anneal: schedules.Kind = "monotonic"
  anneal_shape: schedules.Shape = "linear"
  anneal_cycles: int = 4
  anneal_ratio: float | None = None
  rows: int | None = None

  def __post_init__(self):
    validate.literals(self)
    validate.number("alpha", self.alpha)
    names = [x for x in _OPTIONAL if getattr(self, x) is not None]
    validate.fields(
      self,
      positive=("anneal_cycles",),
      optional=("rows",),
      not_negative=(*_NOT_NEGATIVE, "capacity_weight", *names),
    )
    validate.fraction("capacity_ramp", self.capacity_ramp)
    if self.anneal_ratio is not None:
      validate.fraction("anneal_ratio", self.anneal_ratio)
    self._check_combinations()

  @property
  def has_discriminator(self) -> bool:
    """True if the total correlation is estimated by a density ratio."""
    return self.method == "factor_vae"

  def _check_combinations(self):
    method, rewarding = self.method, self.method in _REWARDING
    rewards = ", ".join(_REWARDING)
    capped, grouped = self.mi_cap is not None, self.w_gtc is not None
    for is_wrong, name, expected in (
      (
        method == "annealed_vae" and self.capacity is None,
        "capacity",
        "nats, which annealed_vae needs",
      ),
      (
        self.has_discriminator and grouped,
        "w_gtc",
        "None for factor_vae, whose discriminator does not know of groups",
      ),
      (
        capped and not rewarding,
        "mi_cap",
        f"None for {method}: it is for methods that reward mutual "
        f"information, {rewards}",
      ),
      (
        capped and self.estimator == "mws",
        "mi_cap",
        "None for 'mws', which does not estimate nats",
      ),
    ):
      if is_wrong:
        raise validate.error(name, getattr(self, name), expected)
    if self.kl_marg == "mmd" and not (
      rewarding and not grouped and self.w_dw is None
    ):
      raise validate.error(
        "method, w_gtc and w_dw",
        (method, self.w_gtc, self.w_dw),
        f"one of {rewards}, None and None for kl_marg='mmd', which stands for "
        "the divergence of q(z) as a whole",
      )


class Weights(NamedTuple):
  """Weights of the terms, see the head of this file."""

  mi: float
  gtc: float
  tc: float
  dw: float


def weights(config: Config) -> Weights:
  """Returns what a method's terms weigh in the loss."""
  alpha, beta, lam = config.alpha, config.beta, config.lam
  mi, tc, dw = {
    "beta_vae": (beta, beta, beta),
    "beta_tcvae": (1.0, beta, 1.0),
    "factor_vae": (1.0, 1.0 + config.gamma, 1.0),
    "info_vae": (1.0 - alpha, lam, lam),
    "dts": (beta - alpha, beta, beta),
  }.get(config.method, (1.0, 1.0, 1.0))
  result = Weights(mi, tc, tc, dw)
  if config.w_gtc is not None:
    result = result._replace(gtc=config.w_gtc)
  if config.w_dw is not None:
    result = result._replace(dw=config.w_dw)
  return result


def without_weights(config: Config) -> Config | None:
  """Returns the options without their weights, which are traced.

  Objectives for which these are equal are one program with different `weights`.

  Returns:
    A "dts" objective with default weights, or None for methods and options that
    are more than weights.
  """
  if (
    config.method not in _WEIGHTED
    or config.kl_marg == "mmd"
    or config.mi_cap is not None
    or config.w_gtc is not None
  ):
    return None
  defaults = {name: getattr(Config, name) for name in _WEIGHT_FIELDS}
  return dataclasses.replace(config, **defaults)


def dip_weights(config: Config) -> tuple[float, float] | None:
  """Returns DIP-VAE's weights beside and on the diagonal; None for others."""
  if config.method not in _DIP_FACTOR:
    return None
  diagonal = config.dip_diagonal
  if diagonal is None:
    diagonal = _DIP_FACTOR[config.method] * config.dip_off_diagonal
  return config.dip_off_diagonal, diagonal
