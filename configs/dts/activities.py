r"""Whole series in two segments: what is done, and who does it.

    python -m experiments.dts --config=configs/dts/activities.py \
      --workdir=runs/dts_activities

Synthetic motion in three channels, 128 times at 50 Hz: six activities of two
subjects, who differ in tempo, strength and in how they wear the sensor. Those
of the first have labels, those of the second none until they are scored.
`ARM/swap.png` shows what each window becomes with the second segment of
another. "source" and "target" are accuracies on the two subjects.

    --config=configs/dts/activities.py:own      each subject scaled by itself
    --config=configs/dts/activities.py:watch    exercises from a smartwatch,
                                                from the left arm to the right
                                                (`pip install --no-deps
                                                seglearn`)

`:tiny` learns nothing, and shows in seconds whether everything works.
"""

import ml_collections

from configs.dts import _shared
from jaxseq import _validate

VARIANTS = ("synthetic", "own", "watch", "tiny")


def get_config(variant: str = "synthetic") -> ml_collections.ConfigDict:
  _validate.choice("variant", variant, VARIANTS)
  if variant == "watch":
    config = _shared.base("watch", by="side", source=0, target=1)
  else:
    config = _shared.base(
      "activities", source=0, target=1, train=2000, test=2000
    )
  config.num_updates = 1500
  config.updates_per_chunk = 100
  config.batch_size = 128
  config.model.latent = 16
  config.model.segments = (12, 4)
  config.adaptation = {"class_size": 12, "domain_size": 4}
  config.objective = {"method": "dts", "beta": 1.0, "alpha": 0.5}
  config.metric = "test_accuracy"
  alone = {"w_yd": 0.0, "w_dd": 0.0, "w_dy": 0.0}
  config.arms = {
    "source_only": {"adaptation": alone, "elbo_weight": 0.0},
    "heads": {"adaptation": {"adversary": "entropy"}, "elbo_weight": 0.0},
    "dts": {},
    "dts_entropy": {"adaptation": {"adversary": "entropy"}},
  }
  if variant == "own":
    config.data_options.scaling = "own"
  if variant == "tiny":
    arms = config.arms
    config = _shared.tiny(config)
    config.arms = {"dts": arms.dts}
  return config
