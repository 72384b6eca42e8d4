r"""SPR with mixers as memory, as model of latents, and without mixers.

    python -m experiments.spr --config=configs/spr/minatar_memory.py \
      --workdir=runs/spr_memory

The game and the agent of `minatar_quick` (`:GAME` and `:tiny` as there, the
latter without the first arm), in three arms: unchanged; with an LSTM between
encoder and head, trained on replayed sequences; and with an LSTM instead of the
convolutions that predict latents. Any mixer can replace the LSTM. MinAtar's
frames show the whole state in most games, so that a memory has little to gain
here.

    --config=configs/spr/minatar_memory.py:hybrid

has alternating layers of S5 and attention, with feed-forward halves, in
bfloat16, instead of the LSTMs; `:hybrid_tiny` is the same with a few steps.
"""

from configs import blocks
from configs import variants
from configs.spr import minatar_quick
from jaxseq.spr import spr_arms
from jaxseq.training import configuration

LSTM = {"mixer": "lstm", "mixer_options": {}, "d_model": 64}
HYBRID = blocks.hybrid(64, window=16)


def _of(
  config: spr_arms.Config, stack: dict[str, object], tiny: bool = False
) -> spr_arms.Config:
  """Returns arms with a stack as memory and as model of latents."""
  singles = {"batch_size": 4 if tiny else 32}
  # Batches have fewer sequences of 8 than single steps.
  length, burn_in = (2, 3) if tiny else (8, 8)
  sequence = {"length": length, "burn_in": burn_in}
  arms = {
    "spr": singles,
    "memory": {"memory": {"stack": stack}},
    "mixer_transition": {**singles, "transition": {"stack": stack}},
  }
  if tiny:
    # The agent of `minatar_quick`, left out to save compilation.
    del arms["spr"]
  return configuration.updated(
    config,
    settings={
      "learning": {"sequence": sequence},
      "batch_size": 2 if tiny else 8,
    },
    arms=arms,
  )


get_config = variants.Variants(
  **{game: _of(minatar_quick.on(game), LSTM) for game in minatar_quick.GAMES},
  tiny=_of(minatar_quick.TINY, {**LSTM, "d_model": 4}, tiny=True),
  hybrid=_of(minatar_quick.BREAKOUT, HYBRID),
  hybrid_tiny=_of(minatar_quick.TINY, {**HYBRID, "d_model": 8}, tiny=True),
)
