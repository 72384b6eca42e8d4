r"""All mixers on JapaneseVowels: nine speakers, 7 to 29 frames of 12 numbers.

    python -m experiments.compare --config=configs/compare/japanese_vowels.py \
      --workdir=runs/compare_japanese_vowels

The recordings are inside the package aeon (`pip install --no-deps aeon`). A
random forest on summary statistics gets 0.958. `:tiny` shows in seconds whether
everything works.
"""

import ml_collections

from configs.compare import _shared

VARIANTS = ("full", "tiny")


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  config = _shared.base(variant, VARIANTS, "japanese_vowels")
  config.update(num_updates=1500, batch_size=32)
  config.network.stack.dropout = 0.2
  config.references = {"random forest": 0.958}
  return _shared.tiny(config) if variant == "tiny" else config
