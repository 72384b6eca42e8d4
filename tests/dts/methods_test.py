"""Options of the regularizer: the table of weights, and what is refused."""

import pytest

from jaxseq.dts import methods


@pytest.mark.parametrize(
  ("options", "weights"),
  [
    ({"method": "vae"}, (1, 1, 1, 1)),
    ({"method": "beta_vae", "beta": 4.0}, (4, 4, 4, 4)),
    ({"method": "beta_tcvae", "beta": 4.0}, (1, 4, 4, 1)),
    ({"method": "factor_vae", "gamma": 6.0}, (1, 7, 7, 1)),
    ({"method": "info_vae", "alpha": 0.25, "lam": 3.0}, (0.75, 3, 3, 3)),
    ({"method": "annealed_vae", "capacity": 5.0}, (1, 1, 1, 1)),
    ({"method": "dip_vae_i"}, (1, 1, 1, 1)),
    ({}, (0.5, 1, 1, 1)),
    ({"alpha": 3.5, "beta": 4.0}, (0.5, 4, 4, 4)),
    ({"alpha": 3.5, "beta": 4.0, "w_gtc": 8.0}, (0.5, 8, 4, 4)),
    ({"alpha": 3.5, "beta": 4.0, "w_dw": 1.0}, (0.5, 4, 4, 1)),
  ],
)
def test_weights(options, weights):
  assert methods.weights(methods.Config(**options)) == weights


def test_dts_is_info_vae_with_other_names():
  dts = methods.Config(alpha=3.0, beta=4.0)
  info = methods.Config(method="info_vae", alpha=1 - 4.0 + 3.0, lam=4.0)
  assert methods.weights(dts) == methods.weights(info)


def test_weights_of_the_covariance():
  config = methods.Config(method="dip_vae_i", dip_off_diagonal=5.0)
  assert methods.dip_weights(config) == (5, 50)
  config = methods.Config(method="dip_vae_ii", dip_off_diagonal=5.0)
  assert methods.dip_weights(config) == (5, 5)
  config = methods.Config(method="dip_vae_ii", dip_diagonal=1.0)
  assert methods.dip_weights(config) == (10, 1)
  assert methods.dip_weights(methods.Config()) is None


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"method": "beta"}, "method: got 'beta', expected one of 'vae'"),
    ({"estimator": "mss_code"}, "estimator: got .* one of 'exact'"),
    ({"anneal": "linear"}, "anneal: got .* one of 'none'"),
    ({"beta": -1.0}, "beta: got -1.0, expected a finite number of at"),
    ({"alpha": float("nan")}, "alpha: got nan, expected a finite"),
    ({"capacity": "10"}, "capacity: got '10', expected a finite"),
    ({"anneal_ratio": 0.0}, r"anneal_ratio: got 0.0, .* of at most 1"),
    ({"anneal_cycles": 0}, "anneal_cycles: got 0, expected"),
    ({"rows": 0}, "rows: got 0, expected"),
    ({"method": "annealed_vae"}, "capacity: got None, .* annealed_vae needs"),
    (
      {"method": "vae", "kl_marg": "mmd"},
      "method, w_gtc.* info_vae",
    ),
    (
      {"method": "factor_vae", "w_gtc": 2.0},
      "w_gtc: got 2.0, .* factor",
    ),
    (
      {"method": "vae", "mi_cap": 3.0},
      "mi_cap: got 3.0, .* reward",
    ),
    (
      {"estimator": "mws", "mi_cap": 3.0},
      "mi_cap: got 3.0, .* nats",
    ),
  ],
)
def test_what_is_refused(options, message):
  with pytest.raises(ValueError, match=message):
    methods.Config(**options)
