r"""Unsupervised trees of a grammar by a masked language model.

    python -m experiments.masked_language --workdir=runs/grammar \
      --config=configs/masked_language/grammar.py

Sentences of 6 to 20 words with 30 % masked. Three networks:
StructFormer (arXiv:2012.00857), whose parser is trained only by the masked
words; the same with a frozen random parser; and attention of the same size. The
table has the F1 of constituents (UF1), exact and with boundaries moved by a
word, and the share of right heads (UAS), with uninformed trees as baselines.
After 1,500 updates the trained parser helps much (2.35 nats per masked word,
and 3.18 with the random one), by trees that differ from the grammar's:
`DIR/ARM/trees.png` shows those of four test sentences, beside the true ones.

Variants: `words`, for your own sentences, one per line:

    python -m experiments.masked_language --workdir=runs/sentences \
      --config=configs/masked_language/grammar.py:words \
      --config.data_options.path=sentences.txt

`--mode=predict` writes the trees of other sentences; `tiny`, which only checks
in seconds that everything works.
"""

import dataclasses

from configs import blocks
from configs import supervised
from configs import variants
import experiments.masked_language  # noqa: F401
from jaxseq.programs import own_data
from jaxseq.tasks import masked_language
from jaxseq.training import configuration

_ATTENTION = blocks.bare(
  "attention",
  **blocks.TRANSFORMER,
  mixer_options={"bidirectional": True, "heads": 4},
)["attention"]
_PARSER = {**_ATTENTION, "parser": 3}
FULL = masked_language.Config(
  data="grammar",
  data_options={"examples": 20_000},
  share=0.3,
  num_seeds=5,
  num_updates=3000,
  updates_per_chunk=100,
  chunks_per_evaluation=5,
  batch_size=64,
  network={"stack": {"d_model": 64, "num_layers": 3, "dropout": 0.1}},
  optimizer=supervised.adamw(1e-3, warmup_steps=100),
  arms={
    "structformer": _PARSER,
    "random_parser": {**_PARSER, "parser_learns": False},
    "attention": _ATTENTION,
  },
)
_TINY = supervised.tiny(FULL, data_options={"examples": 40})
get_config = variants.Variants(
  full=FULL,
  words=dataclasses.replace(
    FULL,
    data="letters",
    data_options=own_data.of_loader(
      "letters", path="data.txt", words=2, length=40
    ),
    num_seeds=1,
  ),
  tiny=configuration.updated(_TINY, arms={"structformer": _PARSER}),
)
