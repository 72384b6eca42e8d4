r"""All methods on seasonal series with known factors.

    python -m experiments.dts --config=configs/dts/synthetic.py \
      --workdir=runs/dts_synthetic

Each method is an arm; three seeds. Then DCI, half a minute for each model:

    python -m experiments.dts --config=configs/dts/synthetic.py \
      --workdir=runs/dts_synthetic --mode=evaluate --config.trees=100

    --config=configs/dts/synthetic.py:beyond    DTS with other weights, a
                                                warm-up, segments and mixers as
                                                encoders, beside beta-TCVAE

`:tiny` learns nothing, and shows in seconds whether everything works.
"""

import ml_collections

from configs.dts import _shared

# Encoders that read a series in both directions.
_MIXERS = {
  name: {"encoder": {"kind": "mixer", "network": _shared.mixer(name)}}
  for name in ("s5", "lightnet")
}


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  _shared.check(variant, ("full", "beyond", "tiny"))
  config = _shared.base("seasonal_factors")
  config.arms = _shared.arms(*_shared.METHODS)
  if variant == "beyond":
    config.arms = {
      "beta_tcvae_6": _tcvae(6.0),
      "beta_tcvae_20": _tcvae(20.0),
      "beta_tcvae_10_warm": _tcvae(10.0, anneal="monotonic"),
      "dts_6_dw": _dts(6.0, 5.5),
      "dts_20_dw": _dts(20.0, 19.5),
      "dts_10_warm_dw": _dts(10.0, 9.5, anneal="monotonic"),
      "dts_10_10_dw": _dts(10.0, 10.0),
      "dts_10_dw_3": _dts(10.0, 9.5, w_dw=3.0),
      # Two levels: dependence between pairs of coordinates costs more than
      # that within a pair.
      "dts_6_pairs_20_dw": {
        "model": {"segments": (2,) * 5},
        **_dts(6.0, 5.5, w_gtc=20.0),
      },
      "beta_tcvae_20_s5": {"model": _MIXERS["s5"], **_tcvae(20.0)},
      "dts_20_dw_s5": {"model": _MIXERS["s5"], **_dts(20.0, 19.5)},
      "dts_20_dw_lightnet": {
        "model": _MIXERS["lightnet"],
        **_dts(20.0, 19.5),
      },
    }
  return _shared.tiny(config) if variant == "tiny" else config


def _tcvae(beta, **options):
  return {"objective": {"method": "beta_tcvae", "beta": beta, **options}}


def _dts(beta, alpha, **options):
  weights = {"beta": beta, "alpha": alpha, "w_dw": 1.0}
  return {"objective": {"method": "dts", **weights, **options}}
