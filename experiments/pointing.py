r"""Answers that are places of the inputs: hulls, tours, sorting.

    python -m experiments.pointing --config=configs/pointing/hull.py \
      --workdir=DIR
    python -m experiments.pointing --config=... --workdir=DIR --mode=evaluate

Pointer networks and networks for sets learn the exact answers of
`jaxseq.data.geometry`. The run ends with a table of the sets whose answer is
right as a whole, a second one by their size, `DIR/learning_curve.png` and
`DIR/results.json`.
"""

from jaxseq.programs import command
from jaxseq.training import app

main, __getattr__ = command.program("pointing")


if __name__ == "__main__":
  app.run_main(main)
