r"""In-context learning from data: distilled or decision-pretrained networks.

    python -m experiments.in_context --config=configs/in_context/dark_room.py \
      --workdir=DIR
    python -m experiments.in_context --config=... --workdir=DIR --mode=evaluate

The first command records learning histories of tabular Q-learning on many tasks
(`DIR/recorded.npz`) if an arm is distilled from them, and trains every arm of
the config: algorithm distillation predicts the actions of the histories,
decision pretraining those of an expert. It resumes where an earlier run
stopped, and ends with a table of trial returns on held-out tasks and of
baselines without learning, `DIR/trials.png`, `DIR/learning_curve.png`,
`DIR/results.json` and the trained networks: `DIR/ARM/policy.safetensors` for a
distilled one, which `jaxseq.rl.policies` loads, and
`DIR/ARM/network.safetensors` for a pretrained one. The second command plays the
newest checkpoints.
"""

from jaxseq.programs import command
from jaxseq.tasks import lines

main, __getattr__ = command.program(
  "in_context",
  lines.Line(
    "experiments.in_context.program", modes=("train", "evaluate"), mesh=False
  ),
)
