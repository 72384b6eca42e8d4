r"""All mixers on JapaneseVowels: nine speakers, 7 to 29 frames of 12 numbers.

    python -m experiments.compare --config=configs/compare/japanese_vowels.py \
      --workdir=runs/compare_japanese_vowels

The recordings are inside the package aeon (`pip install --no-deps aeon`). A
random forest on summary statistics reaches 0.958. `:tiny` shows in seconds
whether everything works.
"""

from configs.compare import _shared

get_config = _shared.with_tiny(
  _shared.of(
    "japanese_vowels",
    num_updates=1500,
    batch_size=32,
    network={"stack": {"dropout": 0.2}},
    references={"random forest": 0.958},
  )
)
