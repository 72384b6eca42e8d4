r"""Pairs of users who follow different items: identities matter, not degrees.

    python -m experiments.temporal_graph --workdir=runs/followers \
      --config=configs/temporal_graph/quickstart.py

One of each pair of users takes five items in turn, the other one five others at
the same times; one of two possible next items is right. Popularity has an MRR
of .75, which is chance; co-occurrence with a user's last items reaches 1,
except for users without items.

Variants: `drifting`, users that move around a ring of items at individual
speeds, with and without PRES; `table`, for your own events with the columns
source, destination and time (`--config.data_options.path=events.csv`); `tiny`,
which only checks in seconds that everything works.
"""

import dataclasses

from configs import blocks
from configs import supervised
from configs import variants
from jaxseq.programs import own_data
from jaxseq.tasks import temporal_graph
from jaxseq.training import configuration

# Only the cell, as in TGN and JODIE.
BARE = {"norm": "none", "activation": "none", "residual": False}
BY_VECTORS = {"message": "vectors", "target": "vectors", "score": "dot"}
TGN = {"embedding": "attention"}
JODIE = {"embedding": "time"}
DYREP = {"message": "embeddings"}


def vectors(mixer: str, **options: object) -> dict[str, object]:
  """Returns an arm whose events are read and scored by learned vectors."""
  arm = blocks.arm(mixer)
  return {
    # As large as the concatenated time encoding.
    "network": {**arm["network"], "embedding_scale": 50.0},
    "graph": {**BY_VECTORS, **options},
    "loss": "full",
  }


def states(mixer: str, **options: object) -> dict[str, object]:
  """Returns an arm whose events are read and scored by states."""
  return {**blocks.bare(mixer, **BARE)[mixer], "graph": options}


FOLLOWERS = temporal_graph.Config(
  data="followers",
  num_updates=600,
  chunks_per_evaluation=2,
  batch_size=50,
  network={"stack": {"d_model": 32, "num_layers": 1}},
  optimizer=supervised.adamw(3e-3, warmup_steps=50),
  arms={
    "exact": vectors("gru", run="exact"),
    "waiting": vectors("gru"),
    "tgn": states("gru", vectors=True, **TGN),
  },
)
get_config = variants.Variants(
  followers=FOLLOWERS,
  drifting=dataclasses.replace(
    FOLLOWERS,
    data="drifting_nodes",
    num_updates=1400,
    batch_size=200,
    arms={
      "plain": vectors("gru"),
      "pres": vectors("gru", pres=True),
      "exact": vectors("gru", run="exact"),
    },
  ),
  table=configuration.updated(
    FOLLOWERS,
    data="graph_table",
    data_options={**own_data.of_loader("graph_table"), "path": "events.csv"},
    batch_size=200,
  ),
  tiny=supervised.tiny(
    dataclasses.replace(
      FOLLOWERS,
      data_options={"pairs": 8, "repeats": 1},
      graph={"neighbors": 2, "time_width": 2},
    ),
  ),
)
