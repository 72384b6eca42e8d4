r"""PPO with its defaults, on an environment of your choice.

    python -m experiments.icrl --workdir=DIR \
      --config=configs/icrl/own_environment.py:CartPole-v1

After the colon is an id for `jaxseq.rl.envs.make`, such as one of gymnax. The
defaults take a million steps: about two minutes of a core if the environment is
cheap. `--config.agent.total_steps=20_000` is enough to check that everything
works.
"""

from jaxseq.rl import rl_arms


def get_config(env_id: str = "RepeatPreviousEasy") -> rl_arms.Config:
  """Returns the comparison, with a single arm."""
  return rl_arms.Config(
    updates_per_chunk=10,
    chunks_per_checkpoint=5,
    agent={"env_id": env_id},
    agent_defaults="general",
    arms={"ppo": {}},
  )
