r"""SPR with augmentation on a game of Atari-100k.

    python -m experiments.spr --config=configs/spr/atari100k_spr.py:pong \
      --workdir=runs/spr_pong

The agent of arXiv:2007.05929 as in its code, except for that code's mistake in
the n-step targets (`--config.settings.learning.done_n=first` restores it). The
package ale-py has to be installed (`pip install 'jaxseq[atari]'`). A seed needs
a GPU and hours; `--config.num_seeds=5` trains five together. `:tiny` only
checks in seconds that everything works.
"""

from configs.spr import _shared

get_config = _shared.atari100k("spr")
