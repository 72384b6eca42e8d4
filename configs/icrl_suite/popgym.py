r"""Eight kinds of memory on six games of POPGym, at equal budgets.

    python -m experiments.icrl_suite --config=configs/icrl_suite/popgym.py \
      --workdir=runs/icrl_suite

The easy level of each game, four seeds, 409,600 environment steps each, and the
settings of the quickstart throughout. In the aggregates a random player counts
as 0 and the reference player of each game as 1: a player with perfect memory,
and Thompson sampling for the bandit. It takes two hours on two cores beside
other runs; results are in docs/results. Finished runs are not repeated after an
interruption.

    --config=configs/icrl_suite/popgym.py:gtrxl

has only a gated Transformer-XL, and `:tiny` only checks that everything works,
in a few minutes of compilation at first.
"""

from configs import blocks
from configs import variants
from configs.icrl import quickstart
from jaxseq.programs import icrl_suite

# Returns of a random and of a reference player.
BOUNDS = {
  "RepeatPreviousEasy": (-0.51, 1.0),
  "RepeatFirstEasy": (-0.5, 1.0),
  "CountRecallEasy": (-0.93, 1.0),
  "AutoencodeEasy": (-0.5, 1.0),
  "PositionOnlyCartPoleEasy": (0.11, 1.0),
  "MultiarmedBanditEasy": (0.0, 0.66),
}
_LAYERS = {"d_model": 64, "num_layers": 2, "norm": "layer"}
ARMS = quickstart.arms(
  s5=quickstart.S5,
  gru=quickstart.GRU,
  lstm={**quickstart.GRU, "mixer": "lstm"},
  mamba={
    **_LAYERS,
    "mixer": "mamba",
    "mixer_options": {"expand": 1},
    "activation": "none",
  },
  lightnet={**_LAYERS, "mixer": "lightnet"},
  aaren={**_LAYERS, "mixer": "aaren"},
  attention={
    **_LAYERS,
    "mixer": "attention",
    "mixer_options": {"window": 128},
  },
  none={"d_model": 64, "num_layers": 0},
)


def _suite(comparison, arms, *games, **fields) -> icrl_suite.Config:
  """Returns the suite of some games."""
  same = vars(comparison) | {"references": {}, "tensorboard": False}
  return icrl_suite.Config(
    **same | {"arms": arms, **fields},
    environments={game: {} for game in games},
    bounds={game: BOUNDS[game] for game in games},
  )


GTRXL = quickstart.arms(gtrxl=blocks.gtrxl(64, window=128))
NONE = quickstart.arms(none={"d_model": 8, "num_layers": 0})
get_config = variants.Variants(
  full=_suite(
    quickstart.FULL,
    ARMS,
    *BOUNDS,
    num_seeds=4,  # Two seeds on each of two cores.
    films=("s5",),
  ),
  gtrxl=_suite(quickstart.FULL, GTRXL, *BOUNDS, num_seeds=4),
  tiny=_suite(
    quickstart.TINY,
    {"gru": quickstart.TINY.arms["gru"], **NONE},
    "RepeatFirstEasy",
    "MultiarmedBanditEasy",
    num_seeds=1,
  ),
)
