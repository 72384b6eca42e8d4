r"""Segmentation of documents into sections of paragraphs.

    python -m experiments.segmentation --workdir=DIR \
      --config=configs/segmentation/kjv.py
    python -m experiments.segmentation --workdir=DIR --mode=evaluate \
      --config=configs/segmentation/kjv.py
    python -m experiments.segmentation --workdir=DIR --mode=predict \
      --arm=NAME --data=new.txt --output=sections.csv

The first command trains every arm of the config, which reads a document in one
pass or as pairs of its paragraphs, and resumes where an earlier run stopped. It
ends with a table of P_k, including baselines without training,
`DIR/learning_curve.png`, `DIR/results.json` and the trained model of each arm,
`DIR/ARM/model.safetensors`. The third command writes the section of each
paragraph of a file, one per line.
"""

from jaxseq.programs import command
from jaxseq.training import app

main, __getattr__ = command.program("segmentation")


if __name__ == "__main__":
  app.run_main(main)
