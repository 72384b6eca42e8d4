r"""SPR with mixers: as a memory, as the model of latents, and without.

    python -m experiments.spr --config=configs/spr/minatar_memory.py \
      --workdir=runs/spr_memory

The game and the agent of `minatar_quick` (`:GAME` and `:tiny` as there, the
latter without the first of these), three times: as it is; with an LSTM between
encoder and head, which learns from replayed sequences; and with an LSTM in
place of the convolutions that predict latents. In the arms any mixer may stand
for it. MinAtar's frames show all that matters in most games, so that a memory
has little to gain here.

    --config=configs/spr/minatar_memory.py:hybrid

has layers of S5 and of attention in turn, with feed-forward halves, in
bfloat16, in place of the LSTMs; `:hybrid_tiny` is that with a few steps.
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
  """Returns the arms with a stack as memory and as model of latents."""
  singles = {"batch_size": 4 if tiny else 32}
  # Sequences of 8 in place of single steps: fewer of them make a batch.
  length, burn_in = (2, 3) if tiny else (8, 8)
  sequence = {"length": length, "burn_in": burn_in}
  arms = {
    "spr": singles,
    "memory": {"memory": {"stack": stack}},
    "mixer_transition": {**singles, "transition": {"stack": stack}},
  }
  if tiny:
    # The agent of `minatar_quick`, which takes as long to compile as any other.
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
