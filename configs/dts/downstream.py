r"""Downstream tasks of codes: classes, forecasts, anomalies.

    python -m experiments.dts --config=configs/dts/downstream.py --workdir=DIR

Noisy seasonal series, and an autoregressive decoder that does not need a code,
so that methods differ in the information in their codes. Probes with 1000
labels predict the six factors (8 levels each, chance is 0.125); the second half
of a window is forecast from the code of the first. In training the encoder
reads only the first half of every second window.

    --config=configs/dts/downstream.py:ecg     forecasts, and anomalies in a
                                               synthetic ECG (a file of aeon:
                                               `pip install --no-deps aeon`)
    --config=configs/dts/downstream.py:mitdb   the same in a real one (sktime)

`:tiny` only checks in seconds that everything works.
"""

import dataclasses

from configs import variants
from configs.dts import _shared
import experiments.sensors  # noqa: F401
from jaxseq.training import configuration

SEASONAL = _shared.base(
  "seasonal_factors",
  data_options={"seed": 1, "noise": 1.0},
  num_updates=800,
  updates_per_chunk=100,
  batch_size=64,
  optimizer={"learning_rate": 2e-3},
  model={"decoder": _shared.autoregressive(5)},
  prefix_rate=0.5,
  downstream=("classify", "forecast"),
  arms=_shared.arms("vae", "beta_tcvae_4", "dts_light"),
)
ECG = dataclasses.replace(
  SEASONAL,
  data="ecg_diff_count",
  data_options={},
  downstream=("forecast", "anomaly"),
)
get_config = variants.Variants(
  seasonal=SEASONAL,
  ecg=ECG,
  mitdb=configuration.updated(ECG, data="mitdb", data_options={"length": 64}),
  tiny=_shared.tiny_series(dataclasses.replace(SEASONAL, data_options={})),
)
