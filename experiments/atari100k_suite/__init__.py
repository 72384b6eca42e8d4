r"""Atari-100k: every agent of a config on many games, beside published ones.

    python -m experiments.atari100k_suite \
      --config=configs/atari100k_suite/atari100k.py --workdir=DIR
    python -m experiments.atari100k_suite --config=... --workdir=DIR \
      --mode=evaluate

Each game is a run of `experiments.spr` in the sub-directory of its name, and
what is finished is not done again; games may be added later. For every agent
the suite ends with a table of scores, one of human-normalized aggregates with
bootstrap intervals, and the pictures of `experiments.atari100k_suite.scores` in
`DIR/summary/AGENT`; if there are several, with how probably each beats each
other one, in `DIR/summary`; and with `DIR/results.json`. The second command
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
