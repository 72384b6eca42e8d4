r"""Plain copying: ten tokens, a hundred blanks, and the ten tokens again.

    python -m experiments.synthetic --config=configs/synthetic/copying.py \
      --workdir=runs/copying

The tokens are always at the same positions, so that a mixer whose dynamics do
not depend on its inputs can learn it (arXiv:2111.00396); after the training,
the table shows accuracies for longer gaps. `selective_copying.py` has them at
random positions. `:tiny` only checks in seconds that everything works.
"""

from configs import blocks
from configs import variants
from configs.synthetic import _shared

FULL = _shared.base(
  "copying",
  {"blanks": 100, "memorise": 10, "vocab_size": 10},
  arms=blocks.arms("s4", "s4d", "gru", "mamba"),
  test_options={f"{n} blanks": {"blanks": n} for n in (200, 400)},
)
SMALL = {"blanks": 6, "memorise": 2, "vocab_size": 8}
get_config = variants.Variants(
  full=FULL, tiny=_shared.tiny(FULL, SMALL, longer={"blanks": 12})
)
