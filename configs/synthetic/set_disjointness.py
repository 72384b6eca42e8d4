r"""Set disjointness: must a state store the first set, or the smaller one?

    python -m experiments.synthetic --workdir=runs/set_disjointness \
      --config=configs/synthetic/set_disjointness.py

The task of arXiv:2407.05483, section 3, in a small size: sets of 4 and of 16 of
61 tokens, in both orders. Layers of short convolutions and of linear attention
alternate, as in the paper: linear attention with the features of Based, whose
state grows with `d_feature`, reads from left to right ("causal"), reads twice
("twice": the paper's prompts) or sees the whole sequence at once ("prefix": the
paper's JRT-RNN); the baseline is softmax attention. After the training, the
table shows each order of the sets separately. `:tiny` only checks in seconds
that everything works.
"""

from configs import blocks
from configs import variants
from configs.synthetic import _shared
from jaxseq.training import configuration


def _arm(mixer: str, reads: str = "once", **options: int) -> dict[str, object]:
  """Returns an arm with this mixer in every second layer."""
  stack = {"mixer": "short_conv", "hybrid": {mixer: options}}
  return {"reads": reads, "network": {"stack": {**stack, **blocks.TRANSFORMER}}}


READS = {"causal": "once", "twice": "twice", "prefix": "prefix"}
ARMS = {
  f"{name}_{width}": _arm("jrt", reads, heads=2, d_feature=width)
  for width in (2, 4)
  for name, reads in READS.items()
}
FULL = configuration.updated(
  _shared.base(
    "set_disjointness",
    {"first": 4, "second": 16, "vocab_size": 64},
    "rms",
    optimizer={"learning_rate": 4e-3},
    num_updates=1200,
    updates_per_chunk=200,
    batch_size=64,
    num_seeds=1,
    chunks_per_evaluation=6,
    further_batch_size=64,
    further_batches=16,
    arms={"attention": _arm("attention", heads=2), **ARMS},
    test_options={
      "small first": {"swap": False},
      "large first": {"first": 16, "second": 4, "swap": False},
    },
  ),
  network={"stack": {"d_model": 48, "num_layers": 4}},
)
get_config = variants.Variants(
  full=FULL,
  tiny=_shared.tiny(
    FULL,
    {"second": 6},
    longer={"second": 12},
    arms={"prefix": ARMS["prefix_4"], "twice": ARMS["twice_4"]},
    network={"stack": {"num_layers": 2}},
  ),
)
