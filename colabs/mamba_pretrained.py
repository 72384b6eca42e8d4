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
# # Mamba with weights from elsewhere
#
# A directory that the transformers library wrote for `MambaForCausalLM` or
# `Mamba2ForCausalLM` becomes a `SequenceNetwork` of jaxseq, and back. This page
# loads one, checks it against the other library's numbers, generates with it,
# and looks at what its state keeps and for how long.

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
import pathlib
import shutil

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from jaxseq import generation
from jaxseq import recurrence
from jaxseq.interop import huggingface

# %% [markdown]
# ## Loading
#
# The repository ships two small models with random weights; on Colab they come
# out of the archive of it, which the wheel cannot replace here. A real one is
# loaded in the same way from its directory on disk, which holds `config.json`
# and safetensors files; nothing is downloaded, and nothing is unpickled:
#
#     config, variables = huggingface.load("mamba-130m-hf")

# %%
root = pathlib.Path("..")
if not (root / "tests").is_dir():
  archives = [*glob.glob("jaxseq*.zip"), *glob.glob("jaxseq*.tar.gz")]
  assert archives, "upload an archive of the repository beside this notebook"
  shutil.unpack_archive(archives[0], "unpacked")
  root = next(pathlib.Path("unpacked").glob("**/pyproject.toml")).parent
directory = root / "tests/golden/interop/mamba"
config, variables = huggingface.load(directory)
network = huggingface.make_network(config, variables)
parameters = sum(leaf.size for leaf in jax.tree.leaves(variables))
stack = config.stack
print(stack.mixer, dict(stack.mixer_options))
print(f"{parameters:,} parameters, {network.vocab_size} tokens")

# %% [markdown]
# Beside the small models lie the logits that the other library computed, and
# the tokens that it generated greedily.

# %%
with np.load(directory / "outputs.npz") as file:
  golden = dict(file)

tokens = jnp.asarray(golden["ids"])
logits, states = jax.jit(network.apply)(variables, tokens)
print("tokens            ", tokens.shape)
print("largest logit     ", f"{np.abs(golden['logits']).max():.2f}")
difference = np.abs(logits - golden["logits"]).max()
print("largest difference", f"{difference:.1e}")

# %% [markdown]
# ## Generating
#
# The prompt is read in parallel; then each token costs one step. Temperature 0
# takes the most probable token and gives the other library's tokens exactly.


# %%
@jax.jit
def greedy(prompt):
  return generation.generate(
    network, variables, prompt, 40, jax.random.key(0), temperature=0.0
  )


@jax.jit
def sampled(prompt, key):
  return generation.generate(
    network, variables, prompt, 40, key, temperature=0.8, top_p=0.95
  )


continued, after = greedy(tokens)
print("greedy:  ", *continued[0, :20])
print("the same:", bool((continued == golden["greedy"]).all()))
for seed in range(3):
  drawn, _ = sampled(tokens, jax.random.key(seed))
  print("sampled: ", *drawn[0, :20])

# %% [markdown]
# ## The state does not grow
#
# All that is carried from token to token has the same size after 10 tokens and
# after 10,000. The keys and values that attention of the same width and depth
# would keep grow with every token.


# %%
def state_bytes(length):
  prompt = jax.ShapeDtypeStruct((1, length), jnp.int32)
  _, states = jax.eval_shape(network.apply, variables, prompt)
  return sum(
    leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(states)
  )


lengths = np.array([1, 10, 100, 1_000, 10_000])
sizes = [state_bytes(length) for length in lengths]
keys_and_values = lengths * stack.num_layers * 2 * stack.d_model * 4

fig, ax = plt.subplots(figsize=(8, 2.8), layout="constrained")
ax.loglog(lengths, np.array(sizes) / 1e3, "o-", label="this model's state")
ax.loglog(
  lengths,
  keys_and_values / 1e3,
  "--",
  color="0.5",
  label="keys and values of attention, same width and depth",
)
ax.set(xlabel="tokens read", ylabel="kB", title="Memory of the past")
ax.legend(frameon=False)
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
assert len(set(sizes)) == 1

# %% [markdown]
# ## What it keeps, and for how long
#
# In each channel the token decides the step size `delta`, and with it how much
# of the state is kept: `exp(delta A)`. A long step forgets the past and takes
# in the token; a short one passes it by. The next cell follows the first layer
# to its step sizes, and checks that the state they lead to is the network's.

# %%
params = variables["params"]
(mixer,) = stack.mixers
layer = params["stack"]["layers_0"]
weights = layer["mixer"]

x = params["embed"]["embedding"][tokens[0]]
x = x * jax.lax.rsqrt(jnp.mean(x**2, -1, keepdims=True) + stack.norm_epsilon)
x = (x * layer["norm"]["scale"]) @ weights["in_proj"]
x = jnp.pad(x[:, : mixer.d_inner], ((mixer.d_conv - 1, 0), (0, 0)))
windows = [x[j : j + tokens.shape[1]] for j in range(mixer.d_conv)]
x = jnp.einsum("jtd,jd->td", jnp.stack(windows), weights["conv_weight"])
x = jax.nn.silu(x + weights["conv_bias"])
low, B, C = jnp.split(
  x @ weights["x_proj"], [mixer.rank, mixer.rank + mixer.d_state], axis=-1
)
delta = jax.nn.softplus(low @ weights["dt_proj"] + weights["dt_bias"])
A = -jnp.exp(weights["A_log"])

fresh = jnp.zeros((mixer.d_inner, mixer.d_state))
_, state = recurrence.selective_scan(x, delta, A, B, C, fresh)
difference = jnp.max(jnp.abs(state - states[0].ssm[0]))
print("difference of the states", f"{float(difference):.1e}")

# %% [markdown]
# On the left, every channel's step size at every token, the channels ordered by
# their mean. On the right, what the slowest of a channel's states still holds
# of the first token: the product of the factors since then, darker where it
# lasts. One layer has channels that forget within two tokens and a few that
# keep half for more than thirty.

# %%
order = jnp.argsort(delta.mean(0))
slowest = jnp.max(A, axis=-1)
kept = jnp.exp(jnp.cumsum(delta[1:] * slowest, axis=0))
kept = jnp.concatenate([jnp.ones((1, mixer.d_inner)), kept])

fig, (left, right) = plt.subplots(
  1, 2, figsize=(9, 3.4), layout="constrained", width_ratios=[1.2, 1]
)
image = left.imshow(
  jnp.log10(delta[:, order].T), aspect="auto", origin="lower", cmap="viridis"
)
fig.colorbar(image, ax=left, label="log10 of the step size")
left.set(xlabel="token", ylabel="channel", title="Step sizes")
half_life = jnp.argmax(kept < 0.5, axis=0)
half_life = jnp.where(jnp.all(kept >= 0.5, axis=0), len(kept), half_life)
scale = plt.cm.ScalarMappable(plt.Normalize(0, len(kept)), "viridis_r")
colors = scale.to_rgba(np.asarray(half_life))
for channel in range(mixer.d_inner):
  right.plot(kept[:, channel], color=colors[channel], lw=0.9, alpha=0.8)
fig.colorbar(scale, ax=right, label="tokens until half is left, at most")
right.axhline(0.5, color="0.5", lw=0.8, ls=":")
right.set(xlabel="tokens since", ylabel="share kept", title="How it fades")
right.spines[["top", "right"]].set_visible(False)
plt.show()

# %% [markdown]
# ## Saving
#
# `save` writes what `load` and the transformers library's `from_pretrained`
# read, also for a network that was trained here:
#
#     huggingface.save("mamba-of-mine", config, variables, dtype="bfloat16")
