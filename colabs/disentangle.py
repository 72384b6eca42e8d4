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
# # What a code of a series means
#
# A variational auto-encoder maps a window of a series to a few numbers and
# back.
# Nothing tells these numbers to mean anything by themselves; the penalties that
# are compared here do, each in its own way. The series come from six known
# factors, so that it can be counted how well each coordinate stands for one.

# %% [markdown]
# The next cell installs jaxseq if it is absent: from the checkout that this
# notebook lies in. On Colab, clone the repository first and go to its folder
# `colabs` with `%cd`.

# %%
# %run ../scripts/install.py

# %%
import os

import jax
import matplotlib.pyplot as plt
import numpy as np

from jaxseq import data
from jaxseq.dts import autoencoder
from jaxseq.dts import code_report
from jaxseq.dts import decoders
from jaxseq.dts import diagnostics
from jaxseq.dts import methods
from jaxseq.dts import metrics
from jaxseq.dts import problem
from jaxseq.dts import series_encoders
from jaxseq.training import recipes
from jaxseq.training import supervised

# The tests of this page train for a moment only.
tiny = "JAXSEQ_TINY" in os.environ
updates = 4 if tiny else 2000
sizes = {"train": 256, "valid": 8, "test": 128} if tiny else {}
splits = data.load("seasonal_factors", **sizes)
names = splits.info.factors.names

fig, axes = plt.subplots(1, 4, figsize=(11, 1.8), sharey=True)
for axis, x in zip(axes, splits.train.inputs):
  axis.plot(x[:, 0])
print(splits.info.description, "The factors:", ", ".join(names))

# %% [markdown]
# ## Three methods
#
# All of them minimise the reconstruction's negative log-likelihood plus a
# weighted sum of three parts of the KL divergence: the mutual information of
# window and code, the total correlation of the coordinates, and how far each
# coordinate is from the prior. `methods.weights` tells the weights.

# %%
objectives = {
  "VAE": methods.Config(method="vae"),
  "beta-TCVAE": methods.Config(method="beta_tcvae", beta=10.0),
  "DTS": methods.Config(method="dts", beta=10.0, alpha=9.5),
}
for name, config in objectives.items():
  print(f"{name:10}", methods.weights(config))

# %% [markdown]
# Convolutions encode; dense layers decode all times at once. An arm is a model,
# an objective and an optimiser; `problem.Problem` makes pure functions of
# it, and many updates are one program.


# %%
def train(arm, splits):
  """Trains an arm; returns it with its model's variables and metrics."""
  made = problem.Problem(arm, splits, updates)
  optimizer = problem.make_optimizer(arm, updates)
  state = jax.jit(lambda key: supervised.init(made, optimizer, key))(
    jax.random.key(0)
  )
  run = jax.jit(
    lambda state, data: supervised.train(made, optimizer, state, data, updates)
  )
  state, _ = run(state, made.data)
  return state.variables, jax.jit(made.evaluate)(state.variables, made.data)


def make_arm(config):
  return problem.ArmConfig(
    model=autoencoder.ModelConfig(
      series_encoders.EncoderConfig(kind="conv", widths=(32, 64, 64)),
      decoders.DecoderConfig(kind="mlp", widths=(256, 256)),
    ),
    objective=config,
  )


results = {
  name: train(make_arm(config), splits) for name, config in objectives.items()
}
for name, (_, measured) in results.items():
  print(
    f"{name:10} nll {measured['nll']:6.1f}  kl {measured['kl']:5.2f}  "
    f"mi {measured['mi']:5.2f}  tc {measured['tc']:5.2f}"
  )

# %% [markdown]
# ## Which coordinate tells what
#
# The share of each factor's entropy that each coordinate tells. One bright cell
# in a column is what a gap (MIG) rewards: the factor is in one coordinate, and
# in no other.

# %%
fig, axes = plt.subplots(1, 3, figsize=(11, 4), sharey=True)
for axis, (name, (variables, _)) in zip(axes, results.items()):
  vae = problem.make_model(make_arm(objectives[name]), splits)
  params = {"params": variables["params"]["model"]}
  codes, _ = vae.apply(params, splits.test.inputs, method="encode")
  codes, factors = np.asarray(codes), splits.test.targets
  shares = metrics.information_matrix(codes, factors)
  shares /= metrics.entropies(factors)
  axis.imshow(shares, vmin=0, vmax=1, cmap="cividis")
  axis.set_title(f"{name}, MIG {metrics.mig(codes, factors):.2f}")
  axis.set_xticks(range(len(names)), names, rotation=60)
  axis.set_ylabel("coordinate")

# %% [markdown]
# ## Moving one coordinate
#
# What the decoder makes of a code in which one coordinate moves from -3 to 3,
# for the three coordinates of DTS that change the series most.

# %%
moved = np.asarray(code_report.traversals(vae, params, codes[0]))
effects = diagnostics.traversal_effect(
  moved, vae.apply(params, codes[0], method="decode")
)
fig, axes = plt.subplots(1, 3, figsize=(11, 2.4), sharey=True)
for axis, coordinate in zip(axes, np.argsort(-effects)):
  for shade, series in zip(np.linspace(0.1, 0.9, 7), moved[coordinate]):
    axis.plot(series[:, 0], color=plt.cm.cividis(shade))
  axis.set_title(f"coordinate {coordinate}")

# %% [markdown]
# ## A code that vanishes
#
# A decoder that sees the past of a noisy series does well without a code, and a
# VAE's code vanishes. "gap" says by how many nats a window becomes less likely
# with the code of another window: 0 means that nobody reads the code. DTS pays
# less for mutual information than for the rest, and keeps it.

# %%
noisy = data.load("seasonal_factors", seed=1, noise=1.0, **sizes)
for name, config in {
  "VAE": methods.Config(method="vae", anneal="none"),
  "DTS": methods.Config(method="dts", beta=1.0, alpha=0.5, anneal="none"),
}.items():
  arm = problem.ArmConfig(
    model=autoencoder.ModelConfig(
      series_encoders.EncoderConfig(kind="conv", widths=(32, 64, 64)),
      decoders.DecoderConfig(
        kind="conv", widths=(32,) * 6, form="ar", skip_z=True
      ),
    ),
    objective=config,
    optimizer=recipes.Recipe(
      learning_rate=2e-3, schedule="constant", max_grad_norm=5.0
    ),
    batch_size=64,
  )
  _, measured = train(arm, noisy)
  print(
    f"{name:10} nll {measured['nll']:6.1f}  kl {measured['kl']:5.2f}  "
    f"mi {measured['mi']:5.2f}  gap {measured['gap']:5.1f}"
  )
