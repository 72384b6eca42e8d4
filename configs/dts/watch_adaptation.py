r"""From one arm to the other: exercises told from a smartwatch.

    python -m experiments.dts --config=configs/dts/watch_adaptation.py \
      --workdir=runs/dts_watch

Windows are described by 12 statistics for each of 6 channels. Those of the left
arm have labels, those of the right arm have none until they are scored. The
code has a segment for the exercise and another for the arm. "source" is the
accuracy on held-out windows of the left arm, "target" that on the right. Labels
of the target choose nothing: the last update counts. The recordings are a file
of the package seglearn (`pip install --no-deps seglearn`).

    --config=configs/dts/watch_adaptation.py:reverse    from right to left
    --config=configs/dts/watch_adaptation.py:heads      the four classifiers
                                                        without the ELBO
    --config=configs/dts/watch_adaptation.py:weights    DTS with further weights
                                                        of the ELBO
    --config=configs/dts/watch_adaptation.py:own        each arm's own scaling
    --config=configs/dts/watch_adaptation.py:1_to_2     from one subject to
                                                        another, of the pairs in
                                                        `jaxseq.data.domains`

and all of these together, in this order: `:own_heads_reverse`, `:own_1_to_2`.

`:tiny` learns nothing, and shows in seconds whether everything works.
"""

import itertools

import ml_collections

from configs.dts import _shared
from jaxseq import _validate
from jaxseq.data import domains

_DIRECTIONS = {
  "": ("side", 0, 1),
  "reverse": ("side", 1, 0),
  **{
    f"{source}_to_{target}": ("subject", source, target)
    for source, target in domains.PAIRS["watch"]
  },
}
_ARMS = ("heads", "weights")
_WEIGHTS = {"0001": 0.001, "001": 0.01, "01": 0.1, "1": 1.0}
# Name of a variant -> scaling, arms, direction.
VARIANTS = {
  "_".join(filter(None, parts)) or "full": parts
  for parts in itertools.product(("", "own"), ("", *_ARMS), _DIRECTIONS)
} | {"tiny": ("", "", "")}


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  _validate.choice("variant", variant, VARIANTS)
  scaling, arms, direction = VARIANTS[variant]
  by, source, target = _DIRECTIONS[direction]
  config = _shared.base(
    "watch",
    by=by,
    source=source,
    target=target,
    scaling=scaling or "source",
    features="statistics",
  )
  # Two subjects have a quarter of the windows.
  config.num_updates = 1500 if by == "side" else 600
  config.updates_per_chunk = 100
  config.batch_size = 256
  config.optimizer = {"learning_rate": 2e-3}
  config.model = {
    "latent": 16,
    "segments": (12, 4),
    "encoder": {"kind": "mlp", "widths": (64,)},
    "decoder": {"kind": "mlp", "widths": (64,)},
  }
  config.adaptation = {"class_size": 12, "domain_size": 4}
  config.objective = {"method": "dts", "beta": 1.0, "alpha": 0.5}
  # Of 0.001, 0.01, 0.1 and 1 the greatest that costs less than 0.01 of accuracy
  # on held-out windows of the source (`:weights`).
  config.elbo_weight = 0.1
  config.metric = "test_accuracy"
  alone = {"w_yd": 0.0, "w_dd": 0.0, "w_dy": 0.0}
  config.arms = {
    "source_only": {"adaptation": alone, "elbo_weight": 0.0},
    "adversary": {
      "adaptation": {"w_dd": 0.0, "w_dy": 0.0},
      "elbo_weight": 0.0,
    },
    "dts": {},
    "dts_entropy": {"adaptation": {"adversary": "entropy"}},
  }
  if arms == "heads":
    config.elbo_weight = 0.0
    config.arms = {
      "heads": {},
      "heads_entropy": {"adaptation": {"adversary": "entropy"}},
    }
  if arms == "weights":
    config.arms = {
      f"elbo_{name}": {
        "adaptation": {"adversary": "entropy"},
        "elbo_weight": weight,
      }
      for name, weight in _WEIGHTS.items()
    }
  if variant == "tiny":
    options = config.data_options.to_dict()
    arms = config.arms.to_dict()
    config = _shared.tiny(config)
    config.data_options = options
    config.arms = {name: arms[name] for name in ("source_only", "dts")}
  return config
