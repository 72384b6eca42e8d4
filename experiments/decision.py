r"""Offline reinforcement learning from recorded episodes, with any mixer.

    python -m experiments.decision --config=configs/decision/cartpole.py \
      --workdir=DIR
    python -m experiments.decision --config=... --workdir=DIR --mode=evaluate

The first command trains PPO and records episodes at three levels of skill
(`DIR/recorded.npz`); then it trains every arm of the config on them, each a
Decision Transformer with one mixer, with all seeds of an arm as one program. It
resumes where an earlier run stopped, and ends with a table,
`DIR/learning_curve.png`, `DIR/returns.png` (achieved over requested returns),
`DIR/results.json` and the trained networks, `DIR/ARM/player.safetensors`, which
`jaxseq.rl.conditioned_players` loads and plays. The second command plays the
newest checkpoints.
"""

from jaxseq.programs import command
from jaxseq.training import app

main, __getattr__ = command.program("decision")


if __name__ == "__main__":
  app.run_main(main)
