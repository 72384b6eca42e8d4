r"""Data-efficient Rainbow on a game of Atari-100k.

    python -m experiments.spr --config=configs/spr/atari100k_der.py:pong \
      --workdir=runs/der_pong

The agent of arXiv:1906.05243 with the settings of Dopamine. The package ale-py
has to be installed (`pip install 'jaxseq[atari]'`). A seed needs a GPU and
hours; `--config.num_seeds=5` trains five together. `:tiny` only checks in
seconds that everything works.
"""

from configs.spr import _shared

get_config = _shared.atari100k("der")
