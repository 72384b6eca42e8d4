r"""Pendulum: the angle from noisy images at irregular times, a regression.

    python -m experiments.classify --config=configs/classify/pendulum.py \
      --workdir=runs/pendulum

Half of the 100 frames of a swinging pendulum are seen, under noise; sine and
cosine of the angle are to be told at each of them. Network and optimiser are
those of S5 (arXiv:2208.04933, section 6.3), 15,820 parameters and 100 epochs;
it is published with a mean squared error of 3.4e-3 at the best validation
error, over 20 seeds. Here the last update counts. The two other arms show what
the time between frames is worth: as a feature more, or not at all.

    --config=configs/classify/pendulum.py:short

has 10 epochs of the first arm. `:tiny` learns nothing, and shows in seconds
whether everything works.
"""

import ml_collections

from configs import supervised
from configs.classify import _shared

VARIANTS = ("full", "short", "tiny")


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  config = _shared.base(variant, VARIANTS, "pendulum")
  epochs = 100 if variant == "full" else 10
  # 62 whole batches of 32 in 2,000 sequences.
  config.num_updates = 62 * epochs
  config.updates_per_chunk = 62
  config.chunks_per_evaluation = 1 if variant == "short" else 5
  config.batch_size = 32
  config.gaps = "scale"
  config.image_size = 24
  config.network = {
    "stack": {
      "mixer": "s5",
      "mixer_options": {
        "ssm_size": 16,
        "blocks": 8,
        "dt_min": 0.01,
        "dt_max": 0.1,
      },
      "d_model": 30,
      "num_layers": 4,
      "prenorm": False,
      "activation": "half_glu2",
    },
    "head_widths": (30,),
  }
  config.optimizer = {
    "name": "s5",
    "learning_rate": 0.012,
    "ssm_learning_rate": 0.003,
    "warmup_steps": 62,
    "max_grad_norm": None,
  }
  config.references = {"S5 (paper)": 3.41e-3}
  config.arms = {
    "s5": {},
    "s5_append": {"gaps": "append"},
    "s5_ignore": {"gaps": "ignore"},
  }
  if variant == "short":
    config.arms = {"s5": {}}
  if variant == "tiny":
    network = config.network.to_dict()
    supervised.tiny(
      config,
      data_options={
        "train": 8,
        "valid": 3,
        "test": 5,
        "frames": 8,
        "kept": 4,
        "cached": False,
      },
    )
    config.network = network
    config.network.stack.num_layers = 1
    config.arms = {"s5": {}}
  return config
