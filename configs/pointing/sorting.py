r"""Sorting numbers that come as a set: read, process, write.

    python -m experiments.pointing --config=configs/pointing/sorting.py \
      --workdir=runs/sorting

Ten uniform numbers, whose places are to be written in ascending order by
networks that do not see the order they come in (arXiv:1511.06391). Steps of
processing help, and a glimpse before each choice does in the seeds that do not
stay where one choice is always wrong; nothing forbids a repeat, for then
pointing at the smallest that is left is all there is to learn. `:tiny` learns
nothing, and shows in seconds whether everything works.
"""

from configs import supervised
from configs import variants
from jaxseq.programs import set_answers

SORTING = set_answers.Config(
  task="sort",
  task_options={"low": 10, "high": 10},
  network={"stack": {"mixer": "lstm", "d_model": 64, "num_layers": 1}},
  optimizer=supervised.adamw(2e-3, warmup_steps=50),
  num_updates=900,
  num_seeds=3,
  updates_per_chunk=100,
  chunks_per_evaluation=9,
  batch_size=64,
  train_sets=60_000,
  test_sets=1000,
  arms={
    f"process{steps}_glimpse{glimpses}": {
      "reads": "sets",
      "steps": steps,
      "glimpses": glimpses,
    }
    for steps, glimpses in ((0, 0), (1, 0), (5, 0), (0, 1), (5, 1))
  },
)
TINY = supervised.tiny(
  SORTING,
  train_sets=8,
  test_sets=4,
  arms={"set": {"reads": "sets", "steps": 1}},
)
get_config = variants.Variants(sorting=SORTING, tiny=TINY)
