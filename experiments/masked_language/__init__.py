r"""Masked language models with any mixer, and tasks on top of them.

    python -m experiments.masked_language --workdir=DIR \
      --config=configs/masked_language/text.py
    python -m experiments.masked_language --workdir=DIR --mode=predict \
      --arm=NAME --data=new.txt --output=filled.csv
    python -m experiments.masked_language --workdir=PAIRS \
      --config=configs/masked_language/rna.py:pairs \
      --config.arms.pretrained.encoder=DIR/NAME/model.safetensors

The first command trains every arm of the config (one bidirectional network
each), with all seeds of an arm as one program, and resumes where an earlier run
stopped. It ends with a table, `DIR/learning_curve.png`, `DIR/results.json` and
the trained model of each arm, `DIR/ARM/model.safetensors`. The second command
fills in <mask> in a file; for sequences without it, it writes embeddings. The
third trains a model of a structure's pairs from such a model.

`import experiments.masked_language` makes the data sets "rna" and "grammar"
known to `jaxseq.data`, and the models of pairs to `jaxseq.load`.
"""

from jaxseq.data import registry
from jaxseq.models import kinds
from jaxseq.programs import command
from jaxseq.tasks import lines

registry.register("grammar", "experiments.masked_language.grammar:load")
registry.register("rna", "experiments.masked_language.rna:load")
kinds.KINDS.register("pairs", "experiments.masked_language.pairs:TASK")
main, __getattr__ = command.program(
  "masked_language", lines.Line("experiments.masked_language.program")
)
