r"""Mixture-of-Memories against one memory: recall limited by capacity.

    python -m experiments.synthetic --config=configs/synthetic/memories.py \
      --workdir=runs/memories

The task of `mqar.py:mixers`, 8 pairs in sequences of 32 but with only 64
tokens, for memories with keys of width 4: four of them, two of which each
element updates, and a shared one (arXiv:2502.13685). It is compared with the
same recurrence with one memory: as large as one of the five, or with as large a
state as all of them and their convolutions, by wider keys or by wider values.
`:tiny` only checks in seconds that everything works.
"""

from configs import blocks
from configs import variants
from configs.synthetic import mqar
from jaxseq.training import configuration

OPTIONS = {"heads": 1, "d_key": 4, "d_value": 32}
ONE = {**OPTIONS, "memories": 1, "active": 1, "shared": False}
MOM = {"mom": blocks.arm("mom", mixer_options=OPTIONS)}
get_config = variants.Variants(
  full=configuration.updated(
    mqar.MIXERS,
    num_updates=1600,
    task_options={"vocab_size": 64},
    arms={
      **MOM,
      "one_small": blocks.arm("mom", mixer_options=ONE),
      "one_wide_keys": blocks.arm("mom", mixer_options={**ONE, "d_key": 30}),
      "one_wide_values": blocks.arm(
        "mom", mixer_options={**ONE, "d_value": 174}
      ),
    },
  ),
  tiny=configuration.updated(mqar.TINY, arms=MOM),
)
