r"""Methods on electrocardiograms with known factors.

    python -m experiments.dts --config=configs/dts/ecg.py --workdir=runs/dts_ecg

Two seconds at 32 Hz in closed form, with heart rate, heights of the waves and
intervals as factors.

    --config=configs/dts/ecg.py:heartbeat    single beats over a baseline
    --config=configs/dts/ecg.py:dynamics     McSharry's dynamical model

`:tiny` learns nothing, and shows in seconds whether everything works.
"""

import ml_collections

from configs.dts import _shared

_DATA = {
  "ecg": ("ecg", {"length": 64, "rate": 32.0}),
  "heartbeat": ("heartbeat", {}),
  "dynamics": ("ecg_dynamics", {}),
  "tiny": ("ecg", {}),
}


def get_config(variant: str = "ecg") -> ml_collections.ConfigDict:
  _shared.check(variant, tuple(_DATA))
  name, options = _DATA[variant]
  config = _shared.base(name, **options)
  config.arms = _shared.arms(
    "vae",
    "beta_vae_4",
    "beta_tcvae_4",
    "beta_tcvae_10",
    "dts_light",
    "dts_4",
    "dts_10",
    "dts_10_dw",
  )
  config.arms.dts_4_dw = {
    "objective": {"method": "dts", "beta": 4.0, "alpha": 3.5, "w_dw": 1.0}
  }
  return _shared.tiny(config) if variant == "tiny" else config
