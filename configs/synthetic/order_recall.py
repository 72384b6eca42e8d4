r"""Order recall: which of two segments came first in what was read before?

    python -m experiments.synthetic --workdir=runs/order_recall \
      --config=configs/synthetic/order_recall.py

Excerpts of 64 random tokens of 63 kinds and segments of 4, as SORT
(arXiv:2410.08133) asks; a guess is right half of the time, and each accuracy
of the last table stands beside the interval of so many questions. Tests have
excerpts of other lengths, and pairs by the bin of their distance; eight
questions are asked from copies of one state. With

    --config=configs/synthetic/order_recall.py:kjv

excerpts are of 250 words of the King James Bible, and begin with sentences as
segments of 20 do; tests are on its last tenth. `:tiny` learns nothing, and
shows in seconds whether everything works.
"""

from configs import blocks
from configs import variants
from configs.synthetic import _shared
from jaxseq.training import configuration

RANDOM = _shared.base(
  "order_recall",
  {"length": 64, "segment": 4, "vocab_size": 64, "questions": 8},
  num_updates=3000,
  num_seeds=1,
  updates_per_chunk=200,
  chunks_per_evaluation=5,
  batch_size=64,
  arms=blocks.arms("attention", "gru", "mamba"),
  test_options={
    **{f"length {n}": {"length": n} for n in (32, 64, 128)},
    **{f"bin {b}": {"bin": b} for b in range(4)},
  },
  further_batch_size=64,
)
WORDS = {"length": 250, "segment": 20, "vocab_size": 2048, "text": "kjv"}
KJV = configuration.updated(
  RANDOM,
  task_options=WORDS,
  test_options={
    **{f"test {n}": {"length": n, "part": "test"} for n in (125, 250, 500)},
    **{f"test bin {b}": {"bin": b, "part": "test"} for b in range(4)},
  },
)
TINY = _shared.tiny(RANDOM, {"length": 12, "segment": 1}, {"length": 16})
get_config = variants.Variants(random=RANDOM, kjv=KJV, tiny=TINY)
