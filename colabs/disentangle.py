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

fig, axes = plt.subplots(
  1, 4, figsize=(11, 2.2), sharey=True, layout="constrained"
)
for axis, x in zip(axes, splits.train.inputs):
  axis.plot(x[:, 0])
  axis.set_xlabel("time")
axes[0].set_ylabel("value")
fig.suptitle("Four windows", x=0.01, ha="left", fontweight="bold")
plt.show()
print(splits.info.description, "The factors:", ", ".join(names))

# %% [markdown]
# ## Three methods
#
# All of them minimize the reconstruction's negative log-likelihood plus a
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
# an objective and an optimizer; `problem.Problem` makes pure functions of
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
# in no other. Shares are estimated from a finite number of windows, and lie a
# little above the truth; the last line says by how much.

# %%
fig, axes = plt.subplots(
  1, 3, figsize=(11, 4), sharey=True, layout="constrained"
)
for axis, (name, (variables, _)) in zip(axes, results.items()):
  vae = problem.make_model(make_arm(objectives[name]), splits)
  params = {"params": variables["params"]["model"]}
  codes, _ = vae.apply(params, splits.test.inputs, method="encode")
  codes, factors = np.asarray(codes), splits.test.targets
  entropies = metrics.entropies(factors)
  shares = metrics.information_matrix(codes, factors) / entropies
  image = axis.imshow(shares, vmin=0, vmax=1, cmap="cividis")
  axis.set_title(f"{name}, MIG {metrics.mig(codes, factors):.2f}", fontsize=10)
  axis.set_xticks(range(len(names)), names, rotation=60)
  axis.set_yticks(range(codes.shape[1]))
  axis.set_xlabel("factor")
axes[0].set_ylabel("coordinate")
fig.colorbar(image, ax=axes, label="share of the factor's entropy")
fig.suptitle("What coordinates tell", x=0.01, ha="left", fontweight="bold")
plt.show()
bias = [
  metrics.information_bias(len(codes), 20, len(np.unique(levels))) / entropy
  for levels, entropy in zip(factors.T, entropies)
]
print(f"bias of a share: up to {max(bias):.3f}, of {len(codes)} windows")

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
fig, axes = plt.subplots(
  1, 3, figsize=(11, 2.8), sharey=True, layout="constrained"
)
scale = plt.cm.ScalarMappable(plt.Normalize(-3, 3), "cividis")
for axis, coordinate in zip(axes, np.argsort(-effects)):
  for value, series in zip(code_report.TRAVERSAL, moved[coordinate]):
    axis.plot(series[:, 0], color=scale.to_rgba(value))
  axis.set_title(f"coordinate {coordinate}", fontsize=10)
  axis.set_xlabel("time")
axes[0].set_ylabel("decoded value")
fig.colorbar(scale, ax=axes, label="value of the coordinate")
fig.suptitle("One coordinate moves", x=0.01, ha="left", fontweight="bold")
plt.show()

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
