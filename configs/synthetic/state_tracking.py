r"""State tracking: the product of a word in a group, at every element.

    python -m experiments.synthetic --workdir=runs/state_tracking \
      --config=configs/synthetic/state_tracking.py

Words of up to 32 elements over two generators of A_5, the smallest group that
is not solvable; tests have words of up to 128. A diagonal linear recurrence of
fixed depth cannot track A_5 as words grow (arXiv:2404.08819), an LSTM can. With
--config.task_options.alphabet=all the words are over all 60 elements, and an
LSTM needs many more updates.

    --config=configs/synthetic/state_tracking.py:S3

has another group: S3 (solvable, 6 elements), Z60 (commutative), A4xZ5 or S5.
`:mixers` has all mixers of the package, in 800 updates on S3 at a larger
learning rate, half an hour of one core. `:tiny` only checks in seconds that
everything works.
"""

from configs import blocks
from configs import variants
from configs.synthetic import _shared
from jaxseq import mixers
from jaxseq.data.tokens import group_words
from jaxseq.training import configuration


def of_lengths(*lengths: int) -> dict[str, dict[str, int]]:
  """Returns tests with words of these lengths."""
  return {f"{n}": {"min_length": n, "max_length": n} for n in lengths}


A5 = _shared.base(
  "group_words",
  {
    "group": "A5",
    "alphabet": "generators",
    "min_length": 3,
    "max_length": 32,
  },
  optimizer={"weight_decay": 0.01, "warmup_steps": 200},
  num_updates=3000,
  updates_per_chunk=200,
  batch_size=64,
  arms=blocks.arms("lstm", "slstm", "mamba", "s5"),
  test_options=of_lengths(32, 64, 128),
)
GROUPS = {
  group: configuration.updated(A5, task_options={"group": group})
  for group in ("A5", *(x for x in group_words.GROUPS if x != "A5"))
}
LONGER = {"min_length": 12, "max_length": 12}
TINY = _shared.tiny(GROUPS["S3"], {"max_length": 6}, LONGER)
MIXERS = configuration.updated(
  GROUPS["S3"],
  optimizer={"learning_rate": 4e-3, "warmup_steps": 50},
  num_updates=800,
  num_seeds=1,
  chunks_per_evaluation=4,
  arms=blocks.arms(*mixers.names()),
  test_options=of_lengths(32, 128),
)
get_config = variants.Variants(**GROUPS, mixers=MIXERS, tiny=TINY)
