"""Self-predictive representations: data-efficient Q-learning from images.

Schwarzer et al., "Data-Efficient Reinforcement Learning with Self-Predictive
Representations", arXiv:2007.05929, its Rainbow base, and what grew out of it
(SR-SPR, BBF). Almost everything is a pure function of arrays.

The networks and what they learn by (encoders and layers are in `jaxseq.rl`,
losses and replays in `jaxseq.rl.losses` and `jaxseq.rl.replay`):

    conv_transition   the next latent from one and an action, by convolutions
    mixer_transition  the same by any mixer
    latent_memory     any mixer between encoder and head
    stacks            of layers with a mixer, for these two
    heads             from a latent to the values of actions; noise; projection
    agent_networks    these together
    inputs            random draws and augmented images of an update
    augmentation      random shifts and intensities
    objective         value and self-prediction losses per step
    optimizer         Adam, and gradients clipped in groups
    learner           parameters and their copies, and how a gradient moves them
    transition_loss   the loss of transitions on their own
    sequence_loss     the loss of sequences, for an agent with a memory
    update            one update of it all
    resets            of the weights; n-step returns annealed between them
    variants          the published agents

The agent in its environment:

    game              an environment as the agent plays it, frame by frame
    agent             acts, stores and learns
    runner            many steps of it, compiled
    evaluate          whole games
    pictures          of them
    settings          from a config file to a game and an agent
    spr_arms          the arms of an experiment
    published         scores of other agents
    scores            human-normalized scores
    score_comparison  of several agents
    score_figures     drawings of them

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
  from jaxseq.spr import evaluate as evaluate
  from jaxseq.spr import game as game
  from jaxseq.spr import heads as heads
  from jaxseq.spr import inputs as inputs
  from jaxseq.spr import latent_memory as latent_memory
  from jaxseq.spr import learner as learner
  from jaxseq.spr import mixer_transition as mixer_transition
  from jaxseq.spr import objective as objective
  from jaxseq.spr import optimizer as optimizer
  from jaxseq.spr import pictures as pictures
  from jaxseq.spr import published as published
  from jaxseq.spr import resets as resets
  from jaxseq.spr import runner as runner
  from jaxseq.spr import score_comparison as score_comparison
  from jaxseq.spr import score_figures as score_figures
  from jaxseq.spr import scores as scores
  from jaxseq.spr import sequence_loss as sequence_loss
  from jaxseq.spr import settings as settings
  from jaxseq.spr import spr_arms as spr_arms
  from jaxseq.spr import stacks as stacks
  from jaxseq.spr import transition_loss as transition_loss
  from jaxseq.spr import update as update
  from jaxseq.spr import variants as variants
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
