r"""Codes of series of different lengths.

    PYTHONPATH=DIR_OF_AEON python -m experiments.dts \
      --config=configs/dts/ragged.py --workdir=runs/dts_ragged

Nine speakers say two Japanese vowels: 12 coefficients at 7 to 29 times, padded
at their end. The encoder reads them in both directions, what is padded counts
nowhere, and the decoder sees the past. "class linear" is how often a probe of
the code tells the speaker. The series are a file of the package aeon
(`pip install --no-deps aeon`).

    --config=configs/dts/ragged.py:pickup_gesture    ten gestures, 29 to 361
                                                     times of one channel

`:tiny` learns nothing, and shows in seconds whether everything works.
"""

import ml_collections

from configs.dts import _shared
from jaxseq import _validate

VARIANTS = {
  "japanese_vowels": "japanese_vowels",
  "pickup_gesture": "pickup_gesture",
  "tiny": "japanese_vowels",
}


def get_config(variant: str = "japanese_vowels") -> ml_collections.ConfigDict:
  _validate.choice("variant", variant, VARIANTS)
  config = _shared.base(VARIANTS[variant])
  config.num_updates = 1000
  config.updates_per_chunk = 100
  config.batch_size = 32
  config.optimizer = {"learning_rate": 2e-3}
  recurrent = {
    "kind": "mixer",
    "stack": {
      "mixer": "gru",
      "d_model": 32,
      "num_layers": 1,
      "norm": "none",
      "activation": "none",
      "residual": False,
    },
  }
  config.model = {
    "latent": 8,
    "encoder": recurrent,
    "decoder": {"form": "ar", **recurrent},
  }
  config.downstream = ("classify",)
  config.arms = {
    "vae": {"objective": {"method": "vae"}},
    "beta_tcvae_4": {"objective": {"method": "beta_tcvae", "beta": 4.0}},
    "dts_light": {"objective": {"method": "dts", "beta": 1.0, "alpha": 0.5}},
    "dts_light_s5": {
      "objective": {"method": "dts", "beta": 1.0, "alpha": 0.5},
      "model": {"encoder": {"stack": _shared.mixer("s5", 2)}},
    },
  }
  if variant == "tiny":
    arms = config.arms
    config = _shared.tiny(config)
    config.data_options = {}
    config.arms = {"dts_light": arms.dts_light}
  return config
