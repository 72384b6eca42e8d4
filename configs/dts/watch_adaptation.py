r"""Domain adaptation from one arm to the other: exercises from a smartwatch.

    python -m experiments.dts --config=configs/dts/watch_adaptation.py \
      --workdir=runs/dts_watch

Windows are described by 12 statistics for each of 6 channels. Windows of the
left arm have labels in training, those of the right arm only for scoring. The
code has a segment for the exercise and another for the arm. "source" is the
accuracy on held-out windows of the left arm, "target" that on the right. Target
labels are not used for selection: the last update counts. The recordings are a
file of the package seglearn (`pip install --no-deps seglearn`).

    --config=configs/dts/watch_adaptation.py:reverse    from right to left
    --config=configs/dts/watch_adaptation.py:heads      the four classifiers
                                                        without the ELBO
    --config=configs/dts/watch_adaptation.py:weights    DTS with further weights
                                                        of the ELBO
    --config=configs/dts/watch_adaptation.py:own        each arm's own scaling
    --config=configs/dts/watch_adaptation.py:1_to_2     from one subject to
                                                        another, of the pairs in
                                                        `experiments.sensors.pairs`

and all of these together, in this order: `:own_heads_reverse`, `:own_1_to_2`.

`:tiny` only checks in seconds that everything works.
"""

import dataclasses
import itertools

from configs import variants
from configs.dts import _shared
from experiments.sensors import pairs
from jaxseq.programs import dts as program

_DIRECTIONS = {
  "": ("side", 0, 1),
  "reverse": ("side", 1, 0),
  **{
    f"{source}_to_{target}": ("subject", source, target)
    for source, target in pairs.PAIRS["watch"]
  },
}
_WEIGHTS = {"0001": 0.001, "001": 0.01, "01": 0.1, "1": 1.0}
ALONE = {"w_yd": 0.0, "w_dd": 0.0, "w_dy": 0.0}
ENTROPY = {"adaptation": {"adversary": "entropy"}}
# The parts of a variant's name: scaling, arms, direction.
_PARTS = itertools.product(("", "own"), ("", "heads", "weights"), _DIRECTIONS)


def _config(scaling: str, arms: str, direction: str) -> program.Config:
  by, source, target = _DIRECTIONS[direction]
  config = dataclasses.replace(
    _shared.base("watch"),
    data_options={
      "by": by,
      "source": source,
      "target": target,
      "scaling": scaling or "source",
      "features": "statistics",
    },
    # A pair of subjects has a quarter of the windows.
    num_updates=1500 if by == "side" else 600,
    updates_per_chunk=100,
    batch_size=256,
    optimizer={"learning_rate": 2e-3},
    model={
      "latent": 16,
      "segments": (12, 4),
      "encoder": {"kind": "mlp", "widths": (64,)},
      "decoder": {"kind": "mlp", "widths": (64,)},
    },
    adaptation={"class_size": 12, "domain_size": 4},
    objective={"method": "dts", "beta": 1.0, "alpha": 0.5},
    # The largest of 0.001, 0.01, 0.1 and 1 that costs less than 0.01 of
    # accuracy on held-out windows of the source (`:weights`).
    elbo_weight=0.1,
    metric="test_accuracy",
    arms={
      "source_only": {"adaptation": ALONE, "elbo_weight": 0.0},
      "adversary": {
        "adaptation": {"w_dd": 0.0, "w_dy": 0.0},
        "elbo_weight": 0.0,
      },
      "dts": {},
      "dts_entropy": ENTROPY,
    },
  )
  if arms == "heads":
    heads = {"heads": {}, "heads_entropy": ENTROPY}
    return dataclasses.replace(config, elbo_weight=0.0, arms=heads)
  if arms == "weights":
    weights = {
      f"elbo_{name}": {**ENTROPY, "elbo_weight": weight}
      for name, weight in _WEIGHTS.items()
    }
    return dataclasses.replace(config, arms=weights)
  return config


FULL = _config("", "", "")
get_config = variants.Variants(
  **{"_".join(filter(None, x)) or "full": _config(*x) for x in _PARTS},
  tiny=_shared.tiny(
    FULL, arms={name: FULL.arms[name] for name in ("source_only", "dts")}
  ),
)
