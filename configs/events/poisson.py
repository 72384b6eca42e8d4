r"""A Poisson process whose rate swings: 1 + 0.8 sin(2 pi t / 10).

    python -m experiments.events --config=configs/events/poisson.py \
      --workdir=runs/poisson

Nothing but the time tells of the next event. As in `hawkes.py`, the process
itself is the line to reach. `:tiny` learns nothing, and shows in seconds
whether everything works.
"""

from configs.events import hawkes

# Only this one depends on the time since the start of a sequence.
get_config = hawkes.of_process("poisson", time_frequencies=8)
