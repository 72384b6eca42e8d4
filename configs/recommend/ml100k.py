r"""MovieLens-100k: prediction of the next film that a user rates.

    pip install --no-deps recbole==1.2.1
    python -m experiments.recommend --config=configs/recommend/ml100k.py \
      --workdir=runs/ml100k

100,000 ratings of 943 users, of 1,682 films; the last of each user is for
testing, the one before for validation; all films that a user has not rated are
ranked. Half of the ratings have the time of the previous one: they stay in the
order of the file. EASE with recency, a baseline without gradient training, has
HR@10 .182 and NDCG@10 .097.

Variants: `gaps`, S5 with and without time gaps; `losses`, training losses;
`bert4rec`, masked films with both sides as context; `text`, films by their
words compared with films by learned vectors, with a tenth of the films in no
training history; `recformer`, histories as sentences of films' words, in
Recformer's stages, with the same films left out; `semantic`, films by the codes
of their words; `wishes`, the same with lists of a requested genre;
`autoencode`, histories of ten reconstructed from one vector; `ml1m`, for the
files of MovieLens-1M (`--config.data_options.path=ml-1m`), on which others
report an HR@10 of .30 with attention and the full cross-entropy.
"""

import dataclasses

from configs import blocks
from configs import supervised
from configs import variants
from jaxseq.tasks import recommendation

SASREC = blocks.bare(
  "attention",
  **blocks.TRANSFORMER,
  num_layers=2,
  mixer_options={"heads": 2},
)["attention"]
# Items are embedded as sqrt(d) times the vectors that score them.
SASREC["network"]["embedding_scale"] = 48**0.5
# It reads both sides of masked items.
BERT4REC = {
  **blocks.bare(
    "attention",
    **blocks.TRANSFORMER,
    num_layers=2,
    mixer_options={"heads": 2, "bidirectional": True},
  )["attention"],
  "loss": "masked",
}
BERT4REC["network"]["embedding_scale"] = 48**0.5
# 60 epochs of all chunks of 50 films; the best of 20 evaluations is kept.
FULL = recommendation.Config(
  data="ml_100k",
  num_seeds=5,
  num_updates=2280,
  updates_per_chunk=114,
  chunks_per_evaluation=1,
  early_stopping=20,
  batch_size=64,
  network={"stack": {"d_model": 48, "num_layers": 1, "dropout": 0.2}},
  optimizer={
    **supervised.adamw(1e-3, 0.0, warmup_steps=0),
    "b2": 0.98,
    "schedule": "constant",
  },
  arms={
    "gru4rec": blocks.arm("gru"),
    "mamba4rec": blocks.arm("mamba", feedforward="gelu"),
    "sasrec": SASREC,
    **blocks.arms("s5", "mingru", "gated_deltanet"),
  },
)


def _other(arms, **fields):
  """Returns the comparison with other arms and fields."""
  return dataclasses.replace(FULL, arms=arms, **fields)


get_config = variants.Variants(
  full=FULL,
  gaps=_other(
    {"s5": blocks.arm("s5"), "s5_gaps": {**blocks.arm("s5"), "gaps": True}},
    data_options={"gap": 86400.0},
  ),
  bert4rec=_other({"sasrec": SASREC, "bert4rec": BERT4REC}),
  losses=_other(
    {loss: {**SASREC, "loss": loss} for loss in ("full", "sampled", "gbce")}
  ),
  text=_other(
    {"ids": blocks.arm("gru"), "text": {**blocks.arm("gru"), "items": "text"}},
    data_options={"texts": True, "cold": 0.1},
  ),
  recformer=_other(
    {
      "text": {**blocks.arm("gru"), "items": "text"},
      "recformer": {
        **blocks.bare("attention", num_layers=2, dropout=0.0)["attention"],
        "items": "sentences",
        "sentences": {"hidden": 192, "items": 10, "length": 128},
        "stages": (0.2, 0.5, 0.3),
      },
    },
    data_options={"texts": True, "cold": 0.1},
    num_seeds=1,
    num_updates=1500,
    updates_per_chunk=50,
    chunks_per_evaluation=2,
    optimizer={
      **supervised.adamw(1e-3, 0.0, warmup_steps=50),
      "schedule": "linear",
    },
  ),
  semantic=_other(
    {
      "codes": {**blocks.arm("gru"), "items": "semantic"},
      # TIGER's decoder, without its encoder: 4 codes of a film, of 256 each.
      "tiger": {
        **blocks.bare(
          "attention",
          **blocks.TRANSFORMER,
          d_model=128,
          num_layers=6,
          mixer_options={"heads": 8},
        )["attention"],
        "items": "semantic",
        "codes": 256,
      },
    },
    data_options={"texts": True},
  ),
  wishes=_other(
    {
      "codes": {**blocks.arm("gru"), "items": "semantic"},
      "wishes": {**blocks.arm("gru"), "items": "semantic", "wish": "class"},
    },
    data_options={"texts": True},
    num_seeds=1,
  ),
  autoencode=_other(
    {
      "gru": blocks.arm("gru"),
      "gru_autoencode": {**blocks.arm("gru"), "loss": "autoencode"},
    },
    data_options={"length": 10},
    num_seeds=1,
  ),
  ml1m=_other(
    {"sasrec": SASREC, "gru4rec": blocks.arm("gru")},
    data="ml_1m",
    data_options={"path": "ml-1m", "length": 200},
    batch_size=128,
    num_updates=20_000,
    updates_per_chunk=500,
    early_stopping=10,
    num_seeds=1,
  ),
)
