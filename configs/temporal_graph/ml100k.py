r"""MovieLens-100k as a graph: prediction of the next film that a user rates.

    pip install --no-deps recbole==1.2.1
    python -m experiments.temporal_graph --workdir=runs/ml100k_graph \
      --config=configs/temporal_graph/ml100k.py

100,000 ratings in order of time: 70 % for training, 15 % for validation and 15
% for testing, in which the film is ranked among 100 others. Nine in ten test
events are of users not seen in training: only the memory represents them. As
baselines, popularity has an MRR of .167, and co-occurrence .304, .217, .183 and
.171 with all events before batches of 1, 50, 200 and 800.

Variants: `batch50`, `batch800`, with other batch sizes, and the same number of
epochs; `released`, with the settings of TGN, JODIE and DyRep.
"""

import dataclasses

from configs import supervised
from configs import variants
from configs.temporal_graph import quickstart
from jaxseq.tasks import temporal_graph
from jaxseq.training import configuration

# Sixteen epochs of 350 updates.
FULL = temporal_graph.Config(
  data="ml_100k_graph",
  num_seeds=3,
  num_updates=5600,
  updates_per_chunk=350,
  chunks_per_evaluation=4,
  batch_size=200,
  network={"stack": {"d_model": 48, "num_layers": 1, "dropout": 0.1}},
  optimizer=supervised.adamw(2e-3, 0.0, warmup_steps=100),
  arms={
    "plain": quickstart.vectors("gru"),
    "pres": quickstart.vectors("gru", pres=True),
    "exact": quickstart.vectors("gru", run="exact"),
  },
)
get_config = variants.Variants(
  full=FULL,
  batch50=configuration.updated(
    FULL, batch_size=50, num_updates=22_400, updates_per_chunk=1400
  ),
  batch800=configuration.updated(
    FULL, batch_size=800, num_updates=1408, updates_per_chunk=88
  ),
  released=dataclasses.replace(
    FULL,
    arms={
      "tgn": quickstart.states("gru", vectors=True, **quickstart.TGN),
      "jodie": quickstart.states("elman", **quickstart.JODIE),
      "dyrep": quickstart.states("elman", vectors=True, **quickstart.DYREP),
    },
  ),
)
