r"""Methods on seasonal series, in minutes.

    python -m experiments.dts --config=configs/dts/quick.py --workdir=runs/dts

Series of 64 made from six known factors: amplitude, frequency, phase, slope,
offset and second harmonic. `:tiny` learns nothing, and shows in seconds whether
everything works.
"""

import ml_collections

from configs.dts import _shared
from jaxseq import _validate

VARIANTS = ("full", "tiny")


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  _validate.choice("variant", variant, VARIANTS)
  config = _shared.base("seasonal_factors")
  config.num_seeds = 2
  config.arms = _shared.arms(
    "vae", "beta_vae_10", "beta_tcvae_10", "dts_10", "dts_10_dw"
  )
  return _shared.tiny(config) if variant == "tiny" else config
