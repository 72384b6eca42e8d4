r"""Pendulum: the angle from noisy images at irregular times, a regression.

    python -m experiments.classify --config=configs/classify/pendulum.py \
      --workdir=runs/pendulum

Half of the 100 frames of a swinging pendulum are seen, with noise; targets are
sine and cosine of the angle at each of them. Network and optimizer are those of
S5 (arXiv:2208.04933, section 6.3), 15,820 parameters and 100 epochs; the
published mean squared error is 3.4e-3 at the best validation error, over 20
seeds. Here the last update counts. The two other arms read the time between
frames as an additional feature, or not at all.

    --config=configs/classify/pendulum.py:short

has 10 epochs of the first arm. `:tiny` only checks in seconds that everything
works.
"""

import dataclasses

from configs import supervised
from configs import variants
from configs.classify import _shared
import experiments.pendulum  # noqa: F401
from jaxseq.training import configuration

# 62 whole batches of 32 in 2,000 sequences.
EPOCH = 62
S5 = {"ssm_size": 16, "blocks": 8, "dt_min": 0.01, "dt_max": 0.1}
STACK = {
  "mixer": "s5",
  "mixer_options": S5,
  "d_model": 30,
  "num_layers": 4,
  "prenorm": False,
  "activation": "half_glu2",
}
FULL = dataclasses.replace(
  _shared.base("pendulum"),
  num_updates=100 * EPOCH,
  updates_per_chunk=EPOCH,
  batch_size=32,
  gaps="scale",
  image_size=24,
  network={"stack": STACK, "head_widths": (30,)},
  optimizer={
    "name": "s5",
    "learning_rate": 0.012,
    "ssm_learning_rate": 0.003,
    "warmup_steps": EPOCH,
    "max_grad_norm": None,
  },
  references={"S5 (paper)": 3.41e-3},
  arms={
    "s5": {},
    "s5_append": {"gaps": "append"},
    "s5_ignore": {"gaps": "ignore"},
  },
)
SHORT = configuration.updated(
  FULL, num_updates=10 * EPOCH, chunks_per_evaluation=1, arms={"s5": {}}
)
SIZES = {"train": 8, "valid": 3, "test": 5, "frames": 8, "kept": 4}
get_config = variants.Variants(
  full=FULL,
  short=SHORT,
  tiny=supervised.tiny(
    SHORT,
    data_options={**SIZES, "cached": False},
    network={"stack": {"d_model": 30}},
    arms=SHORT.arms,
  ),
)
