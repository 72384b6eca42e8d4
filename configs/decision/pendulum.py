r"""Pendulum-v1 from recorded episodes: continuous actions.

    python -m experiments.decision --config=configs/decision/pendulum.py \
      --workdir=runs/decision_pendulum

Like `cartpole.py`, with a torque as action. Episodes have 200 steps; a return
is at most 0, and about -1,200 for an untrained player. `:tiny` only checks in
seconds that everything works.
"""

from configs import variants
from configs.decision import cartpole
from jaxseq.training import configuration

AGENT = {
  "env_id": "Pendulum-v1",
  "gamma": 0.9,
  "num_envs": 32,
  "num_epochs": 10,
  "total_steps": 500_000,
  "entropy_coef": 0.0,
  "value_coef": 1.0,
}
SMALL = {"num_envs": 4, "num_epochs": 1, "total_steps": 2 * 64}
get_config = variants.Variants(
  full=configuration.updated(
    cartpole.FULL, ppo=AGENT, targets=(-1200.0, -800.0, -400.0, -150.0)
  ),
  tiny=configuration.updated(
    cartpole.TINY, ppo=AGENT | SMALL, targets=(-100.0, -10.0)
  ),
)
