r"""Chapters of the King James Bible: at which verses do they begin?

    python -m experiments.segmentation --workdir=runs/chapters \
      --config=configs/segmentation/kjv.py

Documents are some chapters of a book, one after the other, of 96 verses at
most, whose numbers are gone. A GRU reads the verses in one pass, forwards or
from both ends; the others see two neighboring verses alone, and have been
trained on such neighbors, or on any two verses of a document, half of them of
one chapter (arXiv:2012.03619). The program `bible`, of Debian's bible-kjv, or
`--config.data_options.path`, has the text. `:tiny` learns nothing, on files of
this project, and shows in seconds whether everything works.
"""

import pathlib

from configs import supervised
from configs import variants
from jaxseq.tasks import segmentation

KJV = segmentation.Config(
  data="kjv_chapters",
  num_seeds=3,
  num_updates=300,
  updates_per_chunk=50,
  chunks_per_evaluation=2,
  batch_size=16,
  network={
    "stack": {
      "mixer": "gru",
      "d_model": 32,
      "num_layers": 1,
      "activation": "none",
      "dropout": 0.2,
    },
    "head_widths": (32,),
  },
  optimizer=supervised.adamw(5e-3, 0.05, warmup_steps=30),
  arms={
    "gru": {},
    "gru_both_ways": {"network": {"stack": {"bidirectional": True}}},
    "neighbors": {"reads": "neighbors"},
    "pairs": {"reads": "pairs"},
  },
)
_HERE = pathlib.Path(__file__).parents[1] / "classify"
TINY = supervised.tiny(
  KJV,
  data="paragraphs",
  data_options={"path": str(_HERE), "pattern": "*.py", "longest": 24},
  batch_size=2,
  num_seeds=1,
)
get_config = variants.Variants(kjv=KJV, tiny=TINY)
