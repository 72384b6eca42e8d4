r"""Convex hulls by a pointer network: the corners of sets of points, in order.

    python -m experiments.pointing --config=configs/pointing/hull.py \
      --workdir=runs/hull

Sets of 5 to 8 points, an LSTM of 96 (arXiv:1506.03134). The answers are scored
as a whole, by the enclosed area, and on sets of 12 points, more than in
training, which a softmax over fixed classes could not represent. `:tour` has
the shortest tours through 5 cities, each visited once, decoded greedily and
with four beams; the tables have their lengths, and the ratios to the shortest.
`:tiny` only checks in seconds that everything works.
"""

from configs import supervised
from configs import variants
from experiments.pointing import program
from jaxseq.training import configuration

LSTM = {
  "stack": {
    "mixer": "lstm",
    "d_model": 96,
    "num_layers": 1,
    "norm": "none",
    "activation": "none",
    "residual": False,
  }
}
HULL = program.Config(
  task="hull",
  task_options={"low": 5, "high": 8},
  test_sizes=(5, 8, 12),
  network=LSTM,
  optimizer=supervised.adamw(2e-3, warmup_steps=100),
  num_updates=10_000,
  num_seeds=1,
  updates_per_chunk=500,
  chunks_per_evaluation=4,
  batch_size=64,
  arms={"lstm": {}},
)
TOUR = configuration.updated(
  HULL,
  task="tour",
  task_options={"low": 5, "high": 5},
  test_sizes=(5, 6),
  train_sets=20_000,
  arms={"lstm": {"no_repeat": True, "beams": 4}},
)
TINY = supervised.tiny(
  HULL,
  train_sets=8,
  test_sets=4,
  test_sizes=(5,),
  arms={"lstm": {"network": {"stack": {"d_model": 8}}}},
)
get_config = variants.Variants(hull=HULL, tour=TOUR, tiny=TINY)
