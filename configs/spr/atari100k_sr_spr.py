r"""SR-SPR, SPR with resets and more updates, on a game of Atari-100k.

    python -m experiments.spr --config=configs/spr/atari100k_sr_spr.py:pong \
      --workdir=runs/sr_spr_pong

The agent of D'Oro et al., ICLR 2023, with 8 updates a step. The package ale-py
has to be installed (`pip install 'jaxseq[atari]'`). A seed needs a GPU and
hours; `--config.num_seeds=5` trains five together. `:tiny` only checks in
seconds that everything works.
"""

from configs.spr import _shared

get_config = _shared.atari100k("sr_spr")
