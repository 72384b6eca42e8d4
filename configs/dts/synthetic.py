r"""All methods on seasonal series with known factors.

    python -m experiments.dts --config=configs/dts/synthetic.py \
      --workdir=runs/dts_synthetic

Each method is an arm; three seeds. Then DCI, half a minute for each model:

    python -m experiments.dts --config=configs/dts/synthetic.py \
      --workdir=runs/dts_synthetic --mode=evaluate --config.trees=100

    --config=configs/dts/synthetic.py:beyond    DTS with other weights, a
                                                warm-up, segments and mixers as
                                                encoders, beside beta-TCVAE

`:tiny` only checks in seconds that everything works.
"""

from configs import variants
from configs.dts import _shared
from jaxseq.training import configuration


def _read_by(mixer: str) -> dict[str, dict]:
  """Returns a bidirectional encoder of one layer."""
  encoder = {"kind": "mixer", "stack": _shared.mixer(mixer)}
  return {"model": {"encoder": encoder}}


FULL = _shared.base("seasonal_factors")
BEYOND = {
  "beta_tcvae_6": _shared.of("beta_tcvae", beta=6.0),
  "beta_tcvae_20": _shared.of("beta_tcvae", beta=20.0),
  "beta_tcvae_10_warm": _shared.of("beta_tcvae", beta=10.0, anneal="monotonic"),
  "dts_6_dw": _shared.dts(6.0, 5.5),
  "dts_20_dw": _shared.dts(20.0, 19.5),
  "dts_10_warm_dw": _shared.dts(10.0, 9.5, anneal="monotonic"),
  "dts_10_10_dw": _shared.dts(10.0, 10.0),
  "dts_10_dw_3": _shared.dts(10.0, 9.5, w_dw=3.0),
  # Two levels: dependence between pairs of coordinates costs more than
  # dependence within a pair.
  "dts_6_pairs_20_dw": {
    "model": {"segments": (2,) * 5},
    **_shared.dts(6.0, 5.5, w_gtc=20.0),
  },
  "beta_tcvae_20_s5": {
    **_read_by("s5"),
    **_shared.of("beta_tcvae", beta=20.0),
  },
  "dts_20_dw_s5": {**_read_by("s5"), **_shared.dts(20.0, 19.5)},
  "dts_20_dw_lightnet": {**_read_by("lightnet"), **_shared.dts(20.0, 19.5)},
}
get_config = variants.Variants(
  full=FULL,
  beyond=configuration.updated(FULL, arms=BEYOND),
  tiny=_shared.tiny_series(FULL),
)
