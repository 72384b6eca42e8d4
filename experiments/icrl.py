"""In-context reinforcement learning: recurrent policies on memory tasks.

    python -m experiments.icrl --config=configs/icrl/quickstart.py --workdir=DIR
    python -m experiments.icrl --config=... --workdir=DIR --mode=evaluate

The first command trains every arm of the config (one kind of memory each), with
all seeds of an arm as one program, and resumes where an earlier run stopped. It
ends with a table, `DIR/learning_curve.png` and `DIR/results.json`; each arm has
`metrics.jsonl` and `checkpoints/` in `DIR/ARM`. If episodes consist of trials,
`DIR/trials.png` shows the return of each trial, and `DIR/episode_ARM.gif` is an
episode to watch. The second command restores the trained policies, plays new
episodes and shows one of them step by step.

With `--mesh=data=N`, N devices share the environments of PPO (docs/devices.md).
"""

from jaxseq.programs import command
from jaxseq.training import app

main, __getattr__ = command.program("icrl")


if __name__ == "__main__":
  app.run_main(main)
