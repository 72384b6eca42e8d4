r"""Methods on electrocardiograms with known factors.

    python -m experiments.dts --config=configs/dts/ecg.py --workdir=runs/dts_ecg

Two seconds at 32 Hz in closed form, with heart rate, heights of the waves and
intervals as factors.

    --config=configs/dts/ecg.py:heartbeat    single beats over a baseline
    --config=configs/dts/ecg.py:dynamics     McSharry's dynamical model
    --config=configs/dts/ecg.py:beyond       DTS with a higher beta, a warm-up
                                             and segments, beside beta-TCVAE

`:tiny` only checks in seconds that everything works.
"""

from configs import variants
from configs.dts import _shared
import experiments.sensors  # noqa: F401
from jaxseq.training import configuration

ECG = _shared.base(
  "ecg",
  data_options={"length": 64, "rate": 32.0},
  arms={
    **_shared.ARMS,
    "beta_vae_2": _shared.of("beta_vae", beta=2.0),
    "dts_4_dw": _shared.dts(4.0, 3.5),
  },
)
BEYOND = {
  "beta_tcvae_20": _shared.of("beta_tcvae", beta=20.0),
  "dts_20_dw": _shared.dts(20.0, 19.5),
  "dts_10_warm_dw": _shared.dts(10.0, 9.5, anneal="monotonic"),
  # Two levels: dependence between pairs of coordinates costs more than
  # dependence within a pair.
  "dts_6_pairs_20_dw": {
    "model": {"segments": (2,) * 5},
    **_shared.dts(6.0, 5.5, w_gtc=20.0),
  },
}
get_config = variants.Variants(
  ecg=ECG,
  heartbeat=_shared.base("heartbeat", arms=ECG.arms),
  dynamics=_shared.base("ecg_dynamics", arms=ECG.arms),
  beyond=configuration.updated(ECG, arms=BEYOND),
  tiny=_shared.tiny_series(_shared.base("ecg")),
)
