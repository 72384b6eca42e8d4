r"""Handwritten digits of 8 by 8 pixels, read pixel by pixel.

    python -m experiments.classify --config=configs/classify/digits.py \
      --workdir=runs/digits

1,797 images that scikit-learn contains, sequences of 64. A linear model of the
whole image reaches 0.972.

    --config=configs/classify/digits.py:positions

compares the positions of LightNet, which reads the picture in one scan: MD-TPE
along rows and columns, TPE and LRPE along the 64 pixels, and none. The arm
md_tpe_lrpe has MD-TPE in its first layer and LRPE in the second. Narrower
feed-forwards compensate for the parameters of the sums.

    --config=configs/classify/digits.py:tiny

shows in seconds whether everything works.
"""

import dataclasses

from configs import blocks
from configs import supervised
from configs import variants
from configs.classify import _shared
from jaxseq.training import configuration

MD_TPE = {"positions": "md_tpe", "grid": (8, 8)}


def _lightnet(mixer_options: dict, width: int) -> dict:
  """Returns an arm of LightNet with feed-forwards of this width."""
  return blocks.arm(
    "lightnet", mixer_options=mixer_options, feedforward_width=width
  )


S5 = blocks.bare("s5", mixer_options={"ssm_size": 64})
FULL = dataclasses.replace(
  _shared.base("digits"),
  num_updates=2000,
  chunks_per_evaluation=2,
  optimizer=supervised.adamw(3e-3, 0.01),
  references={"linear model": 0.972},
  arms=S5 | blocks.arms("gru"),
)
SMALL = {"network": {"stack": {"mixer_options": {"ssm_size": 8, "blocks": 1}}}}
get_config = variants.Variants(
  full=FULL,
  positions=configuration.updated(
    FULL,
    # Rows of exact zeros would stay zeros after norms without biases.
    data_options={"normalize": True},
    num_updates=600,
    num_seeds=3,
    optimizer=supervised.adamw(3e-3, 0.01, warmup_steps=50),
    early_stopping=None,
    network={"stack": {"d_model": 32}},
    arms={
      "md_tpe": _lightnet(MD_TPE, 64),
      "md_tpe_lrpe": blocks.arm(
        "lightnet",
        feedforward_width=75,
        layers=({"mixer_options": MD_TPE}, {"mixer_options": {}}),
      ),
      "tpe": _lightnet({"positions": "tpe"}, 75),
      "lrpe": _lightnet({"positions": "lrpe"}, 86),
      "none": _lightnet({"positions": "none"}, 86),
    },
  ),
  tiny=configuration.updated(
    FULL,
    num_updates=6,
    updates_per_chunk=3,
    network={"stack": {"d_model": 8, "num_layers": 1}},
    arms=configuration.merged(FULL.arms, {"s5": SMALL}),
  ),
)
