r"""Selective copying and plain copying: a pair that tells mixers apart.

    python -m experiments.synthetic --workdir=runs/selective_copying \
      --config=configs/synthetic/selective_copying.py

Sixteen tokens stand at random places among 240 blanks, and are to be given back
in order (arXiv:2312.00752, section 4.1.1, in a small size). A mixer whose
dynamics do not depend on its inputs cannot tell tokens from blanks.

    --config=configs/synthetic/selective_copying.py:plain

has the tokens at the start: time-invariant mixers learn that one.
"""

import ml_collections

_VARIANTS = ("full", "plain", "tiny")


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  if variant not in _VARIANTS:
    raise ValueError(f"variant: got {variant!r}, expected one of {_VARIANTS}.")
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.num_seeds = 2
  config.num_updates = 8000
  config.updates_per_chunk = 200
  config.batch_size = 32
  config.task = "copying" if variant == "plain" else "selective_copying"
  config.task_options = {"blanks": 240, "memorise": 16, "vocab_size": 16}
  config.network = {
    "d_model": 64,
    "num_layers": 2,
    "norm": "rms",
    "activation": "none",
  }
  config.optimizer = {"learning_rate": 2e-3, "warmup_steps": 100}
  config.arms = {
    "mamba": {"network": {"mixer": "mamba"}},
    "s4": {"network": {"mixer": "s4", "activation": "half_glu2"}},
  }
  if variant == "tiny":
    config.num_updates = 4
    config.updates_per_chunk = 2
    config.optimizer.warmup_steps = 0
    config.test_batches = 1
    config.task_options = {"blanks": 6, "memorise": 2, "vocab_size": 8}
    config.network.update(d_model=8, num_layers=1)
    config.arms = {
      "s5": {
        "network": {
          "mixer": "s5",
          "mixer_options": {"ssm_size": 8, "blocks": 1},
        }
      },
      "gru": {"network": {"mixer": "gru"}},
    }
    config.test_options = {"longer": {"blanks": 20}}
  return config
