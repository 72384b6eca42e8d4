r"""Prediction of the next activity in event logs, with any mixer.

    python -m experiments.next_element --config=configs/next_element/logs.py \
      --workdir=DIR --config.data_options.path=receipt.csv
    python -m experiments.next_element --config=... --workdir=DIR \
      --mode=evaluate
    python -m experiments.next_element --workdir=DIR --mode=predict --arm=gru \
      --data=open.csv --output=next.csv

The first command trains every arm of the config (one mixer each), with all
seeds of an arm as one program, and resumes where an earlier run stopped. It
ends with a table of the networks and of counting baselines,
`DIR/learning_curve.png`, `DIR/results.json` and the model of each arm,
`DIR/ARM/model.safetensors`. The second command evaluates the newest
checkpoints; the third predicts the next activity of each case of another file.
"""

from jaxseq.programs import command
from jaxseq.training import app

main, __getattr__ = command.program("next_element")


if __name__ == "__main__":
  app.run_main(main)
