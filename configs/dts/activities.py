r"""Codes of series in two segments: the activity, and the subject.

    python -m experiments.dts --config=configs/dts/activities.py \
      --workdir=runs/dts_activities

Synthetic motion in three channels, 128 times at 50 Hz: six activities of two
subjects, who differ in tempo, strength and sensor orientation. Windows of the
first have labels in training, those of the second only for scoring.
`ARM/swap.png` shows each window decoded with the second segment of another.
"source" and "target" are accuracies on the two subjects.

    --config=configs/dts/activities.py:own      each subject scaled by itself
    --config=configs/dts/activities.py:watch    exercises from a smartwatch,
                                                from the left arm to the right
                                                (`pip install --no-deps
                                                seglearn`)

`:tiny` only checks in seconds that everything works.
"""

import dataclasses

from configs import variants
from configs.dts import _shared
import experiments.sensors  # noqa: F401
from jaxseq.training import configuration

ALONE = {"w_yd": 0.0, "w_dd": 0.0, "w_dy": 0.0}
ENTROPY = {"adaptation": {"adversary": "entropy"}}
SYNTHETIC = dataclasses.replace(
  _shared.base(
    "activities",
    data_options={"source": 0, "target": 1, "train": 2000, "test": 2000},
    model={"latent": 16, "segments": (12, 4)},
  ),
  num_updates=1500,
  updates_per_chunk=100,
  adaptation={"class_size": 12, "domain_size": 4},
  objective={"method": "dts", "beta": 1.0, "alpha": 0.5},
  metric="test_accuracy",
  arms={
    "source_only": {"adaptation": ALONE, "elbo_weight": 0.0},
    "heads": {**ENTROPY, "elbo_weight": 0.0},
    "dts": {},
    "dts_entropy": ENTROPY,
  },
)
get_config = variants.Variants(
  synthetic=SYNTHETIC,
  own=configuration.updated(SYNTHETIC, data_options={"scaling": "own"}),
  watch=dataclasses.replace(
    SYNTHETIC,
    data="watch",
    data_options={"by": "side", "source": 0, "target": 1},
  ),
  tiny=configuration.updated(_shared.tiny_series(SYNTHETIC), arms={"dts": {}}),
)
