r"""RNA: masked bases and structures, on synthetic sequences.

    python -m experiments.masked_language --workdir=runs/rna \
      --config=configs/masked_language/rna.py
    python -m experiments.masked_language --workdir=runs/pairs \
      --config=configs/masked_language/rna.py:pairs

The second command starts from the model of the first (another path is
`--config.arms.pretrained.encoder=DIR/attention/model.safetensors`).

60,000 sequences of 30 letters with one planted hairpin each, at any position;
an unpredictable letter costs ln 4 = 1.386, where `even` stays (1.387). Letters
of hairpins reach 1.00 by their partners after the 6,000 updates (five minutes
of a core), and all letters 1.23: the loss is flat for the first 500 updates,
and falls most between 1,500 and 4,500. The pair head has an F1 of .95 from
random variables and of .92 from pretrained ones, Nussinov's algorithm .60; see
docs/results/masked_language.md.

Variants: `even`, without hairpins, so that there is nothing to learn; `pairs`,
the pairs of the hairpins, with and without pretraining; `folded`, the pairs of
sequences without hairpins, by ViennaRNA (`pip install 'jaxseq[rna]'`); `fasta`,
for your own file; `rnafm`, the network of RNA-FM (arXiv:2204.00300), for an
accelerator; `tiny`, which only checks in seconds that everything works.
"""

import dataclasses

from configs import blocks
from configs import supervised
from configs import variants
from experiments.masked_language import program
from jaxseq.programs import own_data
from jaxseq.tasks import masked_language
from jaxseq.training import configuration

_BOTH = {"bidirectional": True}
# The distance of a base's partner is unknown, but it is next to the partners of
# the base's neighbors: convolutions give every base its neighbors, and
# attention without positions compares these.
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
PAIRS = program.Config(
  **{
    **vars(FULL),
    "objective": "pairs",
    "data_options": {
      "examples": 2000,
      "length": 30,
      "test_fraction": 0.25,
      "seed": 1,
    },
    "num_seeds": 3,
    "num_updates": 400,
    "updates_per_chunk": 50,
    "chunks_per_evaluation": 4,
    "batch_size": 16,
    "optimizer": supervised.adamw(3e-3, warmup_steps=50),
    "pair_width": 16,
    "pair_channels": 16,
    "pair_blocks": 2,
    "arms": {
      "random": _ATTENTION,
      "pretrained": {
        **_ATTENTION,
        "encoder": "runs/rna/attention/model.safetensors",
      },
    },
  }
)
# The sizes of the paper; its structure head has 32 blocks.
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
