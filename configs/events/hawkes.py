r"""A Hawkes process with three marks and a known likelihood.

    python -m experiments.events --config=configs/events/hawkes.py \
      --workdir=runs/hawkes

2,000 training sequences of about 45 events. The likelihood of the process is
the bound: a good model comes closer than 0.05 nats per event.

    --config=configs/events/hawkes.py:tiny

only checks in seconds that everything works.

    --config=configs/events/hawkes.py:intensities

predicts intensities instead of the density of the next gap, by mixers and by
specialized models. Their integrals use random points in training, and 200 nodes
in evaluations; the table also has the result of 20 points.

The files `poisson.py`, `renewal.py` and `self_correcting.py` compare the same
for other processes, with one mark each.
"""

from configs import blocks
from configs import supervised
from configs import variants
from jaxseq.tasks import events
from jaxseq.training import configuration

TRANSFORMER = {**blocks.TRANSFORMER, "num_layers": 2, "dropout": 0.1}
HAWKES = events.Config(
  data="hawkes",
  num_updates=1500,
  chunks_per_evaluation=5,
  network={"stack": {"d_model": 32, "num_layers": 1}},
  optimizer=supervised.adamw(3e-3, 0.01, warmup_steps=50),
  arms=blocks.bare("aaren", "attention", **TRANSFORMER) | blocks.bare("gru"),
)
# Intensities by any mixer, and by models that replace a mixer.
INTENSITIES = configuration.updated(
  HAWKES,
  num_updates=800,
  chunks_per_evaluation=100,
  arms={
    "gru": {"head": "intensity", **blocks.bare("gru")["gru"]},
    "s5": {"head": "intensity", **blocks.arm("s5", dropout=0.0)},
    "attention": {
      "head": "intensity",
      **blocks.bare("attention", **TRANSFORMER)["attention"],
    },
    "rmtpp": {"head": "gompertz", **blocks.bare("gru")["gru"]},
    "nhp": {"head": "nhp"},
    "attnhp": {
      "head": "attnhp",
      "network": {"stack": {"d_model": 16, "num_layers": 2}},
    },
    "s2p2": {
      "head": "s2p2",
      "network": {"stack": {"d_model": 16, "num_layers": 2}},
    },
  },
)
SMALL = {"train": 8, "valid": 4, "test": 5, "horizon": 8.0}
TINY = supervised.tiny(HAWKES, components=2, data_options=SMALL)


def of_process(data: str, **fields: object) -> variants.Variants:
  """Returns the variants of a process, "full" and "tiny"."""
  return variants.Variants(
    full=configuration.updated(HAWKES, data=data, **fields),
    tiny=configuration.updated(TINY, data=data),
  )


get_config = variants.Variants(
  hawkes=HAWKES,
  poisson=configuration.updated(HAWKES, data="poisson", time_frequencies=8),
  renewal=configuration.updated(HAWKES, data="renewal"),
  self_correcting=configuration.updated(HAWKES, data="self_correcting"),
  tiny=TINY,
  intensities=INTENSITIES,
)
