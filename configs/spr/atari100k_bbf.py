r"""BBF, "Bigger, Better, Faster", on a game of Atari-100k.

    python -m experiments.spr --config=configs/spr/atari100k_bbf.py:pong \
      --workdir=runs/bbf_pong

The agent of arXiv:2305.19452 with 2 updates a step, as in its published
settings. The paper's main results are those of 8 updates, with resets every
5,000 steps, after the same number of updates:

    --config.settings.agent.updates_per_step=8
    --config.settings.agent.resets.every=5000

The package ale-py has to be installed (`pip install 'jaxseq[atari]'`). A seed
needs a GPU and hours; `--config.num_seeds=5` trains five together. `:tiny` only
checks in seconds that everything works.
"""

from configs.spr import _shared

get_config = _shared.atari100k("bbf")
