r"""What codes are good for: classes, forecasts, anomalies.

    python -m experiments.dts --config=configs/dts/downstream.py --workdir=DIR

Noisy seasonal series, and a decoder that sees the past and can do without a
code, so that methods differ in what their codes hold. Probes with 1000 labels
read the six factors (8 levels each, chance is 0.125); the second half of a
window is forecast from the code of the first. In training the encoder sees the
first half alone of every second window.

    --config=configs/dts/downstream.py:ecg     forecasts, and anomalies in a
                                               synthetic ECG (a file of aeon:
                                               `pip install --no-deps aeon`)
    --config=configs/dts/downstream.py:mitdb   the same in a real one (sktime)

`:tiny` learns nothing, and shows in seconds whether everything works.
"""

import ml_collections

from configs.dts import _shared
from jaxseq import _validate

VARIANTS = {
  "seasonal": (
    "seasonal_factors",
    {"seed": 1, "noise": 1.0},
    ("classify", "forecast"),
  ),
  "ecg": ("ecg_diff_count", {}, ("forecast", "anomaly")),
  "mitdb": ("mitdb", {"length": 64}, ("forecast", "anomaly")),
  "tiny": ("seasonal_factors", {}, ("classify", "forecast")),
}


def get_config(variant: str = "seasonal") -> ml_collections.ConfigDict:
  _validate.choice("variant", variant, VARIANTS)
  name, options, tasks = VARIANTS[variant]
  config = _shared.base(name, **options)
  config.num_updates = 800
  config.updates_per_chunk = 100
  config.batch_size = 64
  config.optimizer = {"learning_rate": 2e-3}
  config.model.decoder = {
    "form": "ar",
    "kind": "conv",
    "widths": (32,) * 5,
    "skip_z": True,
  }
  config.prefix_rate = 0.5
  config.downstream = tasks
  config.arms = {
    "vae": {"objective": {"method": "vae"}},
    "beta_tcvae_4": {"objective": {"method": "beta_tcvae", "beta": 4.0}},
    "dts_light": {"objective": {"method": "dts", "beta": 1.0, "alpha": 0.5}},
  }
  return _shared.tiny(config) if variant == "tiny" else config
