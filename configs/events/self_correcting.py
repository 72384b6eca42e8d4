r"""A self-correcting process: events inhibit further events.

    python -m experiments.events --config=configs/events/self_correcting.py \
      --workdir=runs/self_correcting

The intensity is exp(t / 2 - N / 5) after N events, which are rather evenly
spaced. As in `hawkes.py`, the likelihood of the process is the bound. `:tiny`
only checks in seconds that everything works.
"""

from configs.events import hawkes

get_config = hawkes.of_process("self_correcting")
