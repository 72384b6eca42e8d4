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
# # Learning inside an episode
#
# An agent with a memory can learn without changing its weights: what it finds
# out in one try, it uses in the next. This page trains such an agent in about a
# minute on two CPU cores, and then watches it learn.
#
# The task is a search. Somewhere on a board of five by five cells lies a
# treasure that cannot be seen. An episode has five trials. The treasure stays
# where it is, and each trial begins in the middle of the board. A good agent
# searches once and then walks straight to the treasure.

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
import dataclasses
import os
import tempfile

from flax import struct
from IPython import display
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from jaxseq import nn
from jaxseq.rl import envs
from jaxseq.rl import evaluate
from jaxseq.rl import meta
from jaxseq.rl import networks
from jaxseq.rl import rendering
from jaxseq.rl.agents import ppo
from jaxseq.rl.drawings import paint
from jaxseq.rl.envs import base
from jaxseq.rl.envs import randomness
from jaxseq.rl.envs import spaces

# With this variable set the agent learns for a moment only: for tests.
TINY = "JAXSEQ_TINY" in os.environ

# %% [markdown]
# ## The task
#
# An environment is a few pure functions. This one shows the agent where it is,
# and nothing else. A step costs 0.05 and the treasure is worth 1. A trial ends
# at the treasure or after 16 steps.

# %%
SIZE, MIDDLE = 5, 2
MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))  # rows and columns


@struct.dataclass
class State(base.EnvState):
  place: jax.Array
  treasure: jax.Array


@dataclasses.dataclass(frozen=True)
class Search(base.Environment):
  actions = spaces.Discrete(len(MOVES))
  observations = spaces.MultiDiscrete((SIZE, SIZE))
  reset_words = 1

  @property
  def default_params(self):
    return base.EnvParams(max_steps_in_episode=16)

  def start(self, words, params):
    # Any cell but the one in the middle.
    cell = randomness.below(words[0], SIZE * SIZE - 1).astype(jnp.int32)
    cell += cell >= MIDDLE * SIZE + MIDDLE
    return State(
      time=jnp.int32(0),
      place=jnp.full((2,), MIDDLE, jnp.int32),
      treasure=jnp.stack([cell // SIZE, cell % SIZE]),
    )

  def advance(self, words, state, action, params):
    place = state.place + jnp.array(MOVES, jnp.int32)[action]
    place = jnp.clip(place, 0, SIZE - 1)
    state = state.replace(time=state.time + 1, place=place)
    found = self.is_terminated(state, params)
    return state, jnp.where(found, jnp.float32(1), jnp.float32(-0.05))

  def observe(self, state, params):
    return state.place

  def is_terminated(self, state, params):
    return (state.place == state.treasure).all()


# %% [markdown]
# `Trials` makes one episode of five tries. With `same_start` all of them begin
# in the same state, so the treasure stays. The agent also sees its last action
# and reward, and whether a trial has just ended. With `keep_memory=False` its
# memory is made fresh before each trial, and nothing of the last one is shown.


# %%
def search(keep_memory=True):
  return meta.Trials(
    Search(),
    num_trials=5,
    same_start=True,
    previous_reward=True,
    keep_memory=keep_memory,
  )


envs.register("Search", search)

# %% [markdown]
# ## Training
#
# Two agents are trained with PPO. Both are the same small network around a
# GRU. One keeps its memory for a whole episode, the other forgets everything
# between trials.

# %%
keeps = ppo.Config(
  env_id="Search",
  network=networks.Config(
    nn.StackConfig(
      "gru",
      d_model=64,
      num_layers=1,
      activation="none",
      residual=False,
      norm="none",
    ),
    encoder_widths=(),
    head_widths=(64,),
  ),
  num_envs=64,
  rollout_length=80,
  total_steps=10_240 if TINY else 500_000,
  num_epochs=4,
  num_minibatches=4,
  learning_rate=3e-3,
  learning_rate_schedule="linear",
  gamma=0.98,
  gae_lambda=0.95,
  entropy_coef=0.02,
  reward_normalization="none",
  critic="shared",
)
forgets = dataclasses.replace(keeps, env_options=(("keep_memory", False),))


def train(config):
  runner = ppo.init(config, jax.random.key(0))
  runner, metrics = ppo.train(config, runner, config.num_updates)
  return runner.variables, jax.device_get(metrics)


agents = {}
for name, config in {"keeps": keeps, "forgets": forgets}.items():
  variables, metrics = train(config)
  agents[name] = config, variables, metrics

fig, ax = plt.subplots(figsize=(7, 3), layout="constrained")
for name, (_, _, metrics) in agents.items():
  ax.plot(metrics["env_steps"], metrics["episode_return"], label=name)
ax.set(xlabel="environment steps", ylabel="return of an episode")
ax.set_title("Training, with and without memory between trials", loc="left")
ax.legend(frameon=False)
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %% [markdown]
# ## The return rises from trial to trial
#
# The weights are fixed now. Each agent plays 512 new episodes, with new
# treasures. Who knows where it lies gets 0.925 on average, for a way of two and
# a half steps.

# %%
fig, ax = plt.subplots(figsize=(7, 3), layout="constrained")
for name, (config, variables, _) in agents.items():
  played = evaluate.evaluate(
    config, variables, jax.random.key(1), num_episodes=512
  )
  trials = np.asarray(played["mean_trial_returns"])
  ax.plot(range(1, 6), trials, "o-", label=name)
  print(name.ljust(8), trials.round(2))
ax.set(xlabel="trial", ylabel="mean return", xticks=range(1, 6))
ax.set_title("Return per trial, weights fixed", loc="left")
ax.legend(frameon=False)
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %% [markdown]
# ## Watch it
#
# One episode of each agent. The ring is the treasure, which they do not see.


# %%
def draw(film, t):
  canvas = paint.Canvas(260, 290)
  cells = paint.grid((10, 35, 250, 275), SIZE, SIZE)
  trial, time = int(film.taken.trial[t]), int(film.states.time[t])
  canvas.text((130, 18), f"trial {trial + 1}, step {time + 1}")
  way = film.states.place[t - time : t + 1].tolist()
  # The state after the step belongs to the next trial if this one has ended.
  move = np.array(MOVES[film.action(t)[0]])
  way.append(np.clip(way[-1] + move, 0, SIZE - 1).tolist())
  for row in cells:
    for box in row:
      canvas.box(box, paint.LIGHT, paint.WHITE, 2)
  row, column = film.states.treasure[t]
  treasure = paint.middle(cells[row][column])
  canvas.circle(treasure, 17, None, paint.GREEN, 4)
  points = [paint.middle(cells[row][column]) for row, column in way]
  canvas.line(points, paint.SKY, 4)
  canvas.circle(points[-1], 9, paint.BLUE)
  return canvas.pixels()


pictures = []
films = [
  rendering.film(config, variables, jax.random.key(3))[0]
  for config, variables, _ in agents.values()
]
for t in range(max(film.length for film in films)):
  sides = [draw(film, min(t, film.length - 1)) for film in films]
  pictures.append(np.concatenate(sides, axis=1))
with tempfile.TemporaryDirectory() as directory:
  path = rendering.write_gif(f"{directory}/search.gif", pictures)
  picture = display.Image(data=path.read_bytes(), format="gif")
print("left: keeps its memory   right: forgets between trials")
display.display(picture)
