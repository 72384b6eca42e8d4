r"""Atari-100k: all agents of a config on many games, and published agents.

    python -m experiments.atari100k_suite \
      --config=configs/atari100k_suite/atari100k.py --workdir=DIR
    python -m experiments.atari100k_suite --config=... --workdir=DIR \
      --mode=evaluate

Each game is a run of `experiments.spr` in the sub-directory of its name;
finished runs are not repeated, and games may be added later. The suite ends
with tables of scores and of human-normalized aggregates with bootstrap
intervals for every agent, and the plots of `experiments.atari100k_suite.scores`
in `DIR/summary/AGENT`; for several agents, with the pairwise probabilities of
improvement in `DIR/summary`; and with `DIR/results.json`. The second command
plays new games with the newest checkpoints, and writes to `DIR/evaluation`.
"""

from jaxseq.programs import command
from jaxseq.tasks import lines

main, __getattr__ = command.program(
  "atari100k_suite",
  lines.Line(
    "experiments.atari100k_suite.program",
    modes=("train", "evaluate"),
    mesh=False,
  ),
)
