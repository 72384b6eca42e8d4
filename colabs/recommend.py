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
# # Films for you
#
# A network reads the films that somebody has rated, one by one, and ranks all
# others as the next one. It keeps no vector of anybody: you are what you have
# seen, so that it recommends to you as to those it was trained on.

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
# The ratings of MovieLens-100k are a file of the package recbole; nothing else
# of it is used. They are for research, and not to be passed on.

# %%
import os
import time

TINY = bool(os.environ.get("JAXSEQ_TINY"))
if not TINY and importlib.util.find_spec("recbole") is None:
  package = "recbole==1.2.1"
  # %pip install --quiet --no-deps "{package}"

# %%
import matplotlib.pyplot as plt
import numpy as np

from jaxseq import estimators
from jaxseq.data.files import movielens

if TINY:
  # Forty people who go through a ring of films: this trains for a moment.
  user = np.repeat(np.arange(40), 8)
  when = np.tile(np.arange(8), 40)
  film = ((user + when) % 30).astype(str)
  titles = {str(n): f"Film {n}" for n in range(30)}
else:
  user, film, when = movielens.ratings()
  titles = movielens.films()
print(f"{len(film):,} ratings of {len(set(film.tolist())):,} films")

# %% [markdown]
# ## Training, in two or three minutes
#
# Three columns are all it takes. `early_stopping` holds back the last film of
# each person, and keeps what ranked it best.

# %%
begin = time.time()
model = estimators.NextItem(
  mixer="gru",
  d_model=16 if TINY else 48,
  num_updates=40 if TINY else 900,
  batch_size=16 if TINY else 64,
  early_stopping=4,
  evaluations=4 if TINY else 9,
  random_state=0,
)
model.fit((user, film, when))
print(f"NDCG@10 of the last films: {max(model.history_['valid_ndcg_10']):.3f}")
print(f"{time.time() - begin:.0f} s")

# %% [markdown]
# Is that good? All films are ranked, not a hundred of them. Without training,
# EASE with recency has .125 on this part of MovieLens-100k, and what came after
# the last film of somebody .075; `docs/actions.md` says more.
#
# ## Recommend to yourself
#
# Put down a few films that you like, the last one last.

# %%
names = {title: number for number, title in titles.items()}
if TINY:
  mine = ["Film 3", "Film 4", "Film 5"]
else:
  mine = ["Alien", "Fargo", "Pulp Fiction", "Blade Runner"]
found = model.recommend_for([[names[title] for title in mine]], k=8)
for rank, number, score in zip(found["rank"], found["item"], found["score"]):
  print(f"{rank}. {titles[number]}  ({np.exp(score):.1%})")

# %% [markdown]
# One more film moves the state of its user alone, in constant time; nothing is
# trained again.

# %%
for title in mine:
  model.update("me", names[title])
begin = time.time()
model.update("me", names["Film 6" if TINY else "Toy Story"])
later = model.recommend(["me"], k=5)
print([titles[number] for number in later["item"]])
print(f"{1000 * (time.time() - begin):.1f} ms")

# %% [markdown]
# ## A map of the films
#
# Films are read and scored by the same vectors. Their two main directions, for
# the films that most people have rated:

# %%
embedding = model.model_.variables["params"]["network"]["embed"]["embedding"]
vectors = embedding[1:] - embedding[1:].mean(axis=0)
counts = np.array([(film == number).sum() for number in model.items_])
shown = np.argsort(-counts, kind="stable")[:40]
directions = np.linalg.svd(vectors[shown], full_matrices=False)[2][:2]
places = vectors[shown] @ directions.T
figure, axes = plt.subplots(figsize=(10, 8))
axes.scatter(*places.T, s=8)
for place, number in zip(places, model.items_[shown]):
  axes.annotate(titles[number], place, fontsize=7)
axes.set(xticks=[], yticks=[], title="Films by their vectors")
plt.show()
