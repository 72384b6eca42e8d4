r"""SPR on a game of POPGym: vectors instead of images, and a memory.

    python -m experiments.spr --config=configs/spr/popgym.py \
      --workdir=runs/spr_popgym

RepeatPreviousEasy asks for the card of four steps ago: without memory the mean
return is -0.5, a perfect player gets 1. `:ENV_ID` chooses another game with
discrete actions. The encoder is a dense layer, the memory S5, and an LSTM
predicts the latents; the other arm has no predictions. The settings were chosen
for their size, without measured results.

    --config=configs/spr/popgym.py:RepeatPreviousEasy,tiny

is one arm with small networks and a few steps: it only checks in seconds that
everything works. Options of the game follow after commas, too:
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
    # Each arm takes time to compile.
    arms={"spr": {}} if tiny else config.arms,
  )


def _value(word):
  """Parses a number, True or False; returns other words unchanged."""
  try:
    return ast.literal_eval(word)
  except (SyntaxError, ValueError):
    return word
