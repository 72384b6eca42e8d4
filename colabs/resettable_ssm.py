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
# # A state space model that can be put back to a fresh state
#
# One contract carries jaxseq: **every sequence model is a pure function that
# runs in parallel over time, step by step, or in pieces with its state carried,
# and gives the same numbers in all three.** A flag per element says where a new
# episode or document begins. This page shows the contract on S5.

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
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from jaxseq import mixers

s5 = mixers.get("s5")
config = s5.Config(d_model=4, ssm_size=16, blocks=1)
params = s5.init(jax.random.key(0), config)
jax.tree.map(jnp.shape, params)

# %% [markdown]
# ## Parallel, step by step, and in pieces
#
# `apply` takes a whole sequence. `step` takes one element and the state. Both
# are the same function of the inputs, to rounding.

# %%
time = 120
x = jax.random.normal(jax.random.key(1), (1, time, config.d_model))

y_parallel, final = s5.apply(config, params, x)


def one_step(state, x_t):
  y_t, state = s5.step(config, params, x_t, state)
  return state, y_t


state = s5.initial_state(config, (1,))
final_steps, y_steps = jax.lax.scan(one_step, state, x.swapaxes(0, 1))
y_steps = y_steps.swapaxes(0, 1)

y_first, state = s5.apply(config, params, x[:, :50])
y_second, final_pieces = s5.apply(config, params, x[:, 50:], state)
y_pieces = jnp.concatenate([y_first, y_second], axis=1)


def difference(a, b):
  return float(jnp.max(jnp.abs(a - b)))


print("largest output    ", f"{float(jnp.max(jnp.abs(y_parallel))):.2f}")
print("parallel vs steps ", f"{difference(y_parallel, y_steps):.1e}")
print("parallel vs pieces", f"{difference(y_parallel, y_pieces):.1e}")
print("final states      ", f"{difference(final, final_steps):.1e}")

# %%
fig, ax = plt.subplots(figsize=(8, 2.6), layout="constrained")
ax.plot(y_parallel[0, :, 0], lw=4, color="0.8", label="parallel")
ax.plot(y_steps[0, :, 0], lw=1.5, color="C0", label="step by step")
ax.plot(y_pieces[0, :, 0], "--", lw=1.5, color="C1", label="in two pieces")
ax.axvline(50, color="0.5", lw=0.8, ls=":")
ax.set(xlabel="time", ylabel="first output", title="Three ways, one result")
ax.set_ylim(top=3.2)
ax.legend(frameon=False, ncols=3, loc="upper left")
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %% [markdown]
# ## Resets
#
# `reset[t]` is true where element `t` is the first of a new episode. The state
# before it is forgotten, whatever it held. So one call over several episodes
# laid end to end equals one call for each of them.

# %%
starts = [0, 35, 80]
reset = jnp.zeros((1, time), bool).at[0, jnp.array(starts)].set(True)
y_reset, _ = s5.apply(config, params, x, None, reset)

pieces = [
  s5.apply(config, params, x[:, a:b])[0]
  for a, b in zip(starts, starts[1:] + [time])
]
y_alone = jnp.concatenate(pieces, axis=1)
print("resets vs each episode alone", f"{difference(y_reset, y_alone):.1e}")

# %% [markdown]
# What the state remembers becomes visible with a single impulse at time 5, seen
# in an output that the impulse reaches through the state only. Without resets
# it rings on; a reset at 35 ends it at once.

# %%
impulse = jnp.zeros_like(x).at[0, 5, 0].set(1.0)
without, _ = s5.apply(config, params, impulse)
with_reset, _ = s5.apply(config, params, impulse, None, reset)

fig, ax = plt.subplots(figsize=(8, 2.6), layout="constrained")
ax.plot(without[0, :, 1], color="0.6", label="no reset")
ax.plot(with_reset[0, :, 1], color="C0", label="reset at 35 and 80")
for start in starts[1:]:
  ax.axvline(start, color="C3", lw=0.8, ls=":")
ax.set(xlabel="time", ylabel="second output", title="An impulse at time 5")
ax.legend(frameon=False)
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
assert float(jnp.max(jnp.abs(with_reset[0, 35:]))) == 0.0

# %% [markdown]
# ## What the states are
#
# Each state is a damped oscillation: its eigenvalue in discrete time lies
# inside the unit circle. The closer to the circle, the longer the memory.

# %%
dt = jnp.exp(params["log_step"][:, 0])
Lambda = params["Lambda_re"] + 1j * params["Lambda_im"]
Lambda_bar = np.exp(np.asarray(Lambda * dt))

fig, (left, right) = plt.subplots(
  1, 2, figsize=(8, 3.2), layout="constrained", width_ratios=[1, 1.6]
)
circle = np.exp(1j * np.linspace(0, 2 * np.pi, 200))
left.plot(circle.real, circle.imag, color="0.7", lw=0.8)
left.scatter(Lambda_bar.real, Lambda_bar.imag, color="C0", zorder=2)
left.set(title="Eigenvalues", xlabel="real", ylabel="imaginary", aspect="equal")
steps = np.arange(time)
for value in Lambda_bar:
  right.plot(steps, np.abs(value) ** steps, color="C0", alpha=0.6)
right.set(title="How each state fades", xlabel="steps", ylabel="magnitude")
for ax in (left, right):
  ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %% [markdown]
# ## Gradients reach the state that was carried in
#
# A loss on the last piece of a sequence can be differentiated with respect to
# the state it started from, so truncated backpropagation needs nothing special.


# %%
def loss(state):
  y, final = s5.apply(config, params, x[:, 50:], state)
  return jnp.sum(y**2) + jnp.sum(jnp.abs(final) ** 2)


_, state_at_50 = s5.apply(config, params, x[:, :50])
gradient = jax.grad(loss)(state_at_50)
print("size of the gradient per state:", np.abs(gradient[0]).round(2))
