r"""Segmentation of documents: at which paragraphs sections begin.

    python -m experiments.segmentation --workdir=DIR \
      --config=configs/segmentation/kjv.py
    python -m experiments.segmentation --workdir=DIR --mode=evaluate \
      --config=configs/segmentation/kjv.py
    python -m experiments.segmentation --workdir=DIR --mode=predict \
      --arm=NAME --data=new.txt --output=sections.csv

The first command trains every arm of the config, which reads a document in one
pass or pairs of its paragraphs, and resumes where an earlier run stopped. It
ends with a table of P_k, beside cuts that need no training,
`DIR/learning_curve.png`, `DIR/results.json` and the trained model of each arm,
`DIR/ARM/model.safetensors`. The third writes the section of each paragraph, one
a line, of a file.
"""

from jaxseq.programs import command
from jaxseq.training import app

main, __getattr__ = command.program("segmentation")


if __name__ == "__main__":
  app.run_main(main)
