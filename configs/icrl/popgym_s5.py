r"""S5 at the size and budget of the paper, on any available POPGym game.

    python -m experiments.icrl \
      --config=configs/icrl/popgym_s5.py:RepeatPreviousHard --workdir=DIR

The hyper-parameters are those of the code of Lu et al., "Structured State Space
Models for In-Context Reinforcement Learning", arXiv:2303.03982: four layers of
width 256 and 15 million environment steps; truncation by the time limit counts
as termination. It is meant for a GPU: on one CPU core a run would take more
than a day. We have not run it to its end, so no result is given.
"""

from jaxseq.rl import rl_arms

S5 = {
  "mixer": "s5",
  "mixer_options": {"ssm_size": 256, "blocks": 1, "c_init": "lecun_normal"},
  "d_model": 256,
  "num_layers": 4,
}


def get_config(env_id: str = "RepeatPreviousEasy") -> rl_arms.Config:
  return rl_arms.Config(
    seed=42,
    num_seeds=1,
    updates_per_chunk=1,
    chunks_per_checkpoint=10,
    agent={
      "env_id": env_id,
      "normalize_observation": False,
      "num_envs": 64,
      "rollout_length": 1024,
      "total_steps": 15_000_000,
      "num_epochs": 30,
      "num_minibatches": 8,
      "learning_rate": 5e-5,
      "gamma": 0.99,
      "gae_lambda": 1.0,
      "clip": 0.2,
      "entropy_coef": 0.0,
      "value_coef": 1.0,
      "max_grad_norm": 0.5,
      "bootstrap_truncated": False,
    },
    arms={"s5": {"network": {"stack": S5}}},
  )
