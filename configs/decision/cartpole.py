r"""CartPole-v1 from recorded episodes: balance for the requested time.

    python -m experiments.decision --config=configs/decision/cartpole.py \
      --workdir=runs/decision_cartpole

A PPO agent is recorded before, during and after its training, 1,000 episodes in
all. A return is the number of steps that the pole stood, at most 500. The arm
"cloning" imitates the best tenth of the episodes and does not read returns.
`:tiny` only checks in seconds that everything works.
"""

from configs import blocks
from configs import supervised
from configs import variants
from jaxseq.tasks import decision

STACK = {"d_model": 64, "num_layers": 2, "prenorm": False, "dropout": 0.1}
CLONING = {**blocks.bare("gru")["gru"], "conditioned": False}
FULL = decision.Config(
  num_updates=2000,
  updates_per_chunk=100,
  chunks_per_evaluation=5,
  batch_size=64,
  episodes=1000,
  context=20,
  targets=(20.0, 100.0, 200.0, 350.0, 500.0),
  ppo={
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
    # Values go up to 100: with clipping they would grow too slowly.
    "clip_value": False,
    "network": {
      "stack": {"d_model": 64, "num_layers": 0},
      "encoder_widths": (),
      "head_widths": (64,),
    },
  },
  network={"stack": {**STACK, **blocks.TRANSFORMER}},
  optimizer={
    **supervised.adamw(1e-3, 1e-4, warmup_steps=100),
    "max_grad_norm": 0.25,
  },
  arms={
    **blocks.bare("attention", mixer_options={"window": 60}),
    **blocks.bare("aaren", "gru"),
    "cloning": {**CLONING, "top_share": 0.1},
  },
)
TINY = supervised.tiny(
  FULL,
  checkpoints=2,
  episodes=9,
  context=4,
  targets=(10.0, 20.0),
  evaluation_episodes=2,
  ppo={
    "num_envs": 4,
    "rollout_length": 16,
    "total_steps": 2 * 64,
    "env_params": {"max_steps_in_episode": 20},
    "network": {"head_widths": (8,), "stack": {"d_model": 8}},
  },
  arms={**blocks.arms("gru"), "cloning": {**CLONING, "top_share": 0.2}},
)
get_config = variants.Variants(full=FULL, tiny=TINY)
