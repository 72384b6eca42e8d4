r"""Prediction of the next activity in event logs, with any mixer.

    python -m experiments.next_element --config=configs/next_element/logs.py \
      --workdir=DIR --config.data_options.path=receipt.csv
    python -m experiments.next_element --config=... --workdir=DIR \
      --mode=evaluate

The first command trains every arm of the config (one mixer each), all seeds of
an arm as one program, and resumes where an earlier run stopped. It ends with a
table, in which models that count stand beside the networks,
`DIR/learning_curve.png`, `DIR/results.json` and the network of each arm,
`DIR/ARM/network.safetensors`. The second command evaluates the newest
checkpoints.
"""

from jaxseq.programs import command
from jaxseq.training import app

main, __getattr__ = command.program("next_element")


if __name__ == "__main__":
  app.run_main(main)
