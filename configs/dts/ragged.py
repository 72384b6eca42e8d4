r"""Codes of series of different lengths.

    PYTHONPATH=DIR_OF_AEON python -m experiments.dts \
      --config=configs/dts/ragged.py --workdir=runs/dts_ragged

Nine speakers say two Japanese vowels: 12 coefficients at 7 to 29 time steps,
padded at their end. The encoder is bidirectional, the padding is masked, and
the decoder is autoregressive. "class linear" is the accuracy of a linear probe
of the speaker from the code. The series are a file of the package aeon
(`pip install --no-deps aeon`).

    --config=configs/dts/ragged.py:pickup_gesture    ten gestures, 29 to 361
                                                     times of one channel

`:tiny` only checks in seconds that everything works.
"""

import dataclasses

from configs import variants
from configs.dts import _shared
from jaxseq.training import configuration

GRU = {
  "mixer": "gru",
  "d_model": 32,
  "num_layers": 1,
  "norm": "none",
  "activation": "none",
  "residual": False,
}
RECURRENT = {"kind": "mixer", "stack": GRU}
S5 = {"encoder": {"stack": _shared.mixer("s5", 2)}}
VOWELS = dataclasses.replace(
  _shared.base("japanese_vowels"),
  num_updates=1000,
  updates_per_chunk=100,
  batch_size=32,
  optimizer={"learning_rate": 2e-3},
  model={
    "latent": 8,
    "encoder": RECURRENT,
    "decoder": {"form": "ar", **RECURRENT},
  },
  downstream=("classify",),
  arms={
    **_shared.arms("vae", "beta_tcvae_4", "dts_light"),
    "dts_light_s5": {**_shared.ARMS["dts_light"], "model": S5},
  },
)
get_config = variants.Variants(
  japanese_vowels=VOWELS,
  pickup_gesture=configuration.updated(VOWELS, data="pickup_gesture"),
  tiny=_shared.tiny(VOWELS, arms=_shared.arms("dts_light")),
)
