r"""Sorting numbers of a set: read, process, write.

    python -m experiments.pointing --config=configs/pointing/sorting.py \
      --workdir=runs/sorting

Networks that ignore the input order point at ten uniform numbers in ascending
order (arXiv:1511.06391). Processing steps help, and so does a glimpse before
each choice. In the arms that end in "_alone" the glimpse replaces the query,
and half of the seeds do not learn to avoid repeating the smallest number.
Repeats are allowed, because otherwise the network would only have to point at
the smallest remaining number. `:tiny` only checks in seconds that everything
works.
"""

from configs import supervised
from configs import variants
from experiments.pointing import program

NONE = ("", {})
ADDED = ("_glimpse", {"glimpses": 1, "add_glimpses": True})
ALONE = ("_glimpse_alone", {"glimpses": 1})
SORTING = program.Config(
  task="sort",
  task_options={"low": 10, "high": 10},
  network={"stack": {"mixer": "lstm", "d_model": 64, "num_layers": 1}},
  optimizer=supervised.adamw(2e-3, warmup_steps=50),
  num_updates=2000,
  num_seeds=3,
  updates_per_chunk=100,
  chunks_per_evaluation=10,
  batch_size=64,
  train_sets=40_000,
  test_sets=1000,
  arms={
    f"process{steps}{name}": {"reads": "sets", "steps": steps, **glimpse}
    for steps, (name, glimpse) in (
      *((steps, NONE) for steps in (0, 1, 5)),
      *((steps, each) for each in (ADDED, ALONE) for steps in (0, 5)),
    )
  },
)
TINY = supervised.tiny(
  SORTING,
  train_sets=8,
  test_sets=4,
  arms={"set": {"reads": "sets", "steps": 1}},
)
get_config = variants.Variants(sorting=SORTING, tiny=TINY)
