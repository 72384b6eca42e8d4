r"""In-context RL over many environments: every arm on each of them.

    python -m experiments.icrl_suite --config=configs/icrl_suite/popgym.py \
      --workdir=DIR
    python -m experiments.icrl_suite --config=... --workdir=DIR --mode=evaluate

Each environment is a run of `experiments.icrl` in its own sub-directory, and
finished runs are not repeated. The suite ends with tables of evaluation and
training returns, speeds, returns at equal seconds, and aggregates with
bootstrap intervals; with `DIR/learning_curves.png`, `DIR/aggregates.png` and
`DIR/results.json`. For each arm in the config's `films`, an episode of each
environment is drawn as `DIR/ENVIRONMENT/episode_ARM.gif`. The second command
plays new episodes with the newest checkpoints.
"""

from jaxseq.programs import command
from jaxseq.training import app

main, __getattr__ = command.program("icrl_suite")


if __name__ == "__main__":
  app.run_main(main)
