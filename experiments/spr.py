"""Self-predictive reinforcement learning on few steps, mostly from images.

    python -m experiments.spr --config=configs/spr/minatar_quick.py \
      --workdir=DIR
    python -m experiments.spr --config=... --workdir=DIR --mode=evaluate

The first command trains every arm of the config (one agent each), and resumes
where an earlier run stopped. It ends with whole games of every policy, a table,
`DIR/learning_curve.png` and `DIR/results.json`; each arm has `metrics.jsonl`,
`checkpoints/` and `game.gif`, a game of its first seed, in `DIR/ARM`. The
second command restores the trained policies and plays new games.
"""

from jaxseq.programs import command
from jaxseq.training import app

main, __getattr__ = command.program("spr")


if __name__ == "__main__":
  app.run_main(main)
