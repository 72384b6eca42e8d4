r"""SPR on a game of POPGym: vectors in place of images, and a memory.

    python -m experiments.spr --config=configs/spr/popgym.py \
      --workdir=runs/spr_popgym

RepeatPreviousEasy, where the card of four steps ago is to be named: without
memory the mean return is -0.5, a perfect player gets 1. `:ENV_ID` chooses
another game whose actions are one choice. Observations go through a dense
layer, S5 remembers, and an LSTM predicts the latents; the other arm does not
predict. The settings were chosen for their size: nothing is promised.

    --config=configs/spr/popgym.py:RepeatPreviousEasy,tiny

is one arm with small networks and a few steps: it only checks in seconds that
everything works. Options of the game go between commas, too:
`:RepeatPreviousEasy,k=2`.
"""

import ast

from configs.spr import minatar_quick
from jaxseq import validate
from jaxseq.spr import spr_arms
from jaxseq.training import configuration


def get_config(variant: str = "RepeatPreviousEasy") -> spr_arms.Config:
  env_id, *words = variant.split(",")
  tiny = "tiny" in words
  options = dict(word.partition("=")[::2] for word in words if word != "tiny")
  if not env_id[:1].isupper() or not all(options.values()):
    expected = "ENV_ID, and behind commas tiny or options as k=2"
    raise validate.error("variant", variant, expected)
  env_options = {name: _value(word) for name, word in options.items()}
  config = minatar_quick.TINY if tiny else minatar_quick.BREAKOUT
  width, length = (4, 2) if tiny else (64, 16)
  layers = {"d_model": width, "mixer_options": {}}
  return configuration.updated(
    config,
    settings={
      "env_id": env_id,
      "env_options": env_options,
      "batch_size": 2 if tiny else 8,
      "encoder": {"channels": (width,)},
      "transition": {"stack": {"mixer": "lstm", **layers}},
      "memory": {"stack": {"mixer": "s5", **layers}},
      "clip_rewards": False,
      "learning": {"sequence": {"length": length, "burn_in": length}},
    },
    # Each arm is compiled.
    arms={"spr": {}} if tiny else config.arms,
  )


def _value(word):
  """A number, True, False, or the word itself."""
  try:
    return ast.literal_eval(word)
  except (SyntaxError, ValueError):
    return word
