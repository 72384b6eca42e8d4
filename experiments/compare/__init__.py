r"""All mixers on one task, with equally many parameters.

    python -m experiments.compare --config=configs/compare/mnist1d.py \
      --workdir=DIR
    python -m experiments.compare --config=... --workdir=DIR --mode=evaluate
    python -m experiments.compare --workdir=DIR --mode=predict \
      --arm=NAME --data=new.csv --output=predictions.csv

Each arm of the config is a mixer, with the width whose network is closest to
`budget` parameters. All seeds of an arm are trained as one program, and a run
resumes where an earlier one stopped. It ends with a table that includes
training speed and the size of each mixer's recurrent state,
`DIR/learning_curve.png`, `DIR/results.json` and each arm's trained model,
`DIR/ARM/model.safetensors`, which the third command uses.
"""

from jaxseq.programs import command
from jaxseq.tasks import lines

main, __getattr__ = command.program(
  "compare", lines.Line("experiments.compare.program")
)
