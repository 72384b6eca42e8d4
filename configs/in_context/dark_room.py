r"""A dark room: distillation of learning histories, and decision pretraining.

    python -m experiments.in_context --workdir=runs/dark_room \
      --config=configs/in_context/dark_room.py:small

Tabular Q-learning, each on one goal, is recorded from the first episode to the
last, keeping every n-th episode. The arm "gru" reads the episodes in order and
predicts each action; the control "shuffled" reads them in random order.
"pretrained" is trained on an expert's labels instead. All play trials at goals
that were in no history.

The room has 9 x 9 cells and 20 steps; 30 of 150 episodes are kept, in which
random actions give way to learned ones. `:slow` has 7 x 7 cells, 12 steps and
30 of 120 episodes for the first two arms, in 6 CPU minutes. In `:small`, with 5
x 5 cells, 8 steps and 15 of 45 episodes, and in `:corner`, with 10 x 10 cells,
100 steps and 20 of 100 episodes, the learner explores by optimism and is soon
good. `:tiny` only checks in seconds that everything works.

Expected for `:small`, of at most 6.6 at the held-out goals, in trials 1, 5, 15:
0.38, 1.09 and 2.56 (gru), 0.41, 1.55 and 2.23 (shuffled), 0.70, 2.70 and 2.39
(pretrained), in 2 CPU minutes. It does not show algorithm distillation: the
control "shuffled" equals "gru", or is better. `:slow` shows it: of at most 9.2,
in trials 1, 10, 20 and 30, for three seeds, 0.26, 0.90, 3.06 and 4.53 (gru),
0.71, 1.93, 1.91 and 2.17 (shuffled). In `:corner` the pretrained network stays
near random actions (1.5, 1.4 and 0.8 in trials 1, 5 and 20; 0.6 at random); the
other arms and the room of 9 x 9 cells have not been run to their end.
"""

from configs import supervised
from configs import variants
from experiments.in_context import context_arms
from jaxseq.training import configuration

GOALS = {
  "env_options": {"goals": "training"},
  "held_out": {"goals": "held_out"},
}
GRU = {
  "mixer": "gru",
  "d_model": 64,
  "num_layers": 1,
  "norm": "none",
  "activation": "none",
  "residual": False,
}
PRETRAINED = {"method": "pretraining", "batch_size": 64}
_ROOM = context_arms.Config(
  **GOALS,
  env_id="DarkRoomMiddle",
  num_updates=2000,
  updates_per_chunk=100,
  chunks_per_evaluation=10,
  num_seeds=1,
  batch_size=16,
  learner={"histories": 512, "episodes": 20, "every": 5, "rate": 0.9},
  context=60,
  evaluation_tasks=32,
  network={"stack": GRU, "head_widths": (64,)},
  optimizer=supervised.adamw(3e-3, 1e-4, warmup_steps=50),
  arms={
    "gru": {},
    "shuffled": {"shuffled": True},
    "pretrained": PRETRAINED,
  },
)
# A slow learner, whose mean over a history is far from its end: random actions
# give way to learned ones over half of its episodes. The amount of exploration
# in the context predicts later actions if episodes are in order, but not if
# they are shuffled.
SLOWLY = {
  "learner": {
    "histories": 1024,
    "episodes": 30,
    "rate": 0.5,
    "optimism": 0.0,
    "epsilon": 1.0,
  },
  "num_trials": 30,
  "shown": (1, 10, 20),
}
FULL = configuration.updated(_ROOM, **SLOWLY, evaluation_tasks=64)
CORNER = configuration.updated(_ROOM, env_id="DarkRoomCorner", context=100)
SMALL = configuration.updated(
  _ROOM,
  num_updates=1000,
  updates_per_chunk=50,
  chunks_per_evaluation=5,
  batch_size=64,
  learner={"episodes": 15, "every": 3},
  env_options={"size": 5, "max_steps": 8},
  context=25,
  num_trials=15,
  evaluation_tasks=64,
)
SLOW = configuration.updated(
  FULL,
  updates_per_chunk=50,
  chunks_per_evaluation=5,
  batch_size=32,
  learner={"every": 4},
  env_options={"size": 7, "max_steps": 12},
  evaluation_tasks=256,
  arms={"gru": {}, "shuffled": {"shuffled": True}},
)
TINY = configuration.updated(
  supervised.tiny(_ROOM),
  network={"head_widths": (8,)},
  learner={"histories": 4, "episodes": 3, "every": 2},
  env_options={"size": 3, "max_steps": 4},
  context=5,
  num_trials=3,
  shown=(1,),
  evaluation_tasks=2,
  arms={
    "gru": {},
    "shuffled": {"shuffled": True},
    "pretrained": PRETRAINED | {"batch_size": 4},
  },
)
get_config = variants.Variants(
  full=FULL, corner=CORNER, small=SMALL, slow=SLOW, tiny=TINY
)
