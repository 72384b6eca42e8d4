r"""Methods on seasonal series, in minutes.

    python -m experiments.dts --config=configs/dts/quick.py --workdir=runs/dts

Series of 64 made from six known factors: amplitude, frequency, phase, slope,
offset and second harmonic. `:tiny` only checks in seconds that everything
works.
"""

from configs import variants
from configs.dts import _shared

FULL = _shared.base(
  "seasonal_factors",
  num_seeds=2,
  arms=_shared.arms(
    "vae", "beta_vae_10", "beta_tcvae_10", "dts_10", "dts_10_dw"
  ),
)
get_config = variants.Variants(full=FULL, tiny=_shared.tiny_series(FULL))
