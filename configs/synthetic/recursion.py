r"""Structural recursion: the successor of a binary number, by recursion depth.

    python -m experiments.synthetic --config=configs/synthetic/recursion.py \
      --workdir=runs/recursion

Numbers of 2 to 12 constructors. In natural samples a depth of d has a share of
2^-d: the exact match of attention is near 1 at small depths and near 0 at rare
ones (arXiv:2401.12947); with

    --config=configs/synthetic/recursion.py:balanced

half of the numbers have a uniform depth, which fixes this within the trained
lengths. Both take four minutes of a core. `:traversal` and
`:balanced_traversal` have trees of up to 8 nodes, with their labels in order as
targets. `:tiny` only checks in seconds that everything works.
"""

from configs import blocks
from configs import variants
from configs.synthetic import _shared
from jaxseq.training import configuration


def of_depths(task: str, depths: tuple[int, ...], **options: object):
  """Returns a comparison on a task, tested by depth."""
  return _shared.base(
    task,
    options,
    num_updates=3000,
    num_seeds=1,
    updates_per_chunk=200,
    chunks_per_evaluation=5,
    batch_size=64,
    arms=blocks.arms("attention", "gru"),
    test_options={f"depth {depth}": {"depth": depth} for depth in depths},
    further_metric="solved",
    further_batch_size=64,
  )


NATURAL = of_depths(
  "successor", (0, 2, 4, 6, 7, 8, 9, 11), min_length=2, max_length=12
)
NATURAL = configuration.updated(
  NATURAL,
  test_options={
    **NATURAL.test_options,
    "lengths 13-20": {"min_length": 13, "max_length": 20},
  },
)
TRAVERSAL = of_depths("traversal", (2, 4, 6, 8), max_nodes=8)
BALANCED = {"task_options": {"sampling": "balanced"}}
TINY = _shared.tiny(NATURAL, {"max_length": 4}, {"max_length": 6})
get_config = variants.Variants(
  natural=NATURAL,
  balanced=configuration.updated(NATURAL, **BALANCED),
  traversal=TRAVERSAL,
  balanced_traversal=configuration.updated(TRAVERSAL, **BALANCED),
  tiny=TINY,
)
