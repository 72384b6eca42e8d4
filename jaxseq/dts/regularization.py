"""The regularizer of every method: the terms beside the reconstruction.

One weighted sum of mutual information, total correlation and dimension-wise KL
(see `methods`), and remedies for posterior collapse: annealing, free bits, a
least KL, a capacity.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.dts import divergences
from jaxseq.dts import estimators
from jaxseq.dts import methods
from jaxseq.dts import schedules

Array = jax.Array


class Codes(NamedTuple):
  """The codes of a batch of windows.

  Attributes:
    mu: (batch, D) means of q(z | x).
    logvar: (batch, D) log variances.
    z: (batch, D) one sample for each row.
  """

  mu: Array
  logvar: Array
  z: Array


def regularizer(
  config: methods.Config,
  codes: Codes,
  *,
  size: int,
  progress: Array | float,
  key: Array | None = None,
  groups: estimators.Groups | None = None,
  tc: Array | None = None,
  weight: methods.Weights | None = None,
) -> tuple[Array, dict[str, Array]]:
  """Computes the regularizer of a batch, to be minimized.

  Args:
    config: options; static.
    codes: of the batch.
    size: number of windows in the data set; static.
    progress: () part of the training that is done, in [0, 1]; may be traced.
    key: random key for samples of the prior; needed by kl_marg="mmd".
    groups: pairs (start, end) of coordinates that cover each one once. They
      add metrics, and are needed by w_gtc and free bits of groups.
    tc: () total correlation by a density ratio; for "factor_vae" only, which
      needs it.
    weight: what the terms weigh, which may be traced; those of the method if
      None.

  Returns:
    The value (), nats times weights, and metrics, each (): "regularizer", its
    coefficient "anneal", the closed-form "kl", the estimates "mi", "tc" and
    "dwkl" and, with groups, "tc_group", "tc_within_K" and "mi_group_K"; and
    "mmd", "tc_ratio", "capacity" and "dip" where they are used. Their sum mi +
    tc + dwkl is a sampled kl. Those of the estimator "mws" are no nats.

  Raises:
    ValueError: for a missing key, tc or groups, one that is not used, or what
      `estimators.log_densities` refuses.
  """
  _check_inputs(config, key, groups, tc)
  dtype = jnp.promote_types(jnp.result_type(*codes), jnp.float32)
  mu, logvar, z = (jnp.asarray(x, dtype) for x in codes)
  densities = estimators.log_densities(
    z,
    mu,
    logvar,
    kind=config.estimator,
    size=size,
    groups=groups,
    rows=config.rows,
  )
  terms = estimators.decompose(densities)
  analytic = divergences.kl(mu, logvar).mean(axis=0)
  metrics = _term_metrics(terms, analytic)
  weight = methods.weights(config) if weight is None else weight
  each = analytic
  if config.kl_cond == "sampled":
    each = (densities.log_qz_x_d - densities.log_pz_d).mean(axis=0)
  value, capacity = _conditional(config, weight, each, groups, progress)
  if capacity is not None:
    metrics["capacity"] = capacity
  if config.kl_marg == "mmd":
    prior = jax.random.normal(key, z.shape, z.dtype)
    metrics["mmd"] = divergences.mmd(z, prior, kernel=config.mmd_kernel)
    excess = weight.dw - weight.mi
    if config.mmd_weight is not None:
      excess = config.mmd_weight
    value += metrics["mmd"] * excess
  else:
    # What the terms of KL(q(z) || p(z)) cost beyond the common weight.
    value += (
      _times(weight.tc - weight.mi, terms.tc if tc is None else tc)
      + _times(weight.dw - weight.mi, terms.dwkl)
      + _times(weight.gtc - weight.tc, terms.tc_group)
    )
  if tc is not None:
    metrics["tc_ratio"] = tc
  if config.mi_cap is not None:
    value += config.alpha * jax.nn.relu(terms.mi - config.mi_cap)
  dip = methods.dip_weights(config)
  if dip is not None:
    # Of the means, or of the samples.
    spread = None if config.method == "dip_vae_i" else logvar
    cov = divergences.covariance(mu, spread)
    metrics["dip"] = divergences.dip_penalty(cov, *dip)
    value += metrics["dip"]
  coefficient = schedules.anneal(
    progress,
    1.0,
    config.anneal,
    shape=config.anneal_shape,
    cycles=config.anneal_cycles,
    ratio=config.anneal_ratio,
  ).astype(value.dtype)
  value *= coefficient
  metrics |= {"anneal": coefficient, "regularizer": value}
  return value, jax.lax.stop_gradient(metrics)


def _times(weight, term):
  """Skips terms without weight, and their share of the backward pass."""
  # Whether a traced weight is 0 is not known. Terms of groups are None without
  # groups, which then have no weight of their own.
  if term is None or (isinstance(weight, (int, float)) and not weight):
    return 0.0
  return weight * term


def _term_metrics(terms, analytic):
  metrics = {name: getattr(terms, name) for name in ("mi", "tc", "dwkl")}
  metrics["kl"] = analytic.sum()
  if terms.tc_group is not None:
    metrics["tc_group"] = terms.tc_group
    for k in range(terms.tc_within.shape[0]):
      metrics[f"tc_within_{k}"] = terms.tc_within[k]
      metrics[f"mi_group_{k}"] = terms.group_mi[k]
  return metrics


def _conditional(config, weight, each, groups, progress):
  """Returns what KL(q(z | x) || p(z)) costs, and the capacity or None."""
  if config.free_bits_per == "group" and groups is not None:
    each = jnp.stack([each[a:b].sum() for a, b in groups])
  # The mean over the batch is inside the maximum.
  kl = jnp.maximum(each, config.free_bits) if config.free_bits else each
  kl = kl.sum()
  if config.delta_min:
    kl = jnp.maximum(kl, config.delta_min)
  if config.capacity is None:
    return weight.mi * kl, None
  risen = schedules.ramp(progress, 0.0, config.capacity_ramp).astype(kl.dtype)
  capacity = config.capacity * risen
  return config.capacity_weight * jnp.abs(kl - capacity), capacity


def _check_inputs(config, key, groups, tc):
  if config.kl_marg == "mmd" and key is None:
    raise validate.error("key", None, "a random key for kl_marg='mmd'")
  if (tc is None) == config.has_discriminator:
    wanted = "None" if tc is not None else "the one of a density ratio"
    raise validate.error("tc", tc, f"{wanted} for {config.method}")
  if groups is None and config.w_gtc is not None:
    raise validate.error("groups", None, "ranges for w_gtc")
  if groups is None and config.free_bits and config.free_bits_per == "group":
    raise validate.error("groups", None, "ranges for free bits of groups")
