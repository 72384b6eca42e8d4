"""Self-predictive representations: data-efficient Q-learning from images.

Schwarzer et al., "Data-Efficient Reinforcement Learning with Self-Predictive
Representations", arXiv:2007.05929, its Rainbow base, and what grew out of it
(SR-SPR, BBF). Almost everything is a pure function of arrays.

`agent_networks` puts the networks of an agent together, `update` does one
update of them, `agent` acts, stores and learns in its environment, and `runner`
takes many steps of that; `settings` goes from a config file to all of it.
Encoders, layers, losses and replays are those of `jaxseq.rl`.

Images are (height, width, channels); the stacked frames are the channels,
oldest first.
"""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.spr import agent as agent
  from jaxseq.spr import agent_networks as agent_networks
  from jaxseq.spr import augmentation as augmentation
  from jaxseq.spr import conv_transition as conv_transition
  from jaxseq.spr import full_games as full_games
  from jaxseq.spr import game as game
  from jaxseq.spr import gifs as gifs
  from jaxseq.spr import learner as learner
  from jaxseq.spr import mixer_transition as mixer_transition
  from jaxseq.spr import optimizer as optimizer
  from jaxseq.spr import q_heads as q_heads
  from jaxseq.spr import resets as resets
  from jaxseq.spr import runner as runner
  from jaxseq.spr import settings as settings
  from jaxseq.spr import spr_arms as spr_arms
  from jaxseq.spr import stacks as stacks
  from jaxseq.spr import update as update
  from jaxseq.spr import variants as variants
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
