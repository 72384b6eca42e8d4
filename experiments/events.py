r"""Prediction of events in continuous time, with any mixer.

    python -m experiments.events --config=configs/events/hawkes.py --workdir=DIR
    python -m experiments.events --config=... --workdir=DIR --mode=evaluate
    python -m experiments.events --workdir=DIR --mode=predict \
      --arm=NAME --data=new.csv --output=predictions.csv

The first command trains every arm of the config (one mixer each), with all
seeds of an arm as one program, and resumes where an earlier run stopped. It
ends with a table, `DIR/learning_curve.png`, `DIR/results.json` and the trained
model of each arm, `DIR/ARM/model.safetensors`. The second command evaluates the
newest checkpoints, the third predicts the next events of a file. If the
sequences were simulated, the likelihood of the true process is the upper bound:
no model can do better on average.
"""

from jaxseq.programs import command
from jaxseq.training import app

main, __getattr__ = command.program("events")


if __name__ == "__main__":
  app.run_main(main)
