r"""KL vanishing: which methods keep a code with an autoregressive decoder.

    python -m experiments.dts --config=configs/dts/collapse.py \
      --workdir=runs/dts_collapse

Noisy seasonal series, which a decoder that sees the past models well without a
code. The metric of a used code is "gap", the loss of log-likelihood in nats if
a window gets the code of another. "mi" and "active" alone are not enough: a
code may contain information that the decoder never reads.

    --config=configs/dts/collapse.py:lstm    another decoder: lstm, gru, s5 or
                                             mamba instead of convolutions

`:tiny` only checks in seconds that everything works.
"""

import dataclasses

from configs import variants
from configs.dts import _shared
from jaxseq.programs import dts as program

_PLAIN = {"norm": "none", "activation": "none", "residual": False}
_GRU = {"mixer": "gru", "d_model": 64, "num_layers": 1, **_PLAIN}
_STACKS = {
  "lstm": {**_GRU, "mixer": "lstm"},
  "gru": _GRU,
  "s5": _shared.mixer("s5", 2),
  "mamba": {
    **_PLAIN,
    "mixer": "mamba",
    "d_model": 32,
    "num_layers": 2,
    "norm": "rms",
    "residual": True,
  },
}
# The same warm-up for all at this beta: three quarters of training.
_SLOW = {"beta": 4.0, "anneal": "monotonic", "anneal_ratio": 0.75}


def _by(decoder: dict[str, object]) -> program.Config:
  """Returns the comparison with a decoder."""
  config = _shared.base(
    "seasonal_factors",
    data_options={"seed": 1, "noise": 1.0},
    num_updates=1200,
    updates_per_chunk=100,
    batch_size=64,
    optimizer={"learning_rate": 2e-3},
    arms={
      **_shared.arms("vae", "beta_vae_4", "beta_tcvae_4"),
      "cyclical": _shared.of("vae", anneal="cyclical"),
      "free_bits": _shared.of("vae", free_bits=0.25),
      "aggressive": {**_shared.of("vae"), "aggressive": True},
      "dts_1": _shared.of("dts", beta=1.0, alpha=0.5),
      "dts_4_warm": _shared.of("dts", beta=4.0, alpha=4.0, anneal="monotonic"),
      "dts_4_slow": _shared.of("dts", alpha=4.0, **_SLOW),
      "beta_vae_4_slow": _shared.of("beta_vae", **_SLOW),
      "beta_tcvae_4_slow": _shared.of("beta_tcvae", **_SLOW),
      "dts_4_cold": _shared.of("dts", beta=4.0, alpha=4.0),
    },
  )
  model = {**config.model, "decoder": decoder}
  return dataclasses.replace(config, model=model)


CONV = _by(_shared.autoregressive(6))
get_config = variants.Variants(
  conv=CONV,
  **{name: _by({"form": "ar", "stack": x}) for name, x in _STACKS.items()},
  tiny=_shared.tiny_series(CONV),
)
