r"""SPR without augmentation on a game of Atari-100k.

    python -m experiments.spr \
      --config=configs/spr/atari100k_spr_no_aug.py:pong \
      --workdir=runs/spr_no_aug_pong

The agent of arXiv:2007.05929 with dropout in the encoder and slowly updated
prediction targets, instead of augmented images; as in its code, except for the
difference in `atari100k_spr`. The package ale-py has to be installed
(`pip install 'jaxseq[atari]'`). A seed needs a GPU and hours;
`--config.num_seeds=5` trains five together. `:tiny` only checks in seconds that
everything works.
"""

from configs.spr import _shared

get_config = _shared.atari100k("spr_no_aug")
