r"""Bandits of five arms: decision pretraining on the best arm.

    python -m experiments.in_context --config=configs/in_context/bandit.py \
      --workdir=runs/bandit

A context is 200 pulls of uniformly sampled arms, and the label is the arm with
the best payout. In evaluation the 200 pulls are the network's own, in 20 trials
of 10; baselines are Thompson sampling from the prior of the payouts, UCB1 and
uniform pulls. Expected returns in pulls 1 to 10, 41 to 50 and 191 to 200, of at
most 0.67, in 2 CPU minutes: 0.19, 0.52 and 0.56; of Thompson sampling 0.17,
0.55 and 0.63. `:tiny` only checks in seconds that everything works.
"""

from configs import supervised
from configs import variants
from configs.in_context import dark_room
from experiments.in_context import context_arms
from jaxseq.training import configuration

FULL = context_arms.Config(
  env_id="MultiarmedBanditEasy",
  env_options={"num_arms": 5, "max_steps": 10},
  num_updates=1000,
  updates_per_chunk=50,
  chunks_per_evaluation=5,
  num_seeds=1,
  batch_size=64,
  context=200,
  num_trials=20,
  evaluation_tasks=500,
  network={"stack": dark_room.GRU, "head_widths": (64,)},
  optimizer=supervised.adamw(3e-3, 1e-4, warmup_steps=50),
  arms={"gru": {"method": "pretraining"}},
)
TINY = configuration.updated(
  supervised.tiny(FULL),
  network={"head_widths": (8,)},
  context=5,
  num_trials=3,
  shown=(1,),
  evaluation_tasks=2,
  arms={"gru": {"method": "pretraining"}},
)
get_config = variants.Variants(full=FULL, tiny=TINY)
