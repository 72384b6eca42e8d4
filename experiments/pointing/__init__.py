r"""Answers that are positions of the inputs: hulls, tours, sorting.

    python -m experiments.pointing --config=configs/pointing/hull.py \
      --workdir=DIR
    python -m experiments.pointing --config=... --workdir=DIR --mode=evaluate
    python -m experiments.pointing --workdir=DIR --mode=predict \
      --arm=NAME --data=points.csv --output=corners.csv

Pointer networks and set networks are trained on the exact answers of
`experiments.pointing.geometry`. The run ends with a table of the share of
completely solved sets, a second one by set size, `DIR/learning_curve.png`,
`DIR/results.json`, and the trained model of each arm,
`DIR/ARM/model.safetensors`. `import experiments.pointing` makes the kinds of
these models known to `jaxseq.load`.
"""

from jaxseq.models import kinds
from jaxseq.programs import command
from jaxseq.tasks import lines

kinds.KINDS.register("pointing", "experiments.pointing.answers:ORDERED")
kinds.KINDS.register("set_pointing", "experiments.pointing.answers:SETS")
main, __getattr__ = command.program(
  "pointing", lines.Line("experiments.pointing.program")
)
