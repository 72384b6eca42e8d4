r"""CartPole-v1 from recorded episodes: balance as long as you are asked to.

    python -m experiments.decision --config=configs/decision/cartpole.py \
      --workdir=runs/decision_cartpole

A PPO agent is recorded before, in the middle of and after its training, 1,000
episodes in all. A return is the number of steps that the pole stood, at most
500. The arm "cloning" imitates the best tenth of the episodes and sees no
returns. `:tiny` learns nothing, and shows in seconds whether everything works.
"""

import ml_collections

from jaxseq import _validate

VARIANTS = ("full", "tiny")


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
  _validate.choice("variant", variant, VARIANTS)
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.num_seeds = 2
  config.num_updates = 2000
  config.updates_per_chunk = 100
  config.chunks_per_evaluation = 5
  config.batch_size = 64
  config.episodes = 1000
  config.context = 20
  config.targets = (20.0, 100.0, 200.0, 350.0, 500.0)
  config.ppo = {
    "env_id": "CartPole-v1",
    "num_envs": 16,
    "rollout_length": 128,
    "total_steps": 300_000,
    "num_epochs": 4,
    "num_minibatches": 4,
    "learning_rate": 1e-3,
    "learning_rate_schedule": "linear",
    "gae_lambda": 0.95,
    "entropy_coef": 0.01,
    "value_coef": 0.5,
    # Values go up to 100: clipped, they would take forever to get there.
    "clip_value": False,
    "network": {
      "stack": {"d_model": 64, "num_layers": 0},
      "encoder_widths": (),
      "head_widths": (64,),
    },
  }
  config.network = {
    "stack": {
      "d_model": 64,
      "num_layers": 2,
      "prenorm": False,
      "activation": "none",
      "feedforward": "gelu",
      "dropout": 0.1,
    }
  }
  config.optimizer = {
    "learning_rate": 1e-3,
    "weight_decay": 1e-4,
    "warmup_steps": 100,
    "max_grad_norm": 0.25,
  }
  attention = {"stack": {"mixer": "attention", "mixer_options": {"window": 60}}}
  config.arms = {
    "aaren": {"network": {"stack": {"mixer": "aaren"}}},
    "attention": {"network": attention},
    "gru": {"network": {"stack": {"mixer": "gru"}}},
    "cloning": {
      "network": {"stack": {"mixer": "gru"}},
      "conditioned": False,
      "top_share": 0.1,
    },
  }
  if variant == "tiny":
    config.num_updates = 4
    config.updates_per_chunk = 2
    config.chunks_per_evaluation = 1
    config.batch_size = 4
    config.checkpoints = 2
    config.episodes = 9
    config.context = 4
    config.targets = (10.0, 20.0)
    config.evaluation_episodes = 2
    config.ppo.update(num_envs=4, rollout_length=16, total_steps=2 * 64)
    config.ppo.env_params = {"max_steps_in_episode": 20}
    config.ppo.network.head_widths = (8,)
    config.ppo.network.stack.d_model = 8
    config.network.stack.update(d_model=8, num_layers=1)
    config.optimizer.update(warmup_steps=0)
    config.arms = {
      "gru": {"network": {"stack": {"mixer": "gru"}}},
      "cloning": {
        "network": {"stack": {"mixer": "gru"}},
        "conditioned": False,
        "top_share": 0.2,
      },
    }
  return config
