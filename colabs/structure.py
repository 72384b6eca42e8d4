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
# # Structure: hulls, trees, pictures
#
# Three networks that answer with more than the next element: one points at the
# corners of a hull, one looks for the trees of sentences without seeing any,
# and one draws pictures pixel by pixel. Each trains in a minute or two on two
# cores.

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

# %% [markdown]
# Hulls and the drawings of trees are of two experiments, which are in the
# repository and not in the wheel: on Colab, unpack an archive of it and open
# this notebook in its folder `colabs`.

# %%
import sys

if importlib.util.find_spec("experiments") is None:
  sys.path.append("..")

# %%
import os
import time

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

from experiments.masked_language import tree_figures
from experiments.pointing import decoding
from experiments.pointing import geometry
from experiments.pointing import program
from jaxseq import data
from jaxseq import nn
from jaxseq.generation import picture_drawing
from jaxseq.tasks import masked_language
from jaxseq.tasks import pictures
from jaxseq.tasks.masked_language import tree_scores
from jaxseq.tasks.pictures import picture_codes
from jaxseq.training import supervised

TINY = bool(os.environ.get("JAXSEQ_TINY"))


def train(problem, updates, rate):
  """Trains a problem; returns the variables of its network."""
  begin = time.time()
  optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))
  start = jax.jit(lambda key: supervised.init(problem, optimizer, key))
  run = jax.jit(
    lambda state, data: supervised.train(
      problem, optimizer, state, data, updates
    )
  )
  state, _ = run(start(jax.random.key(0)), problem.data)
  jax.block_until_ready(state)
  print(f"{updates} updates, {time.time() - begin:.0f} s")
  return state.variables


# %% [markdown]
# ## Corners of a hull
#
# Points are read by an LSTM, and another one writes places of theirs: the
# corners in turn. As what it writes are places, it works on more points than it
# has learned from.


# %%
def bare(mixer, width, layers, **options):
  """Layers that are the mixer alone."""
  return nn.NetworkConfig(
    nn.StackConfig(
      mixer,
      options,
      d_model=width,
      num_layers=layers,
      norm="none",
      activation="none",
      residual=False,
    )
  )


hulls = program.Problem(
  program.ArmConfig(
    network=bare("lstm", 8 if TINY else 64, 1),
    batch_size=8 if TINY else 64,
    no_repeat=True,
  ),
  program.Config(
    task="hull",
    task_options={"low": 5, "high": 8},
    train_sets=64 if TINY else 20_000,
    arms={"lstm": {}},
  ),
)
variables = train(hulls, 4 if TINY else 1000, 2e-3)

# %% [markdown]
# Four new sets, the last with twelve points. In gray the hull as it is, in
# color what the network writes.

# %%
figure, axes = plt.subplots(1, 4, figsize=(11, 2.8))
for axis, size in zip(axes, (5, 7, 8, 12)):
  new = geometry.draw("hull", 1, size, size, seed=100 + size)
  points = new.points[0]
  chosen, _ = decoding.decode(
    hulls.network, variables, jnp.asarray(new.points), size + 1
  )
  for row, style in ((new.chosen[0], "0.7"), (np.asarray(chosen[0, 0]), "C0")):
    corners = points[[place - 1 for place in row if place]]
    corners = np.concatenate([corners, corners[:1]])
    axis.plot(*corners.T, color=style, linewidth=4 if style == "0.7" else 1.5)
  axis.scatter(*points.T, color="black", s=12, zorder=3)
  axis.set(title=f"{size} points", xticks=[], yticks=[])
figure.tight_layout()
plt.show()

# %% [markdown]
# ## Trees that nobody showed
#
# Sentences of a small grammar, of which words are hidden. StructFormer's parser
# gives a distance behind each word and a height to each, and attention sees
# what these say is related; nothing but the hidden words trains it.

# %%
sentences = data.load("grammar", examples=200 if TINY else 4000)
words = masked_language.names_of(sentences.info)
reader = masked_language.Problem(
  masked_language.ArmConfig(
    network=nn.NetworkConfig(
      nn.StackConfig(
        "attention",
        {"bidirectional": True, "heads": 2 if TINY else 4},
        d_model=8 if TINY else 32,
        num_layers=1 if TINY else 2,
      )
    ),
    batch_size=8 if TINY else 64,
    parser=3,
    share=0.3,
  ),
  sentences,
)
variables = train(reader, 4 if TINY else 300, 2e-3)
scores = jax.jit(reader.evaluate)(variables, reader.data)
print({name: round(float(x), 3) for name, x in scores.items()})

# %% [markdown]
# UF1 is the F1 of constituents, and UAS the share of right heads, beside those
# of trees that know nothing of the words:

# %%
for name, metrics in tree_scores.trivial(sentences.test).items():
  print(f"{name:12}", {k: round(float(x), 3) for k, x in metrics.items()})

# %% [markdown]
# On the left the tree of the grammar, on the right the one that was found,
# whose constituents are dashed where the grammar has none. A minute of training
# makes a parser that cuts one word beside the grammar: `uf1_right` moves all of
# its boundaries, and then half of the constituents are right, about as many as
# branching to the right has. Where they are, they are worse than random ones.
# `configs/masked_language/grammar.py` trains a larger one for longer, and trees
# of several seeds differ much.

# %%
part = jax.tree.map(lambda x: x[:1], sentences.test)
length = int(part.lengths[0]) - 2  # without the tokens at the ends
parse = reader.network.apply(
  variables, part.inputs, part.lengths, method="parse"
)
parse = tree_scores.words_of(parse, part.lengths - 2)
boundaries = {
  "grammar": part.extras.boundaries[0, 1 : length + 1],
  "found": np.asarray(parse.distance[0])[:length],
}
labels = [words[token] for token in part.inputs[0, 1 : length + 1]]
figure, axes = plt.subplots(1, 2, figsize=(11, 3))
for axis, (name, distance) in zip(axes, boundaries.items()):
  tree_figures.draw(axis, labels, distance, other=boundaries["grammar"])
  axis.set_title(name)
figure.tight_layout()
plt.show()

# %% [markdown]
# ## Pictures, pixel by pixel
#
# Digits of 8 x 8 pixels with 17 levels. S5 says how probable the level of each
# pixel is after those before it; its bits can be compared with counting. A
# picture is drawn by taking one level after the other.

# %%
digits = data.load("digits", order="row")
levels = pictures.Problem(
  picture_codes.ArmConfig(
    network=nn.NetworkConfig(
      nn.StackConfig(
        "s5",
        {"ssm_size": 8 if TINY else 64, "blocks": 1},
        d_model=8 if TINY else 64,
        num_layers=1 if TINY else 2,
      )
    ),
    batch_size=8 if TINY else 64,
    levels=17,
    context=2,
  ),
  digits,
)
variables = train(levels, 4 if TINY else 400, 3e-3)
scores = jax.jit(levels.evaluate)(variables, levels.data)
print({name: round(float(x), 3) for name, x in scores.items()})

# %%
count = 4 if TINY else 40
drawn = picture_drawing.draw(
  levels.network, variables, jax.random.key(1), count
)
figure, axes = plt.subplots(2, count // 2, figsize=(11, 1.6))
for axis, picture in zip(axes.flat, drawn.pictures):
  axis.imshow(picture, cmap="gray_r", vmin=0, vmax=1)
  axis.axis("off")
plt.show()

# %% [markdown]
# The same as programs with all that belongs to them, such as seeds, floors,
# checkpoints and tables, is in `docs/structure.md`.
