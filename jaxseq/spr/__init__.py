"""Self-predictive representations: data-efficient Q-learning from images.

Schwarzer et al., "Data-Efficient Reinforcement Learning with Self-Predictive
Representations", arXiv:2007.05929, its Rainbow base, and what grew out of it
(SR-SPR, BBF). Almost everything is a pure function of arrays.

The networks and what they learn by:

    encoders      from images to latents
    transition    from a latent and an action to the next latent
    heads         from a latent to the values of actions; noise; projection
    networks      these three together
    layers        convolutions and dense layers
    inputs        a batch, and what is random about an update
    augmentation  random shifts and intensities
    losses        targets and losses
    optimizer     Adam, and gradients clipped in groups
    update        one update of it all
    resets        of the weights; what is annealed between them
    variants      the published agents

The agent in its environment:

    environments  what a game has to offer
    minatar       MinAtar's games, on the device
    atari         Atari's games, on the host
    replay        what was seen
    priorities    how it is drawn
    agent         acts, stores and learns
    runner        many steps of it, compiled
    evaluate      whole games
    pictures      of them
    settings      from a config file to a game and an agent
    study         the arms of an experiment
    published     scores of other agents
    scores        human-normalised scores

Images are (height, width, channels); the stacked frames are the channels,
oldest first.
"""
