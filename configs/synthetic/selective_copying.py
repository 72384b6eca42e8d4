r"""Selective copying: which tokens to keep depends on the tokens.

    python -m experiments.synthetic --workdir=runs/selective_copying \
      --config=configs/synthetic/selective_copying.py

Eight tokens stand at random places among 112 blanks, and are to be given back
in order (arXiv:2312.00752, section 4.1.1, in a small size). A mixer whose
dynamics do not depend on its inputs cannot tell tokens from blanks; in
`copying.py` the tokens have fixed places, and there it can. `:tiny` learns
nothing, and shows in seconds whether everything works.
"""

import ml_collections

from configs import blocks
from configs.synthetic import _shared

VARIANTS = ("full", "tiny")


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  task = {"blanks": 112, "memorise": 8, "vocab_size": 16}
  config = _shared.base(variant, VARIANTS, "selective_copying", "rms", **task)
  config.update(num_updates=4000, updates_per_chunk=200, batch_size=32)
  config.arms = blocks.arms("mamba", "s4")
  config.test_options = {f"{n} blanks": {"blanks": n} for n in (168, 224)}
  if variant == "tiny":
    task = {"blanks": 6, "memorise": 2, "vocab_size": 8}
    return _shared.tiny(config, task, longer={"blanks": 12})
  return config
