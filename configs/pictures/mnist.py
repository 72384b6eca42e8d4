r"""5,000 pictures of MNIST: black and white pixels, codes, scales.

    python -m experiments.pictures --config=configs/pictures/mnist.py \
      --workdir=runs/mnist

A picture has 784 pixels of two levels, with a threshold of one half; 4,000
pictures are for training and 1,000 for testing, 80 % and 20 % of each class.
Counting by position, left and upper neighbor gives 108.2 nats per picture, and
S5 reaches 71.4 in 400 updates, one CPU minute.

Variants: `codes` trains codecs of 7 x 7 positions, with one scale and with five
and the same number of codes; `written` models the codes of the codecs in
runs/mnist_codes, code by code, and scale by scale for a class (another path:
`--config.arms.scales.tokenizer=DIR/scales/model.safetensors`); neither has been
evaluated yet.
"""

from configs import blocks
from configs import supervised
from configs import variants
from configs.pictures import digits
from jaxseq.programs import pictures
from jaxseq.training import configuration

PIXELS = pictures.Config(
  data="mnist_subset",
  data_options={"order": "row"},
  levels=2,
  context=3,
  network={"stack": {"d_model": 64, "num_layers": 2}},
  optimizer=supervised.adamw(3e-3, 0.05, warmup_steps=50),
  num_updates=400,
  updates_per_chunk=50,
  chunks_per_evaluation=4,
  batch_size=16,
  num_seeds=1,
  samples=40,
  arms={"s5": blocks.arm("s5", mixer_options=digits.STATE)},
)
CODES = configuration.updated(
  PIXELS,
  objective="codes",
  codec={
    "scales": {"sizes": (1, 2, 3, 5, 7), "width": 8, "codes": 128},
    "patch": 4,
    "channels": 48,
  },
  optimizer=supervised.adamw(2e-3, 0.0, warmup_steps=50),
  num_updates=600,
  batch_size=64,
  arms={
    "one": {"codec": {"scales": {"sizes": (7,), "residual_ratio": 0.0}}},
    "scales": {},
  },
)
get_config = variants.Variants(
  pixels=PIXELS,
  codes=CODES,
  written=configuration.updated(
    digits.written(PIXELS, "runs/mnist_codes"),
    network={"stack": {"dropout": 0.1}},
    num_updates=600,
    batch_size=64,
    samples=60,
  ),
)
