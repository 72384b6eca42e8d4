r"""Group-based policy gradients (GRPO) on answers that a program checks.

    python -m experiments.group_policy --config=configs/group_policy/sums.py \
      --workdir=DIR
    python -m experiments.group_policy --config=... --workdir=DIR \
      --mode=evaluate

Every arm of the config is first trained on correct answers, and then on its own
sampled ones; all its seeds are one program, which resumes where an earlier run
stopped. The run ends with a table of the shares of correct answers,
`DIR/learning_curve.png`, `DIR/results.json` and the networks
`DIR/ARM/network.safetensors`. `DIR/ARM/metrics.jsonl` reports the rewards, the
groups without a learning signal, and the largest difference between the
log-probabilities of sampling and of training. With `--config.base`, a network
of an earlier run, arms train adapters of it (`DIR/ARM/adapter`), or all of it.
"""

from jaxseq.programs import command
from jaxseq.tasks import lines

main, __getattr__ = command.program(
  "group_policy",
  lines.Line(
    "experiments.group_policy.checked_answers", modes=("train", "evaluate")
  ),
)
