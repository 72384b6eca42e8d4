r"""Set disjointness: does a mixer have to hold the first set, or the smaller?

    python -m experiments.synthetic --workdir=runs/set_disjointness \
      --config=configs/synthetic/set_disjointness.py

The task of arXiv:2407.05483, section 3, in a small size: sets of 4 and of 16
of 61 tokens, either of them first. Layers of short convolutions and of
attention by a state take turns, as in the paper: linear attention with the
features of Based, whose state grows with `d_feature`, that reads from left to
right ("causal"), reads twice ("twice": the paper's prompts) or sees the whole
sequence at once ("prefix": the paper's JRT-RNN); beside softmax attention.
After the training, the table has either order of the sets by itself. `:tiny`
learns nothing, and shows in seconds whether everything works.
"""

import ml_collections

from configs import blocks
from configs.synthetic import _shared

VARIANTS = ("full", "tiny")


def _arm(mixer, reads="once", **options):
  """Returns an arm whose every second layer has this mixer."""
  stack = {"mixer": "short_conv", "hybrid": {mixer: options}}
  return {"reads": reads, "network": {"stack": {**stack, **blocks.TRANSFORMER}}}


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  task = {"first": 4, "second": 16, "vocab_size": 64}
  config = _shared.base(variant, VARIANTS, "set_disjointness", "rms", **task)
  config.update(num_updates=1200, updates_per_chunk=200, batch_size=64)
  config.update(num_seeds=1, chunks_per_evaluation=6)
  config.update(further_batch_size=64, further_batches=16)
  config.optimizer.update(learning_rate=4e-3)
  config.network.stack.update(d_model=48, num_layers=4)
  arms = {"attention": _arm("attention", heads=2)}
  for width in (2, 4):
    for name, reads in (
      ("causal", "once"),
      ("twice", "twice"),
      ("prefix", "prefix"),
    ):
      made = _arm("jrt", reads, heads=2, d_feature=width)
      arms[f"{name}_{width}"] = made
  config.arms = arms
  config.test_options = {
    "small first": {"swap": False},
    "large first": {"first": 16, "second": 4, "swap": False},
  }
  if variant == "tiny":
    config = _shared.tiny(config, {"second": 6}, {"second": 12})
    config.arms = {"prefix": arms["prefix_4"], "twice": arms["twice_4"]}
    config.network.stack.num_layers = 2
  return config
