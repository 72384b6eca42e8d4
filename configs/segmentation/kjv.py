r"""Segmentation of the King James Bible into chapters.

    python -m experiments.segmentation --workdir=runs/chapters \
      --config=configs/segmentation/kjv.py

Documents are successive chapters of a book, with at most 96 verses, without
numbers. A GRU reads the verses in one pass, forwards or in both directions; the
other arms read only two neighboring verses, and are trained on such neighbors,
or on any two verses of a document, half of them of one chapter
(arXiv:2012.03619). In 1,000 updates P_k is 0.38 in one pass and 0.37 by
neighbors, which make few cuts (three seeds); random cuts have 0.47 and no cuts
0.37: the task is hard to learn from 252 documents. The text is read from
Debian's program `bible` (bible-kjv), or from `--config.data_options.path`.
`:tiny` only checks in seconds on a package of Python's that everything works.
"""

import json
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
_PACKAGE = str(pathlib.Path(json.__file__).parent)
TINY = supervised.tiny(
  KJV,
  data="paragraphs",
  data_options={"path": _PACKAGE, "pattern": "*.py", "longest": 24},
  batch_size=2,
  num_seeds=1,
)
get_config = variants.Variants(kjv=KJV, tiny=TINY)
