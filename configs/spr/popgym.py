r"""SPR on a game of POPGym: vectors in place of images, and a memory.

    python -m experiments.spr --config=configs/spr/popgym.py \
      --workdir=runs/spr_popgym

RepeatPreviousEasy, where the card of four steps ago is to be named: without
memory the mean return is -0.5, a perfect player gets 1. `:ENV_ID` chooses
another game whose actions are one choice. Observations go through a dense
layer, S5 remembers, and an LSTM predicts the latents; the other arm does not
predict. The settings were chosen for their size: nothing is promised.

    --config=configs/spr/popgym.py:RepeatPreviousEasy,tiny

is one arm with small networks and a few steps: it learns nothing, and shows in
seconds whether everything works.
"""

import ml_collections

from configs.spr import minatar_quick
from jaxseq import _validate


def get_config(
  variant: str = "RepeatPreviousEasy",
) -> ml_collections.ConfigDict:
  env_id, _, size = variant.partition(",")
  if size not in ("", "tiny") or not env_id[:1].isupper():
    raise _validate.error("variant", variant, "ENV_ID or ENV_ID,tiny")
  tiny = size == "tiny"
  config = minatar_quick.get_config("tiny" if tiny else "breakout")
  width = 4 if tiny else 64
  options = {"d_model": width, "mixer_options": {}}
  config.settings.update(
    env_id=env_id,
    batch_size=2 if tiny else 8,
    encoder={"channels": (width,)},
    transition={"stack": {"mixer": "lstm", **options}},
    memory={"stack": {"mixer": "s5", **options}},
    clip_rewards=False,
  )
  config.settings.learning.sequence = {
    "length": 2 if tiny else 16,
    "burn_in": 2 if tiny else 16,
  }
  if tiny:
    # Each arm is compiled.
    config.arms = {"spr": {}}
  return config
