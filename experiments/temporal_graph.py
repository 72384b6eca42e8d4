r"""Prediction of event destinations in a graph by node memories, any mixer.

    python -m experiments.temporal_graph --workdir=DIR \
      --config=configs/temporal_graph/quickstart.py
    python -m experiments.temporal_graph --config=... --workdir=DIR \
      --mode=evaluate

The first command trains every arm of the config, with all seeds of an arm as
one program, and resumes where an earlier run stopped, including the memories.
It ends with a table of the networks and baselines, `DIR/learning_curve.png` and
`DIR/results.json`. The second command evaluates the newest checkpoints.
"""

from jaxseq.programs import command
from jaxseq.training import app

main, __getattr__ = command.program("temporal_graph")


if __name__ == "__main__":
  app.run_main(main)
