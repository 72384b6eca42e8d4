r"""All methods on seasonal series with known factors.

    python -m experiments.dts --config=configs/dts/synthetic.py \
      --workdir=runs/dts_synthetic

Each method is an arm; three seeds. `:tiny` learns nothing, and shows in seconds
whether everything works.
"""

import ml_collections

from configs.dts import _shared


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  _shared.check(variant, ("full", "tiny"))
  config = _shared.base("seasonal_factors")
  config.arms = _shared.arms(*_shared.METHODS)
  return _shared.tiny(config) if variant == "tiny" else config
