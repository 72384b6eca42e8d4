r"""Order recall: which of two segments came first in an excerpt.

    python -m experiments.synthetic --workdir=runs/order_recall \
      --config=configs/synthetic/order_recall.py

Excerpts of 2 to 16 distinct random tokens, and segments of one; sixteen
questions start from copies of one state. Chance is one half, and the last table
has each accuracy with the interval for its number of questions. Tests have
excerpts of other lengths, and pairs by the bin of their distance. Attention and
a GRU improve on chance after 250 updates; the 1500 of an arm take one to three
minutes of a core. With

    --config=configs/synthetic/order_recall.py:sort

excerpts have 64 tokens of 63 kinds and segments have 4, as in SORT (arXiv:
2410.08133); with `:kjv` excerpts have 250 words of the King James Bible, and
begin with sentences like the segments of 20; tests are on its last tenth.
Neither has been evaluated yet. `:mixers` has all mixers of the package in 500
updates of 128 of the short excerpts, an hour of one core. `:tiny` only checks
in seconds that everything works.
"""

from configs import blocks
from configs import variants
from configs.synthetic import _shared
from jaxseq import mixers
from jaxseq.training import configuration


def _arms(window: int) -> dict[str, dict]:
  """Returns the arms; attention keeps `window` keys of each excerpt."""
  # The half of a head without rotation finds the same token at any position.
  options = {"rotary_fraction": 0.5, "window": window}
  return {
    **blocks.bare("attention", **blocks.TRANSFORMER, mixer_options=options),
    **blocks.arms("gru", "mamba", "s5", "mlstm", "gated_deltanet"),
  }


def _random(
  lengths: tuple[int, ...], options: dict[str, object], **fields: object
):
  """Returns a comparison on random tokens, tested by length and by bin."""
  return _shared.base(
    "order_recall",
    {**options, "questions": 16, "begins": True},
    num_seeds=1,
    updates_per_chunk=100,
    chunks_per_evaluation=5,
    batch_size=512,
    arms=_arms(160),
    test_options={
      **{f"length {n}": {"length": n, "shortest": 0} for n in lengths},
      **{f"bin {b}": {"bin": b, "shortest": 0} for b in range(4)},
    },
    further_batch_size=128,
    **fields,
  )


RANDOM = _random(
  (12, 16, 24, 32),
  {
    "length": 16,
    "segment": 1,
    "vocab_size": 33,
    "shortest": 2,
    "distinct": True,
  },
  num_updates=1500,
)
SORT = _random(
  (32, 64, 128),
  {"length": 64, "segment": 4, "vocab_size": 64, "shortest": 8},
  num_updates=6000,
)
KJV = configuration.updated(
  SORT,
  task_options={
    "length": 250,
    "segment": 20,
    "vocab_size": 2048,
    "text": "kjv",
    "questions": 16,
    "begins": True,
    "shortest": 0,
  },
  batch_size=64,
  arms=_arms(640),
  test_options={
    **{f"test {n}": {"length": n, "part": "test"} for n in (125, 250, 500)},
    **{f"test bin {b}": {"bin": b, "part": "test"} for b in range(4)},
  },
)
# Attention with the options above, under its mixer's name.
_HERE = {"attention": _arms(160)["attention"]}
MIXERS = configuration.updated(
  RANDOM,
  num_updates=500,
  batch_size=128,
  arms={**blocks.arms(*mixers.names()), **_HERE},
)
TINY = configuration.updated(
  _shared.tiny(RANDOM, {"length": 12, "segment": 1}, {"length": 16}),
  arms=blocks.arms("gru"),
)
get_config = variants.Variants(
  random=RANDOM, sort=SORT, kjv=KJV, mixers=MIXERS, tiny=TINY
)
