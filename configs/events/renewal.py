r"""A renewal process: gaps of a gamma distribution with shape 3.

    python -m experiments.events --config=configs/events/renewal.py \
      --workdir=runs/renewal

The next event depends only on the time of the last event. As in `hawkes.py`,
the likelihood of the process is the bound. `:tiny` only checks in seconds that
everything works.
"""

from configs.events import hawkes

get_config = hawkes.of_process("renewal")
