r"""DrQ(eps) on a game of Atari-100k.

    python -m experiments.spr --config=configs/spr/atari100k_drq.py:pong \
      --workdir=runs/drq_pong

The agent of arXiv:2004.13649 with the exploration of arXiv:2108.13264 and the
settings of Dopamine: augmented images, without noisy layers or distributional
values. The package ale-py has to be installed (`pip install 'jaxseq[atari]'`).
A seed needs a GPU and hours; `--config.num_seeds=5` trains five together.
`:tiny` only checks in seconds that everything works.
"""

from configs.spr import _shared

get_config = _shared.atari100k("drq")
