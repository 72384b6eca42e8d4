r"""A self-correcting process: events hold further events back.

    python -m experiments.events --config=configs/events/self_correcting.py \
      --workdir=runs/self_correcting

The intensity is exp(t / 2 - N / 5) after N events, which come rather evenly. As
in `hawkes.py`, the process itself is the line to reach. `:tiny` learns nothing,
and shows in seconds whether everything works.
"""

from configs.events import hawkes

get_config = hawkes.of_process("self_correcting")
