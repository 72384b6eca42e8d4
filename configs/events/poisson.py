r"""A Poisson process with a periodic rate: 1 + 0.8 sin(2 pi t / 10).

    python -m experiments.events --config=configs/events/poisson.py \
      --workdir=runs/poisson

The next event depends only on the time. As in `hawkes.py`, the likelihood of
the process is the bound. `:tiny` only checks in seconds that everything works.
"""

from configs.events import hawkes

# Only this process depends on the time since the start of a sequence.
get_config = hawkes.of_process("poisson", time_frequencies=8)
