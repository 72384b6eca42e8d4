r"""Digits of 8 x 8 pixels with 17 levels: pixel by pixel, or by codes.

    python -m experiments.pictures --config=configs/pictures/digits.py \
      --workdir=runs/digits

A dimension is the level of one of the 64 pixels. Counting by position, left and
upper neighbor gives 2.19 bits per dimension; S5 reaches 1.89 in 400 updates.

Variants: `codes` trains codecs of 4 x 4 positions, with one scale and with four
and the same number of codes, to a squared error of 0.0068 and 0.0065; `written`
models the codes of the codecs in runs/digit_codes, code by code and scale by
scale (another path:
`--config.arms.scales.tokenizer=DIR/scales/model.safetensors`); `whole_scales`
models the scales by attention, position by position and as VAR, whose positions
see their whole scale (with `--config.tokenizer=PATH` of such a model); `tiny`
and `tiny_codes` only check in seconds that everything works. The tables are in
docs/results/structure.md.
"""

from configs import blocks
from configs import supervised
from configs import variants
from jaxseq.programs import pictures
from jaxseq.training import configuration

STATE = {"ssm_size": 64, "blocks": 1}
_S5 = blocks.arm("s5", mixer_options=STATE)
_ATTENTION = blocks.bare("attention", **blocks.TRANSFORMER)["attention"]
PIXELS = pictures.Config(
  data="digits",
  data_options={"order": "row"},
  levels=17,
  context=2,
  network={"stack": {"d_model": 64, "num_layers": 2, "dropout": 0.1}},
  optimizer=supervised.adamw(3e-3, 0.05, warmup_steps=100),
  num_updates=400,
  updates_per_chunk=50,
  chunks_per_evaluation=4,
  batch_size=64,
  num_seeds=3,
  arms={
    "s5": _S5,
    "gru": blocks.arm("gru"),
    "attention": _ATTENTION,
  },
)
CODES = configuration.updated(
  PIXELS,
  objective="codes",
  codec={
    "scales": {"sizes": (1, 2, 3, 4), "width": 8, "codes": 64},
    "patch": 2,
    "channels": 32,
  },
  optimizer=supervised.adamw(2e-3, 0.0, warmup_steps=50),
  num_updates=600,
  arms={
    "one": {"codec": {"scales": {"sizes": (4,), "residual_ratio": 0.0}}},
    "scales": {},
  },
)


def written(config: pictures.Config, folder: str) -> pictures.Config:
  """Returns a config of models of a run's codes, by S5."""
  return configuration.updated(
    config,
    context=2,
    arms={
      name: {**_S5, **fields, "tokenizer": f"{folder}/{name}/model.safetensors"}
      for name, fields in {"one": {}, "scales": {"by_class": True}}.items()
    },
  )


TINY = supervised.tiny(PIXELS, samples=4)
get_config = variants.Variants(
  pixels=PIXELS,
  codes=CODES,
  written=written(PIXELS, "runs/digit_codes"),
  whole_scales=configuration.updated(
    PIXELS,
    tokenizer="runs/digit_codes/scales/model.safetensors",
    by_class=True,
    arms={
      "place_by_place": _ATTENTION,
      "whole_scales": {**_ATTENTION, "whole_scales": True},
    },
  ),
  tiny=TINY,
  tiny_codes=configuration.updated(
    TINY,
    objective="codes",
    codec={
      "scales": {"sizes": (2, 4), "width": 4, "codes": 8},
      "patch": 2,
      "channels": 8,
    },
    arms={"scales": {}},
  ),
)
