"""Self-predictive representations: data-efficient Q-learning from images.

Schwarzer et al., "Data-Efficient Reinforcement Learning with Self-Predictive
Representations", arXiv:2007.05929, its Rainbow base, and what grew out of it
(SR-SPR, BBF). Almost everything is a pure function of arrays.

The networks and what they learn by:

    encoders          from images to latents
    transition        the next latent from one and an action, by convolutions
    mixer_transition  the same by any mixer
    memory            any mixer between encoder and head
    stacks            of layers with a mixer, for these two
    heads             from a latent to the values of actions; noise; projection
    networks          these together
    layers            convolutions and dense layers
    inputs            a batch, and what is random about an update
    augmentation      random shifts and intensities
    losses            targets and losses
    objective         what each step is worth, by these
    optimizer         Adam, and gradients clipped in groups
    update            one update of it all
    sequences         what an agent with a memory learns from
    sequence_update   one update of such an agent
    resets            of the weights; what is annealed between them
    variants          the published agents

The agent in its environment:

    environments      what a game has to offer
    minatar           MinAtar's games, on the device
    atari             Atari's games, on the host
    replay            what was seen
    sequence_replay   sequences of it, and stored memories
    priorities        how it is drawn
    agent             acts, stores and learns
    runner            many steps of it, compiled
    evaluate          whole games
    pictures          of them
    settings          from a config file to a game and an agent
    study             the arms of an experiment
    published         scores of other agents
    scores            human-normalised scores
    score_comparison  of several agents
    score_figures     drawings of them

Images are (height, width, channels); the stacked frames are the channels,
oldest first.
"""
