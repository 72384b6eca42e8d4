r"""A masked language model of your own text, by letters.

    python -m experiments.masked_language --workdir=runs/notes \
      --config=configs/masked_language/text.py \
      --config.data_options.path=notes.txt

Every line is a sequence (`--config.data_options.lines=False` reads a file as a
whole, divided into chunks of `data_options.length` letters); a file that begins
with ">" is read as FASTA. Variants: `tiny`, which reads a file of Python's,
only checks in seconds that everything works.
"""

import json

from configs import blocks
from configs import supervised
from configs import variants
from jaxseq.programs import own_data
from jaxseq.tasks import masked_language
from jaxseq.training import configuration

_BOTH = {"bidirectional": True}
FULL = masked_language.Config(
  data="letters",
  data_options={**own_data.of_loader("letters"), "path": "data.txt"},
  num_seeds=1,
  num_updates=2000,
  updates_per_chunk=50,
  chunks_per_evaluation=2,
  batch_size=32,
  network={"stack": {"d_model": 96, "num_layers": 3}},
  optimizer=supervised.adamw(2e-3, warmup_steps=100),
  arms={
    "mamba": blocks.arm("mamba", **_BOTH),
    "attention": blocks.bare(
      "attention", **blocks.TRANSFORMER, mixer_options=_BOTH
    )["attention"],
  },
)
_TINY = supervised.tiny(
  FULL, data_options={"path": json.__file__, "length": 16}
)
get_config = variants.Variants(
  full=FULL,
  tiny=configuration.updated(_TINY, arms={"gru": blocks.arm("gru", **_BOTH)}),
)
