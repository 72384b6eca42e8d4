# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Learning a game from few frames
#
# SPR ([arXiv:2007.05929](https://arxiv.org/abs/2007.05929)) is a Q-learning
# agent that also predicts its own future: from what it sees now, and the
# actions it is about to take, what its encoder will make of the next five
# frames. Nothing of that is needed to act. It gives the encoder more to learn
# from than rewards, which are rare, and so the agent needs fewer games.
#
# This page trains such an agent on Breakout, in the small version of MinAtar,
# in some minutes on two CPU cores. The last part says what changes for Atari.

# %% [markdown]
# The next cell installs jaxseq if it is absent. On Colab, first upload a wheel
# of it, or an archive of the repository (zip or tar.gz), beside this notebook:
# the folder on the left takes it. In a checkout nothing has to be uploaded.
#
# On a TPU runtime then run `%pip install --quiet "jax[tpu]"`, on one with a GPU
# `%pip install --quiet "jax[cuda12]"`, so that the plugin fits the jax that
# came with jaxseq, and restart the session once. `jax.devices()` names the TPU
# or the GPU after that, and all else stays as it is.

# %%
import glob
import importlib.util

if importlib.util.find_spec("jaxseq") is None:
  names = ("jaxseq*.whl", "jaxseq*.zip", "jaxseq*.tar.gz")
  found = [path for name in names for path in glob.glob(name)]
  source = found[0] if found else ".."
  # %pip install --quiet "{source}[log]"

# %%
import os
import pathlib
import tempfile

from IPython import display
import jax
import matplotlib.pyplot as plt
import numpy as np

from jaxseq import spr
from jaxseq.spr import full_games
from jaxseq.spr import gifs
from jaxseq.spr import runner
from jaxseq.training import progress

# With this variable set the agent learns for a moment only: for tests.
TINY = "JAXSEQ_TINY" in os.environ

# %% [markdown]
# ## The agent
#
# A published agent is named, and what differs is written beside it. MinAtar's
# frames have 10 by 10 pixels: shifting them by 4, as SPR does with Atari's,
# would change what they mean, so there is no augmentation here, and the targets
# of the predictions follow slowly, as in the paper.

# %%
NUM_STEPS = 60 if TINY else 12_000

settings = spr.settings.Settings(
  env_id="Breakout-MinAtar",
  variant="spr",
  num_steps=NUM_STEPS,
  batch_size=4 if TINY else 32,
  encoder={"channels": (2,)} if TINY else {},
  head={"hidden": 4 if TINY else 64},
  learning={
    "augmentation": None,
    "momentum_tau": 0.01,
    "optimizer": {"learning_rate": 5e-4},
  },
  agent={"min_replay": 40 if TINY else 1000, "updates_per_step": 1},
)
game = spr.settings.make_game(settings)
config = spr.settings.agent_config(settings, game)
print("frames", game.frame_shape, "  actions", game.num_actions)

# %% [markdown]
# ## Training
#
# A chunk is some steps of the environment, each with an update once there are
# `min_replay` steps to learn from. The state holds all that changes: networks,
# optimizer, game, replay and random key. It is given away with each call and
# changed in place.

# %%
keys = jax.random.split(jax.random.key(0), 1)
state = jax.jit(jax.vmap(lambda key: runner.init(config, game, key)))(keys)
chunk = runner.make_chunk(config, game, num_seeds=1)

rows = []
CHUNK = 20 if TINY else 250
with progress.Progress(
  NUM_STEPS, metric=("episode_return", "loss"), label="spr"
) as bar:
  bar.start(0)
  for done in range(CHUNK, NUM_STEPS + 1, CHUNK):
    state, metrics = chunk(state, CHUNK)
    rows.append({name: value[0] for name, value in metrics.items()})
    bar.update(done, metrics)

# %%
steps = CHUNK * np.arange(1, len(rows) + 1)
# The two losses differ by a factor of hundreds: each has its own axis.
curves = {
  "episode_return": "return of a game",
  "rl_loss": "loss of the values",
  "spr_loss": "loss of the predictions",
}
fig, axes = plt.subplots(1, 3, figsize=(11, 2.8), layout="constrained")
for ax, (name, label) in zip(axes, curves.items()):
  ax.plot(steps, [row[name] for row in rows])
  ax.set(xlabel="environment steps", ylabel=label, xlim=(0, steps[-1]))
  ax.locator_params(axis="x", nbins=4)
  ax.spines[["top", "right"]].set_visible(False)
axes[0].axhline(0.4, color="gray", linestyle="--")
axes[0].annotate("random play", (steps[-1], 0.4), ha="right", va="bottom")
fig.suptitle("SPR learns Breakout", x=0.01, ha="left", fontweight="bold")
plt.show()

# %% [markdown]
# ## Watch it
#
# Whole games with the trained policy, side by side, without the noise that it
# explores by. The picture is the first of them, and says at its end if the
# game went on.

# %%
agent = jax.tree.map(lambda leaf: leaf[0], state.agent)
play = full_games.make(config, game)
NUM_GAMES = 3 if TINY else 50
played = play(agent, jax.random.key(1), NUM_GAMES, keep_frames=300)
mean, best = played.returns.mean(), played.returns.max()
print(f"{NUM_GAMES} games: mean return {mean:.2f}, best {best:g}")

with tempfile.TemporaryDirectory() as directory:
  path = pathlib.Path(directory) / "game.gif"
  gifs.write_gif(path, played.frames, int(played.lengths[0]))
  picture = display.Image(data=path.read_bytes(), format="gif")
display.display(picture)

# %% [markdown]
# ## What changes for Atari
#
# Four frames of 84 by 84 pixels in place of one of 10 by 10, three convolutions
# in place of one, random shifts, two updates a step, and 100,000 steps: two
# hours of play. The next cell builds that agent, for blank images in place of
# an emulator's. The replay keeps each frame once, on the device, and the
# program that takes a step changes it in place.

# %%
settings = spr.settings.Settings("Blank", env_options={"num_actions": 6})
atari = spr.settings.make_game(settings)
published = spr.settings.agent_config(settings, atari)


def size(config, game):
  state = jax.eval_shape(
    lambda key: runner.init(config, game, key), jax.random.key(0)
  )
  parameters = sum(leaf.size for leaf in jax.tree.leaves(state.agent.params))
  return parameters, state.replay.frames.size / 1e6


for name, one, where in (
  ("MinAtar", config, game),
  ("Atari-100k", published, atari),
):
  parameters, megabytes = size(one, where)
  print(f"{name:<12}{parameters:>12,} parameters{megabytes:>8.1f} MB of frames")

# %% [markdown]
# The emulator with its games comes by `pip install '.[atari]'`. The run
# needs a GPU:
#
#     python -m experiments.spr --config=configs/spr/atari100k_spr.py:pong \
#       --workdir=runs/spr_pong
#
# It goes on where it stopped, ends with 100 whole games, and leaves the same
# curve and picture in its directory. `atari100k_spr_no_aug`, `atari100k_der`,
# `atari100k_drq`, `atari100k_sr_spr` and `atari100k_bbf` are other agents. Two
# fields bring in a sequence mixer, any of `jaxseq.mixers`:
#
#     --config.settings.memory.stack.mixer=lstm     remembers between frames
#     --config.settings.transition.stack.mixer=s5   predicts latents
