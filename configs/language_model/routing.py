r"""The King James Bible by full attention, local attention and routing.

    python -m experiments.language_model --workdir=runs/routing \
      --config=configs/language_model/routing.py

Two layers of width 64 read chunks of 512 bytes. The arms are full attention;
attention to 32 elements, including the current one; and routing, in which half
of the heads see these, and half the last 32 of one of 6 clusters. The text is
that of Debian's package bible-kjv (`apt-get install bible-kjv`). It takes ten
minutes of one core; `--config.num_updates=300` compares the speed of learning.
`:tiny`, a routing network alone, only checks within a minute whether the
program works.
"""

from configs import blocks
from configs import supervised
from configs import variants
from configs.language_model import mixers
from jaxseq.training import configuration

FULL = configuration.updated(
  mixers.BASE,
  num_updates=3000,
  batch_size=4,
  num_seeds=1,
  length=512,
  network={"stack": {"d_model": 64}},
  optimizer={"warmup_steps": 50},
  arms={
    "attention": blocks.arm("attention", mixer_options={"window": 512}),
    "attention_32": blocks.arm("attention", mixer_options={"window": 31}),
    "routing": blocks.arm(
      "routing", mixer_options={"window": 32, "clusters": 6}
    ),
  },
)
get_config = variants.Variants(
  full=FULL, tiny=supervised.tiny_text(FULL, "routing")
)
