r"""Where do the events of a graph go? Memories of nodes, with any mixer.

    python -m experiments.temporal_graph --workdir=DIR \
      --config=configs/temporal_graph/quickstart.py
    python -m experiments.temporal_graph --config=... --workdir=DIR \
      --mode=evaluate

The first command trains every arm of the config, all seeds of an arm as one
program, and resumes where an earlier run stopped, the memories included. It
ends with a table, in which floors stand beside the networks,
`DIR/learning_curve.png` and `DIR/results.json`. The second command evaluates
the newest checkpoints.
"""

from jaxseq.programs import command
from jaxseq.training import app

main, __getattr__ = command.program("temporal_graph")


if __name__ == "__main__":
  app.run_main(main)
