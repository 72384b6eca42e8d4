r"""Multi-query associative recall: which value came with each key?

    python -m experiments.synthetic --config=configs/synthetic/mqar.py \
      --workdir=runs/mqar

The task of arXiv:2312.04927 with a smaller vocabulary, 256 of 8,192 tokens: 8
pairs in sequences of 64. Attention and Mamba-2 solve it within these updates;
Aaren can not, and Mamba, with 16 states for each channel, has not. How large a
state of fixed size must be grows with the number of pairs. After the training,
the table shows more pairs and longer sequences.

    --config=configs/synthetic/mqar.py:paper

has the paper's vocabulary, and sequences of 256 with 16 pairs; with

    --config=configs/synthetic/mqar.py:mixers

all mixers of the package, with one head each, meet 128 tokens and 8 pairs in
sequences of 32, in batches of 32 at a larger learning rate: few updates tell
those that can from those that cannot. `:vocabulary` is the same for some of
them with the paper's 8,192 tokens, whose embeddings are also what the read-out
compares with, and eight times the updates; half an hour of one core. `:tiny`,
a GRU, learns nothing, and shows within a minute whether the program works.
"""

import dataclasses

import ml_collections

from configs import blocks
from configs.synthetic import _shared
from jaxseq import mixers

VARIANTS = ("full", "paper", "mixers", "vocabulary", "tiny")
# Of each kind of memory one or two.
_SOME = ("attention", "mamba2", "mlstm", "gated_deltanet", "mamba", "s5", "gru")


def _one_head(name):
  """Returns an arm of a mixer, with one head where it has heads."""
  arm = blocks.arms(name)[name]
  made = mixers.make_config(name, d_model=64)
  if "heads" in (field.name for field in dataclasses.fields(made)):
    arm["network"]["stack"]["mixer_options"] = {"heads": 1}
  return arm


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  task = {"length": 64, "pairs": 8, "vocab_size": 256}
  config = _shared.base(variant, VARIANTS, "mqar", **task)
  config.update(num_updates=2000, updates_per_chunk=200, batch_size=64)
  config.optimizer.update(weight_decay=0.1, warmup_steps=200)
  config.arms = blocks.arms("attention", "mamba2", "mamba", "aaren")
  config.test_options = {
    "16 pairs": {"pairs": 16},
    "length 128": {"length": 128},
  }
  if variant == "paper":
    config.num_updates = 62_500
    config.task_options = {"length": 256, "pairs": 16, "vocab_size": 8192}
    config.network.stack.d_model = 128
    config.test_options = {
      "32 pairs": {"pairs": 32},
      "length 512": {"length": 512},
    }
  if variant in ("mixers", "vocabulary"):
    config.update(num_updates=1000, num_seeds=1, batch_size=32)
    config.chunks_per_evaluation = 5
    config.optimizer.update(learning_rate=4e-3, warmup_steps=50)
    config.task_options = {"length": 32, "pairs": 8, "vocab_size": 128}
    config.arms = {name: _one_head(name) for name in mixers.names()}
    config.test_options = {"16 pairs": {"length": 64, "pairs": 16}}
  if variant == "vocabulary":
    config.update(num_updates=8000, updates_per_chunk=400)
    config.task_options.vocab_size = 8192
    config.network.tie = True
    config.arms = {name: _one_head(name) for name in _SOME}
  if variant == "tiny":
    task = {"length": 8, "pairs": 2, "vocab_size": 8}
    return _shared.tiny(config, task, longer={"length": 12})
  return config
