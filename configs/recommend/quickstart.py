r"""Prediction of the next item, where each item has a most likely successor.

    python -m experiments.recommend --config=configs/recommend/quickstart.py \
      --workdir=runs/recommend

1,000 users take 20 of 100 items each. HR@10 of the most popular items is .27; a
network that knows the successors can reach more than .8.

Variants: `table`, for your own table with the columns user, item and time
(`--config.data_options.path=ratings.csv`); `wishes`, items of four kinds, with
lists of a requested kind; `autoencode`, reconstruction of ten items from one
vector; `tiny`, `tiny_sentences` (items by sentences of their words, in stages)
and `tiny_wishes`, which only check in seconds, the last two in a minute, that
everything works.
"""

from configs import blocks
from configs import supervised
from configs import variants
from jaxseq.tasks import recommendation
from jaxseq.training import configuration

FULL = recommendation.Config(
  data="item_chains",
  num_updates=600,
  chunks_per_evaluation=2,
  batch_size=64,
  network={"stack": {"d_model": 48, "num_layers": 1, "dropout": 0.2}},
  optimizer=supervised.adamw(3e-3, warmup_steps=50),
  arms=blocks.arms("gru", "mamba")
  | blocks.bare("attention", **blocks.TRANSFORMER),
)
WISHES = {"items": "semantic", "wish": "kind"}
SENTENCES = {
  **blocks.bare("attention")["attention"],
  "items": "sentences",
  "sentences": {"words": 64, "hidden": 8, "window": 4, "items": 3},
  "stages": (0.25, 0.5, 0.25),
}
get_config = variants.Variants(
  full=FULL,
  table=configuration.updated(
    FULL,
    data="interaction_table",
    data_options={"path": "ratings.csv"},
    batch_size=16,
  ),
  tiny=supervised.tiny(
    FULL, data_options={"users": 12, "items": 15, "events": 6}
  ),
  autoencode=configuration.updated(
    FULL,
    data_options={"length": 10},
    arms={
      "gru": blocks.arm("gru"),
      "gru_autoencode": {**blocks.arm("gru"), "loss": "autoencode"},
    },
  ),
  wishes=configuration.updated(
    FULL,
    data_options={"texts": True},
    arms={"gru": {**blocks.arm("gru"), **WISHES}},
  ),
  tiny_wishes=configuration.updated(
    supervised.tiny(
      FULL,
      data_options={"users": 12, "items": 45, "events": 6, "texts": True},
    ),
    arms={"gru": {**blocks.arm("gru"), **WISHES}},
  ),
  tiny_sentences=configuration.updated(
    supervised.tiny(
      FULL,
      data_options={"users": 12, "items": 15, "events": 6, "texts": True},
      num_updates=8,
    ),
    network={"stack": {"dropout": 0.0}},
    arms={"recformer": SENTENCES},
  ),
)
