r"""A renewal process: gaps of a gamma distribution with shape 3.

    python -m experiments.events --config=configs/events/renewal.py \
      --workdir=runs/renewal

The past tells nothing beyond the time of the last event. As in `hawkes.py`, the
process itself is the line to reach. `:tiny` learns nothing, and shows in
seconds whether everything works.
"""

from configs.events import hawkes

get_config = hawkes.of_process("renewal")
