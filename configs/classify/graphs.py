r"""Graphs as sequences of their nodes, in three orders.

    python -m experiments.classify --config=configs/classify/graphs.py \
      --workdir=runs/graphs --config.data_options.order=tree

Is a graph connected? Graphs come in pairs with the same degrees, of which one
consists of two halves, so that any rule about degrees is right half the time.
Nodes are ordered by their random numbers (`node`, the default), by a walk
through a hierarchy of clusters (`tree`), or each after the clusters that
contain it (`paths`; arXiv:2411.15671). Bidirectional attention, a GRU, and two
GRU layers below one of attention are compared. In `tree_bias` attention reads
the distances of nodes in the hierarchy: it joins connected nodes, and so
reveals the answer.

Test accuracies of attention, the GRU and the hybrid are 0.87, 0.89 and 0.89 in
the order `tree`, 0.58, 0.48 and 0.49 in `node`, and 1 in `paths` (three seeds).

Variants: `colors`, the number of nodes with one of four colors, which a GRU
counts and attention without positions does not; `distance`, the distance of two
marked nodes; `tiny`, which only checks in seconds that everything works.
"""

from configs import blocks
from configs import supervised
from configs import variants
import experiments.graph_sequences  # noqa: F401
from jaxseq.programs import classify
from jaxseq.training import configuration

NODES = 16


def _arms(**options: object) -> dict[str, dict]:
  """Returns the arms; `options` are those of attention."""
  sees_all = {"bidirectional": True, **options}
  stacks = {
    "attention": {"mixer": "attention", "mixer_options": sees_all},
    "gru": {"mixer": "gru"},
    "hybrid": {
      "mixer": "gru",
      "hybrid": (("gru", {}), ("attention", sees_all)),
      "num_layers": 3,
    },
  }
  return {
    name: {"network": {"stack": {**blocks.TRANSFORMER, **stack}}}
    for name, stack in stacks.items()
  }


CONNECTIVITY = classify.Config(
  data="graphs",
  data_options={"nodes": NODES, "train": 20_000},
  num_seeds=1,
  num_updates=2000,
  updates_per_chunk=100,
  chunks_per_evaluation=10,
  batch_size=32,
  network={"stack": {"d_model": 32}, "pooling": "last"},
  optimizer=supervised.adamw(3e-3, 0.01, warmup_steps=100),
  arms=_arms(),
)
COLORS = configuration.updated(
  CONNECTIVITY,
  data_options={"task": "colors"},
  arms=_arms(positions="none"),
)
DISTANCE = configuration.updated(
  CONNECTIVITY, data_options={"task": "distance"}
)
_BIASED = {"tree_levels": NODES.bit_length(), "positions": "none"}
TREE_BIAS = configuration.updated(
  CONNECTIVITY,
  data_options={"order": "tree"},
  arms={"attention": _arms(**_BIASED)["attention"]},
)
_SMALL = {"train": 16, "valid": 4, "test": 4}
TINY = configuration.updated(
  supervised.tiny(TREE_BIAS, data_options=_SMALL),
  network={"stack": {"num_layers": 3}},
  arms={"hybrid": _arms(**_BIASED)["hybrid"]},
)
get_config = variants.Variants(
  connectivity=CONNECTIVITY,
  colors=COLORS,
  distance=DISTANCE,
  tree_bias=TREE_BIAS,
  tiny=TINY,
)
