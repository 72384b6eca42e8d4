r"""Classification of sequences, with any mixer.

    python -m experiments.classify --config=configs/classify/digits.py \
      --workdir=DIR
    python -m experiments.classify --config=... --workdir=DIR --mode=evaluate
    python -m experiments.classify --workdir=DIR --mode=predict \
      --arm=NAME --data=new.csv --output=predictions.csv

The first command trains every arm of the config (one mixer each), with all
seeds of an arm as one program, and resumes where an earlier run stopped. It
ends with a table, `DIR/learning_curve.png`, `DIR/results.json` and the trained
model of each arm, `DIR/ARM/model.safetensors`. The second command evaluates the
newest checkpoints, the third predicts the classes of a file. For data with
numbers instead of classes, such as the pendulum's, it is a regression. If an
example is two sequences, as in the Long Range Arena's Retrieval, the same
network encodes both, and its read-out compares them.
"""

from jaxseq.programs import command
from jaxseq.training import app

main, __getattr__ = command.program("classify")


if __name__ == "__main__":
  app.run_main(main)
