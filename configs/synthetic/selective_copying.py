r"""Selective copying: the tokens to keep depend on the inputs.

    python -m experiments.synthetic --workdir=runs/selective_copying \
      --config=configs/synthetic/selective_copying.py

Eight tokens are at random positions among 112 blanks, and have to be copied in
order (arXiv:2312.00752, section 4.1.1, in a small size). A mixer whose dynamics
do not depend on its inputs cannot separate tokens from blanks; in `copying.py`
the tokens have fixed positions, and it can. With

    --config=configs/synthetic/selective_copying.py:mixers

all mixers of the package copy four tokens among 28 blanks, in 800 updates at a
larger learning rate; half an hour of one core. `:tiny` only checks in seconds
that everything works.
"""

from configs import blocks
from configs import variants
from configs.synthetic import _shared
from jaxseq import mixers
from jaxseq.training import configuration

FULL = _shared.base(
  "selective_copying",
  {"blanks": 112, "memorise": 8, "vocab_size": 16},
  "rms",
  num_updates=4000,
  updates_per_chunk=200,
  arms=blocks.arms("mamba", "s4"),
  test_options={f"{n} blanks": {"blanks": n} for n in (168, 224)},
)
MIXERS = configuration.updated(
  FULL,
  task_options={"blanks": 28, "memorise": 4, "vocab_size": 8},
  optimizer={"learning_rate": 4e-3, "warmup_steps": 50},
  num_updates=800,
  num_seeds=1,
  chunks_per_evaluation=4,
  arms=blocks.arms(*mixers.names()),
  test_options={"56 blanks": {"blanks": 56}},
)
SMALL = {"blanks": 6, "memorise": 2, "vocab_size": 8}
get_config = variants.Variants(
  full=FULL,
  mixers=MIXERS,
  tiny=_shared.tiny(FULL, SMALL, longer={"blanks": 12}),
)
