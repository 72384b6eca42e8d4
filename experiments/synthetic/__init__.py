r"""Synthetic tasks with unlimited samples, which show the limits of mixers.

    python -m experiments.synthetic \
      --config=configs/synthetic/selective_copying.py --workdir=DIR
    python -m experiments.synthetic --config=... --workdir=DIR --mode=evaluate

Copying, induction heads, associative recall, formal languages, words in a
group: `jaxseq.data.tokens.TASKS` lists the tasks. Every arm of the config (one
mixer each, which reads a sequence once, twice or as a prefix) is trained with
all its seeds as one program, and resumes where an earlier run stopped. The run
ends with a table, which includes the size of a sequence's state,
`DIR/learning_curve.png` and `DIR/results.json`; with `test_options` in the
config, also with the accuracies under other options, such as longer sequences
than in training. For tasks on tokens the trained models are
`DIR/ARM/model.safetensors`; for tasks on signals, and for arms that do not read
once, the networks are `DIR/ARM/network.safetensors`.
"""

from jaxseq.programs import command
from jaxseq.tasks import lines

main, __getattr__ = command.program(
  "synthetic",
  lines.Line("experiments.synthetic.program", modes=("train", "evaluate")),
)
