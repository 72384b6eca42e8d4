r"""Sums of two digits, answered in digits or words: words are preferred.

    python -m experiments.adapt --workdir=runs/answers \
      --config=configs/adapt/preferences.py:answers
    python -m experiments.adapt --workdir=runs/preferred \
      --config=configs/adapt/preferences.py --config.base=runs/answers/full

The first command trains a network from scratch to answer "3+4=" by "7" or
"seven"; the second trains it to prefer "seven" (DPO), by adapters or by all
weights. Its "margin" is the increase of the log-probability of preferred
answers over that of the others, times beta.

Expected after the first: a loss of 0.21 nats and an accuracy of 0.87 of answer
bytes in training, 1.80 and 0.65 on held-out prompts, as sums are memorized.
After the second, on held-out pairs: a loss of 0.49 and a margin of 0.49 with
adapters, 0.64 and 0.12 with all weights, from 0.69 and 0. About 100 updates of
the first take a CPU second, and about 50 of the second, with three seeds at a
time; compilation takes longer.

Variants: `answers`, the first command; `pairs`, for your own pairs
(`--config.data_options.path=pairs.jsonl`, `--config.base=DIR`), `chats` for
chats; `tiny`, which only checks in seconds that everything works.
"""

from configs import supervised
from configs import variants
from configs.adapt import texts
from jaxseq.programs import adapt
from jaxseq.programs import own_data
from jaxseq.training import configuration

FULL = adapt.Config(
  data="sum_preferences",
  num_updates=60,
  updates_per_chunk=5,
  chunks_per_evaluation=1,
  chunks_per_checkpoint=4,
  num_seeds=3,
  batch_size=16,
  length=16,
  optimizer=supervised.adamw(1e-3, warmup_steps=5),
  arms={
    "full": {"method": "full", "optimizer": {"learning_rate": 3e-4}},
    "lora": {"optimizer": {"learning_rate": 3e-3}},
  },
)
ANSWERS = configuration.updated(
  FULL,
  data="sums",
  num_updates=300,
  updates_per_chunk=50,
  num_seeds=1,
  batch_size=8,
  length=64,
  network={
    "stack": {
      "mixer": "mamba2",
      "mixer_options": {"d_state": 16, "headdim": 16},
      "hybrid": {"attention": {"heads": 2, "window": 64}},
      "d_model": 32,
      "num_layers": 2,
      "norm": "rms",
    }
  },
  optimizer=supervised.adamw(4e-3, warmup_steps=20),
  arms={"full": {"method": "full", "optimizer": {}}},
)
get_config = variants.Variants(
  full=FULL,
  answers=ANSWERS,
  pairs=configuration.updated(
    FULL,
    data="preferences",
    data_options=own_data.of_loader("preferences"),
    num_updates=300,
    num_seeds=1,
    length=256,
  ),
  chats=configuration.updated(
    FULL,
    data="chats",
    data_options=own_data.of_loader("chats"),
    num_updates=300,
    num_seeds=1,
    length=256,
  ),
  tiny=supervised.tiny(FULL, network=texts.UNTRAINED, arms=FULL.arms),
)
