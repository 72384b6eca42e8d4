r"""Continual learning of classes: a comparison of methods against forgetting.

    python -m experiments.continual --config=configs/continual/digits.py \
      --workdir=DIR
    python -m experiments.continual --config=... --workdir=DIR \
      --mode=evaluate

Every arm of the config is a method with its network, trained on one task after
the other, with all seeds as one program, and within the same budget of bytes
for parameters, statistics and exemplars. The run ends with a table of the
methods and of baselines without training, with `DIR/learning_curve.png`,
`DIR/results.json`, and the accuracies on each task after each,
`DIR/accuracies_class.png` (among all classes seen) and
`DIR/accuracies_task.png` (among those of the task). It resumes where an earlier
run stopped. The second command evaluates the newest checkpoints.

`import experiments.continual` makes the data set "event_origins" known to
`jaxseq.data`: event streams, and the process or the table that each is from.
"""

from jaxseq.data import registry
from jaxseq.programs import command
from jaxseq.tasks import lines

registry.register("event_origins", "experiments.continual.event_origins:load")
main, __getattr__ = command.program(
  "continual",
  lines.Line(
    "experiments.continual.program", modes=("train", "evaluate"), mesh=False
  ),
)
