r"""Multi-query associative recall: the value of each key.

    python -m experiments.synthetic --config=configs/synthetic/mqar.py \
      --workdir=runs/mqar

The task of arXiv:2312.04927 with a smaller vocabulary, 256 of 8,192 tokens: 8
pairs in sequences of 64. Attention and Mamba-2 solve it within these updates;
Aaren cannot, and Mamba, with 16 states per channel, does not. The required size
of a fixed state grows with the number of pairs. After the training, the table
shows accuracies for more pairs and longer sequences.

    --config=configs/synthetic/mqar.py:paper

has the paper's vocabulary, and sequences of 256 with 16 pairs; with

    --config=configs/synthetic/mqar.py:mixers

all mixers of the package, with one head each, are trained on 128 tokens and 8
pairs in sequences of 32, in batches of 32 at a larger learning rate: a few
updates separate mixers that can solve it from those that cannot. `:vocabulary`
is the same for some of them with the paper's 8,192 tokens, tied embeddings, and
eight times the updates; half an hour of one core. `:tiny`, a GRU, only checks
within a minute whether the program works.
"""

import dataclasses

from configs import blocks
from configs import variants
from configs.synthetic import _shared
from jaxseq import mixers as registry
from jaxseq.training import configuration

# One or two mixers for each kind of memory.
_SOME = ("attention", "mamba2", "mlstm", "gated_deltanet", "mamba", "s5", "gru")


def _one_head(name: str) -> dict[str, dict]:
  """Returns an arm of a mixer, with one head if it has heads."""
  config = registry.make_config(name, d_model=64)
  names = [field.name for field in dataclasses.fields(config)]
  heads = {"mixer_options": {"heads": 1}} if "heads" in names else {}
  return blocks.arm(name, **heads)


FULL = _shared.base(
  "mqar",
  {"length": 64, "pairs": 8, "vocab_size": 256},
  optimizer={"weight_decay": 0.1, "warmup_steps": 200},
  num_updates=2000,
  updates_per_chunk=200,
  batch_size=64,
  arms=blocks.arms("attention", "mamba2", "mamba", "aaren"),
  test_options={"16 pairs": {"pairs": 16}, "length 128": {"length": 128}},
)
MIXERS = configuration.updated(
  FULL,
  task_options={"length": 32, "vocab_size": 128},
  optimizer={"learning_rate": 4e-3, "warmup_steps": 50},
  num_updates=1000,
  num_seeds=1,
  batch_size=32,
  chunks_per_evaluation=5,
  arms={name: _one_head(name) for name in registry.names()},
  test_options={"16 pairs": {"length": 64, "pairs": 16}},
)
SMALL = {"length": 8, "pairs": 2, "vocab_size": 8}
TINY = _shared.tiny(FULL, SMALL, longer={"length": 12})
get_config = variants.Variants(
  full=FULL,
  paper=configuration.updated(
    FULL,
    num_updates=62_500,
    task_options={"length": 256, "pairs": 16, "vocab_size": 8192},
    network={"stack": {"d_model": 128}},
    test_options={"32 pairs": {"pairs": 32}, "length 512": {"length": 512}},
  ),
  mixers=MIXERS,
  vocabulary=configuration.updated(
    MIXERS,
    num_updates=8000,
    updates_per_chunk=400,
    task_options={"vocab_size": 8192},
    network={"tie": True},
    arms={name: _one_head(name) for name in _SOME},
  ),
  tiny=TINY,
)
