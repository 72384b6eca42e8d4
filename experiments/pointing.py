r"""Answers that are positions of the inputs: hulls, tours, sorting.

    python -m experiments.pointing --config=configs/pointing/hull.py \
      --workdir=DIR
    python -m experiments.pointing --config=... --workdir=DIR --mode=evaluate

Pointer networks and set networks are trained on the exact answers of
`jaxseq.data.geometry`. The run ends with a table of the share of completely
solved sets, a second one by set size, `DIR/learning_curve.png` and
`DIR/results.json`.
"""

from jaxseq.programs import command
from jaxseq.training import app

main, __getattr__ = command.program("pointing")


if __name__ == "__main__":
  app.run_main(main)
