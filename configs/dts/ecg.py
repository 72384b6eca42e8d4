r"""Methods on electrocardiograms with known factors.

    python -m experiments.dts --config=configs/dts/ecg.py --workdir=runs/dts_ecg

Two seconds at 32 Hz in closed form, with heart rate, heights of the waves and
intervals as factors.

    --config=configs/dts/ecg.py:heartbeat    single beats over a baseline
    --config=configs/dts/ecg.py:dynamics     McSharry's dynamical model
    --config=configs/dts/ecg.py:beyond       DTS with a higher beta, a warm-up
                                             and segments, beside beta-TCVAE

`:tiny` learns nothing, and shows in seconds whether everything works.
"""

import ml_collections

from configs.dts import _shared
from jaxseq import _validate

_DATA = {
  "ecg": ("ecg", {"length": 64, "rate": 32.0}),
  "heartbeat": ("heartbeat", {}),
  "dynamics": ("ecg_dynamics", {}),
  "beyond": ("ecg", {"length": 64, "rate": 32.0}),
  "tiny": ("ecg", {}),
}

VARIANTS = tuple(_DATA)


def get_config(variant: str = "ecg") -> ml_collections.ConfigDict:
  _validate.choice("variant", variant, VARIANTS)
  name, options = _DATA[variant]
  config = _shared.base(name, **options)
  config.arms = _shared.arms(*_shared.METHODS)
  config.arms.beta_vae_2 = {"objective": {"method": "beta_vae", "beta": 2.0}}
  config.arms.dts_4_dw = _shared.dts(4.0, 3.5)
  if variant == "beyond":
    config.arms = {
      "beta_tcvae_20": _shared.tcvae(20.0),
      "dts_20_dw": _shared.dts(20.0, 19.5),
      "dts_10_warm_dw": _shared.dts(10.0, 9.5, anneal="monotonic"),
      # Two levels: dependence between pairs of coordinates costs more than
      # that within a pair.
      "dts_6_pairs_20_dw": {
        "model": {"segments": (2,) * 5},
        **_shared.dts(6.0, 5.5, w_gtc=20.0),
      },
    }
  return _shared.tiny(config) if variant == "tiny" else config
