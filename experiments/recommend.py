r"""Recommendation of the next item, with any mixer.

    python -m experiments.recommend --config=configs/recommend/quickstart.py \
      --workdir=DIR
    python -m experiments.recommend --config=... --workdir=DIR --mode=evaluate
    python -m experiments.recommend --workdir=DIR --mode=predict \
      --arm=NAME --data=new.csv --output=predictions.csv

The first command trains every arm of the config (one mixer each), with all
seeds of an arm as one program, and resumes where an earlier run stopped. It
ends with a table, `DIR/learning_curve.png`, `DIR/results.json` and the trained
model of each arm, `DIR/ARM/model.safetensors`. The second command evaluates the
newest checkpoints, the third recommends ten items to each user of a file.
"""

from jaxseq.programs import command
from jaxseq.training import app

main, __getattr__ = command.program("recommend")


if __name__ == "__main__":
  app.run_main(main)
