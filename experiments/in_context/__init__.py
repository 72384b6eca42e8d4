r"""Networks that learn in context, from data: distilled or pretrained.

    python -m experiments.in_context --config=configs/in_context/dark_room.py \
      --workdir=DIR
    python -m experiments.in_context --config=... --workdir=DIR --mode=evaluate

The first command records learning histories of tabular Q-learning on many
tasks (`DIR/recorded.npz`) if an arm is to be distilled from them, and trains
every arm of the config: algorithm distillation predicts the actions of the
histories, decision pretraining those of an expert. It resumes where an earlier
run stopped, and ends with a table of the returns of trials at tasks that are
held out, beside what needs no learning, `DIR/trials.png`,
`DIR/learning_curve.png`, `DIR/results.json` and the trained networks:
`DIR/ARM/policy.safetensors` of a distilled one, which `jaxseq.rl.policies`
loads, and `DIR/ARM/network.safetensors` of a pretrained one. The second command
plays the newest checkpoints.
"""

from jaxseq.programs import command
from jaxseq.tasks import lines

main, __getattr__ = command.program(
  "in_context",
  lines.Line(
    "experiments.in_context.program", modes=("train", "evaluate"), mesh=False
  ),
)
