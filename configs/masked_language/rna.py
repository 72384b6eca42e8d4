r"""RNA: hidden bases and structures, on sequences that are made.

    python -m experiments.masked_language --workdir=runs/rna \
      --config=configs/masked_language/rna.py
    python -m experiments.masked_language --workdir=runs/pairs \
      --config=configs/masked_language/rna.py:pairs

The second command begins with what the first has left (another place is
`--config.arms.pretrained.encoder=DIR/attention/model.safetensors`).

60,000 sequences of 30 letters with one planted hairpin each, at any place; a
letter that nothing tells costs ln 4 = 1.386, which `even` stays at (1.387).
Letters of hairpins come to 1.00 by their partners after the 6,000 updates (five
minutes of a core), and all letters to 1.23: nothing is to be seen for the first
500 updates, and most is learnt between 1,500 and 4,500. The head of pairs has
an F1 of .95 from random variables and of .92 from these, Nussinov's algorithm
.60; see docs/results/masked_language.md.

Variants: `even`, without hairpins, where nothing is to be learnt; `pairs`, the
pairs of the hairpins, with and without what was learnt before; `folded`, those
of sequences without hairpins, by ViennaRNA (`pip install 'jaxseq[rna]'`);
`fasta`, for a file of your own; `rnafm`, the network of RNA-FM (arXiv:
2204.00300), for an accelerator; `tiny`, which only checks in seconds that
everything works.
"""

import dataclasses

from configs import blocks
from configs import supervised
from configs import variants
from jaxseq.programs import own_data
from jaxseq.tasks import masked_language
from jaxseq.training import configuration

_BOTH = {"bidirectional": True}
# The partner of a base is at no distance that is known, but is where those of
# its neighbors are: convolutions tell every base its neighbors, and attention
# without positions compares these.
_ATTENTION = {
  "network": {
    "stack": {
      **blocks.TRANSFORMER,
      "num_layers": 2,
      "layers": [
        {"mixer": "short_conv", "mixer_options": {"d_conv": 4}, **_BOTH},
        {
          "mixer": "attention",
          "mixer_options": {**_BOTH, "heads": 2, "positions": "none"},
        },
      ],
    }
  }
}
FULL = masked_language.Config(
  data="rna",
  data_options={
    "examples": 60_000,
    "length": 30,
    "valid_fraction": 0.02,
    "test_fraction": 0.03,
  },
  num_seeds=1,
  num_updates=6000,
  updates_per_chunk=100,
  chunks_per_evaluation=5,
  batch_size=64,
  network={"stack": {"d_model": 64, "num_layers": 4}},
  optimizer=supervised.adamw(3e-3, warmup_steps=100),
  arms={"attention": _ATTENTION, "gru": blocks.arm("gru", **_BOTH)},
)
PAIRS = dataclasses.replace(
  FULL,
  objective="pairs",
  data_options={
    "examples": 2000,
    "length": 30,
    "test_fraction": 0.25,
    "seed": 1,
  },
  num_seeds=3,
  num_updates=400,
  updates_per_chunk=50,
  chunks_per_evaluation=4,
  batch_size=16,
  optimizer=supervised.adamw(3e-3, warmup_steps=50),
  pair_width=16,
  pair_channels=16,
  pair_blocks=2,
  arms={
    "random": _ATTENTION,
    "pretrained": {
      **_ATTENTION,
      "encoder": "runs/rna/attention/model.safetensors",
    },
  },
)
# The sizes of the paper; its head of structures reads 32 blocks.
RNAFM = {
  **_BOTH,
  "heads": 20,
  "positions": "none",
  "qkv_bias": True,
  "output_bias": True,
}
get_config = variants.Variants(
  full=FULL,
  even=configuration.updated(
    FULL, data_options={"planted": False}, num_updates=600
  ),
  pairs=PAIRS,
  folded=configuration.updated(
    PAIRS,
    data_options={"planted": False, "structure": "folded"},
    num_updates=1500,
    chunks_per_evaluation=10,
  ),
  fasta=dataclasses.replace(
    FULL,
    data="letters",
    data_options={
      **own_data.of_loader("letters"),
      "path": "data.fasta",
      "alphabet": "rna",
    },
  ),
  rnafm=dataclasses.replace(
    FULL,
    data="letters",
    data_options={"path": "data.fasta", "alphabet": "rna", "length": 1022},
    positions=1024,
    num_updates=300_000,
    updates_per_chunk=500,
    network={
      "embedding_norm": True,
      "stack": {"d_model": 640, "num_layers": 12, "norm_epsilon": 1e-5},
    },
    optimizer=supervised.adamw(1e-4, 0.01, warmup_steps=10_000),
    arms=blocks.bare(
      "attention",
      activation="none",
      feedforward="exact_gelu",
      feedforward_width=5120,
      mixer_options=RNAFM,
    ),
  ),
  tiny=supervised.tiny(
    FULL,
    data_options={
      "examples": 16,
      "length": 28,
      "valid_fraction": 0.25,
      "test_fraction": 0.25,
    },
    arms={"gru": blocks.arm("gru", **_BOTH)},
  ),
)
