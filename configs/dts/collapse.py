r"""KL vanishing: which methods keep a code beside an autoregressive decoder.

    python -m experiments.dts --config=configs/dts/collapse.py \
      --workdir=runs/dts_collapse

Noisy seasonal series, which a decoder that sees the past models well without a
code. What tells whether a code is used is "gap": by how many nats a window
becomes less likely with the code of another. "mi" and "active" alone do not:
a code may hold what the decoder never reads.

    --config=configs/dts/collapse.py:lstm    another decoder: lstm, gru, s5 or
                                             mamba instead of convolutions

`:tiny` learns nothing, and shows in seconds whether everything works.
"""

import ml_collections

from configs.dts import _shared
from jaxseq import _validate

_DECODERS = {
  "conv": {
    "kind": "conv",
    "widths": (32,) * 6,
    "skip_z": True,
  },
  "lstm": {
    "stack": {
      "mixer": "lstm",
      "d_model": 64,
      "num_layers": 1,
      "norm": "none",
      "activation": "none",
      "residual": False,
    }
  },
  "gru": {
    "stack": {
      "mixer": "gru",
      "d_model": 64,
      "num_layers": 1,
      "norm": "none",
      "activation": "none",
      "residual": False,
    }
  },
  "s5": {"stack": _shared.mixer("s5", 2)},
  "mamba": {
    "stack": {
      "mixer": "mamba",
      "d_model": 32,
      "num_layers": 2,
      "norm": "rms",
      "activation": "none",
      "residual": True,
    }
  },
}

VARIANTS = (*_DECODERS, "tiny")


def get_config(variant: str = "conv") -> ml_collections.ConfigDict:
  _validate.choice("variant", variant, VARIANTS)
  config = _shared.base("seasonal_factors", seed=1, noise=1.0)
  config.num_updates = 1200
  config.updates_per_chunk = 100
  config.batch_size = 64
  config.model.decoder = {
    "form": "ar",
    **_DECODERS.get(variant, _DECODERS["conv"]),
  }
  config.optimizer = {"learning_rate": 2e-3}
  config.objective = {"anneal": "none"}
  config.arms = {
    "vae": {"objective": {"method": "vae"}},
    "beta_vae_4": {"objective": {"method": "beta_vae", "beta": 4.0}},
    "beta_tcvae_4": {"objective": {"method": "beta_tcvae", "beta": 4.0}},
    "cyclical": {"objective": {"method": "vae", "anneal": "cyclical"}},
    "free_bits": {"objective": {"method": "vae", "free_bits": 0.25}},
    "aggressive": {"objective": {"method": "vae"}, "aggressive": True},
    "dts_1": {"objective": {"method": "dts", "beta": 1.0, "alpha": 0.5}},
    "dts_4_warm": {
      "objective": {
        "method": "dts",
        "beta": 4.0,
        "alpha": 4.0,
        "anneal": "monotonic",
      }
    },
    # The same warm-up for all at this beta: three quarters of the training.
    "dts_4_slow": _slow(method="dts", alpha=4.0),
    "beta_vae_4_slow": _slow(method="beta_vae"),
    "beta_tcvae_4_slow": _slow(method="beta_tcvae"),
    "dts_4_cold": {"objective": {"method": "dts", "beta": 4.0, "alpha": 4.0}},
  }
  return _shared.tiny(config) if variant == "tiny" else config


def _slow(**options):
  schedule = {"anneal": "monotonic", "anneal_ratio": 0.75}
  return {"objective": {"beta": 4.0, **schedule, **options}}
