r"""Data-efficient Rainbow as in its paper, on a game of Atari-100k.

    python -m experiments.spr --config=configs/spr/atari100k_der_paper.py:pong \
      --workdir=runs/der_paper_pong

The agent of arXiv:1906.05243 with the paper's own encoder, two convolutions of
5x5, and the settings of its table: the published scores of "DER" are those of
this agent. `atari100k_der` has Dopamine's larger encoder. The package ale-py
has to be installed (`pip install 'jaxseq[atari]'`). `:tiny` only checks in
seconds that everything works.
"""

from configs.spr import _shared

get_config = _shared.atari100k("der_paper")
