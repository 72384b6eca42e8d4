"""Self-predictive representations: data-efficient Q-learning from images.

Schwarzer et al., "Data-Efficient Reinforcement Learning with Self-Predictive
Representations", arXiv:2007.05929, its Rainbow base, and what grew out of it
(SR-SPR, BBF). Everything is a pure function of arrays: `encoders`,
`transition` and `heads` are the networks, which `networks` puts together;
`augmentation` and `losses` are what they are trained with; `update` is one
step of the optimiser, `resets` what happens between them, and `variants` names
the configurations of the published agents.

Images are (height, width, channels); the stacked frames are the channels,
oldest first.
"""
