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
# # What each mixer remembers
#
# Every mixer of jaxseq is a function from a sequence to a sequence, and can be
# asked the same question: how much does the output at time t change with the
# input at time s? The answer is a Jacobian, and automatic differentiation gives
# it for all of them in the same way. This page asks it of each mixer as it is
# initialized, before any training.

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
import functools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from jaxseq import mixers

families = {
  "state space model": ("s4", "s4d", "s5", "mamba", "mamba2"),
  "average": ("aaren", "lightnet", "linear_attention", "attention"),
  "gated or plain RNN": ("elman", "gru", "lstm", "slstm"),
  "matrix state": ("gla", "hgrn2", "gated_deltanet", "mom", "mlstm"),
  "linear recurrence": ("lru", "rglru", "mingru", "minlstm", "mamba3"),
}
colors = dict(zip(families, ("C0", "C2", "C1", "C4", "C5")))
color_of = {n: colors[family] for family in families for n in families[family]}
# The output matrices of these are zeros before training: nothing comes out.
silent = ("rwkv4", "rwkv7")
others = set(mixers.names()) - set(color_of) - set(silent)
color_of |= dict.fromkeys(sorted(others), "C3")

# What is not said here is the default.
options = {
  "s4": {"d_state": 8},
  "s4d": {"d_state": 16},
  "s5": {"ssm_size": 64, "blocks": 4},
  "mamba": {"dt_init": "constant"},
  "mamba2": {"d_state": 16, "headdim": 8},
  "attention": {"window": 32},
}
width, time = 16, 128
config_of = {
  name: mixers.make_config(name, d_model=width, **options.get(name, {}))
  for name in color_of
}


@jax.jit
def draw(key):
  return {n: mixers.get(n).init(key, config_of[n]) for n in color_of}


params_of = draw(jax.random.key(0))

# %% [markdown]
# ## One measure for all
#
# `jacobian_of[name](params, x, reset, t)` is d y[t] / d x[s] for all s. It is
# differentiated in reverse through `apply`, with one pass for each output
# channel. The size of such a block is its Frobenius norm. Each mixer has one
# compiled program, which serves the whole page.


# %%
def make(name):
  """Returns (params, x, reset, t) -> (outputs, time, inputs), compiled."""

  def jacobian(params, x, reset, t):
    def output(x):
      y, _ = mixers.get(name).apply(config_of[name], params, x, None, reset)
      return y[t]

    return jax.jacrev(output)(x)

  return jax.jit(jacobian)


def size(jacobian):
  """(outputs, time, inputs) -> (time,)."""
  return np.linalg.norm(np.asarray(jacobian), axis=(0, 2))


jacobian_of = {name: make(name) for name in color_of}


def sizes_of(name, x, reset, t):
  return size(jacobian_of[name](params_of[name], x, reset, t))


# %% [markdown]
# ## How far back an output reaches
#
# Four random sequences; the output is read after 32 elements and after 128. The
# curves are the mean size of d y[t] / d x[t - k] over k, both axes logarithmic:
# a power of k is a straight line, an exponential a cliff. The present element,
# k = 0, is left out.

# %%
never = jnp.zeros(time, bool)
xs = jax.random.normal(jax.random.key(1), (4, time, width))
short = time // 4
curves = {}
for name in color_of:
  for length in (short, time):
    sizes = [sizes_of(name, x, never, length - 1) for x in xs]
    curves[name, length] = np.mean(sizes, axis=0)[:length][::-1]


# %%
def panels(height):
  """A figure with a panel for each mixer, a family in a row."""
  fig, grid = plt.subplots(
    5, 5, figsize=(10, height), layout="constrained", sharex=True, sharey=True
  )
  ax_of = {}
  for names, line in zip(families.values(), grid):
    for name, ax in zip(names, line):
      ax.set_title(name, fontsize=10, color=color_of[name])
      ax.tick_params(labelsize=8)
      ax_of[name] = ax
    for ax in line[len(names) :]:
      ax.axis("off")
  grid[0, 4].tick_params(labelbottom=True)
  return fig, ax_of, grid[1, 4]


fig, ax_of, corner = panels(9)
styles = {short: {"lw": 3, "alpha": 0.4}, time: {"lw": 1.2}}
for length, style in styles.items():
  for name, ax in ax_of.items():
    curve = curves[name, length]
    seen = np.where(curve > 0, curve, np.nan)[1:]
    ax.loglog(np.arange(1, length), seen, color=color_of[name], **style)
    ax.spines[["top", "right"]].set_visible(False)
  corner.plot([], [], color="0.2", label=f"after {length}", **style)
ax_of["s4"].set(ylim=(1e-6, 5), xlim=(1, time))
window = config_of["attention"].window
ax_of["attention"].axvline(window, color="0.5", lw=0.8, ls=":")
corner.legend(frameon=False, loc="center")
fig.supxlabel("k, elements ago", fontsize=10)
fig.supylabel("size of d y[t] / d x[t - k]", fontsize=10)
plt.show()

# %% [markdown]
# State space models:
#
# - **s4**: nearly flat and then slowly falling, the same after 32 elements as
#   after 128: each channel is a sum of exponentials, and the step sizes of the
#   channels spread their time constants.
# - **s4d**: the same, with ripples: its frequencies have one common decay.
# - **s5**: the same, smaller and smoother: all states feed all outputs.
# - **mamba**: three elements come through the short convolution, and what lies
#   further back through the state, which takes in little at small step sizes
#   but keeps it long.
# - **mamba2**: the same shape; the norm before the output brings all of it up.
#
# Averages and attention:
#
# - **aaren**: flat, and four times lower after 128 elements than after 32: a
#   softmax average in which each of t elements has about the share 1 / t,
#   however long ago it came.
# - **lightnet**: flat as well, but the norm after the average divides by a size
#   that shrinks too, so that the fall is nearer to 1 / sqrt(t).
# - **linear_attention**: as aaren, 1 / t: its output is divided by the sum of
#   all weights.
# - **attention**: flat within the window (dotted), exactly zero beyond, and the
#   same after 128 elements as after 32, the size of the window.
#
# Recurrent networks:
#
# - **elman**: a cliff: each step multiplies by an orthogonal matrix and by
#   slopes of tanh below 1.
# - **gru**: a cliff: an update gate near 1/2 lets go of about half of the state
#   in each step.
# - **lstm**, **slstm**: cliffs at about twice the distance: the forget gates'
#   bias of 1 keeps more, sigmoid(1) = 0.73.
#
# Matrix states:
#
# - **gla**: flat for ten elements, then a fall: its log-decays are a 16th.
# - **hgrn2**: a cliff: a forget gate near 1/2, as no lower bound is set.
# - **gated_deltanet**: what a key stored goes with the next key like it, too.
# - **mom**: the same rule in memories that see a part of the elements each.
# - **mlstm**: hardly a fall: its forget gates' biases are 3 to 6.
#
# Linear recurrences:
#
# - **lru**: a sum of exponentials whose decays are spread over the unit disc.
# - **rglru**: the same with decays of 0.43 to 0.99 where its gate is open.
# - **mingru**, **minlstm**: cliffs, as gates near 1/2 let go of half the state.
# - **mamba3**: flat: its steps are short at the start.
#
# So the two curves of a panel tell two kinds of memory apart. Where they agree,
# only the distance counts. Where the later one is lower, the weight of an
# element shrinks with the number of elements that share the average.
#
# Mixers that are in no family above have no panel; the list below has them, but
# for RWKV's, which give zeros before training.

# %%
print("mean over k of: size after 128 / size after 32")
share = {}
for name in color_of:
  early, late = curves[name, short][1:], curves[name, time][1:short]
  # A short convolution sees two elements, and nothing beyond.
  seen = (early > 0) & (late > 0)
  share[name] = float(np.exp(np.mean(np.log(late[seen] / early[seen]))))
  print(f"  {name:17s} {share[name]:.2f}")

for name in ("s4", "s4d", "s5"):
  np.testing.assert_allclose(
    curves[name, time][:short], curves[name, short], rtol=1e-2
  )
for name in ("aaren", "linear_attention"):
  assert 0.2 < share[name] < 0.3
assert (curves["attention", time][window + 1 :] == 0).all()

# %% [markdown]
# ## The kernels of the time-invariant ones
#
# In S4, S4D and S5 the Jacobian depends on nothing but the distance k: it is
# the convolution kernel. S4 and S4D have one for each channel, with a step size
# of its own; the rows are the channels with the largest, a middle and the
# smallest step. In S5 every state has its own step size and every kernel is a
# mixture of all; the rows are three outputs' responses to one input. Each
# kernel is divided by its largest value.

# %%
invariant = ("s4", "s4d", "s5")
palette = plt.cm.viridis_r
log_step = {n: np.asarray(params_of[n]["log_step"]).ravel() for n in invariant}
norm = plt.Normalize(np.log10(0.001), np.log10(0.1))


def shade(log_dt):
  return palette(norm(log_dt / np.log(10)))


fig, axes = plt.subplots(
  1, 3, figsize=(10, 3), layout="constrained", sharey=True
)
for name, ax in zip(invariant, axes):
  J = jacobian_of[name](params_of[name], xs[0], never, time - 1)
  kernels = np.asarray(J)[:, ::-1]
  order = np.argsort(-log_step[name])
  picked = (0, 1, 2) if name == "s5" else order[[0, width // 2, -1]]
  for row, channel in enumerate(picked):
    kernel = kernels[channel, 1:, 0 if name == "s5" else channel]
    color = "0.4" if name == "s5" else shade(log_step[name][channel])
    line = kernel / np.abs(kernel).max() - 2.4 * row
    ax.semilogx(np.arange(1, time), line, color=color, lw=1.3)
    ax.axhline(-2.4 * row, color="0.8", lw=0.6, zorder=0)
  ax.set_title(name, fontsize=10, color=color_of[name])
  ax.set(xlabel="k, elements ago", yticks=[])
  ax.spines[["top", "right", "left"]].set_visible(False)
fig.colorbar(
  plt.cm.ScalarMappable(norm, palette), ax=axes, label="log10 of the step size"
)
plt.show()

# %% [markdown]
# The scales come from the eigenvalues lambda of the continuous system and the
# step sizes dt: a state decays by about |exp(dt lambda)| per element. S5 has
# the eigenvalues of the normal part of the HiPPO matrix LegS, real part -1/2;
# S4D has -1/2 + i pi n; S4 has that normal part and a term of rank one, which
# together have the eigenvalues -1, -2, ... -N of LegS itself. Below is where
# they lie in discrete time, one of each conjugate pair: the smaller the step,
# the closer to 1, and the slower.

# %%
continuous = {}
for name in invariant:
  p = jax.tree.map(np.asarray, params_of[name])
  re = p["Lambda_re"] if name == "s5" else -np.exp(p["Lambda_re"])
  continuous[name] = re + 1j * p["Lambda_im"]
continuous["s5"] = continuous["s5"][None]

# The whole of S4's matrix, conjugate states included.
p = params_of["s4"]
Lambda = np.concatenate([continuous["s4"][0], continuous["s4"][0].conj()])
P = np.asarray(p["P"], np.float64)[0, 0] @ np.array([1, 1j])
P = np.concatenate([P, P.conj()])
legs = np.linalg.eigvals(np.diag(Lambda) - np.outer(P, P.conj()))
np.testing.assert_allclose(np.sort(-legs.real), np.arange(1, 9), atol=0.05)
continuous["s4"] = np.sort(legs.real)[None] + 0j

fig, axes = plt.subplots(1, 3, figsize=(10, 2.2), layout="constrained")
angle = np.linspace(0, np.pi, 200)
for name, ax in zip(invariant, axes):
  # S5 has a step for each state, the others one for each channel.
  steps = np.exp(log_step[name])
  z = continuous[name] * (steps if name == "s5" else steps[:, None])
  # S4 is discretized by the bilinear transform.
  z = (1 + z / 2) / (1 - z / 2) if name == "s4" else np.exp(z)
  c = np.broadcast_to(
    log_step[name] if name == "s5" else log_step[name][:, None], z.shape
  )
  z = np.where(z.imag < 0, z.conj(), z)
  ax.plot(np.cos(angle), np.sin(angle), color="0.7", lw=0.8)
  ax.scatter(z.real, z.imag, 12, color=shade(c.ravel()), zorder=2)
  ax.set_title(name, fontsize=10, color=color_of[name])
  ax.set(xlabel="real", aspect="equal", xlim=(-1.05, 1.1), ylim=(-0.05, 1.05))
  ax.spines[["top", "right"]].set_visible(False)
axes[0].set_ylabel("imaginary")
fig.colorbar(
  plt.cm.ScalarMappable(norm, palette), ax=axes, label="log10 of the step size"
)
plt.show()

# %% [markdown]
# ## A step size that the input decides
#
# Mamba and Mamba-2 compute the step size of each element from the input. A
# long step overwrites the state, a short one passes the element by. The next
# cell puts a token with long steps at time 64: a long vector along the gradient
# of the step sizes there. (Mamba's `dt_init="constant"` lets all channels go
# the same way; with random signs a token makes some steps longer and others
# shorter.)
# What came before is then lost to the last output.


# %%
def mamba_steps(params, x):
  config = config_of["mamba"]
  u = (x @ params["in_proj"])[:, : config.d_inner]
  u = jnp.pad(u, ((config.d_conv - 1, 0), (0, 0)))
  windows = jnp.stack([u[j : j + time] for j in range(config.d_conv)])
  u = jnp.einsum("jtd,jd->td", windows, params["conv_weight"])
  low = jax.nn.silu(u + params["conv_bias"]) @ params["x_proj"]
  low = low[:, : config.rank]
  return jax.nn.softplus(low @ params["dt_proj"] + params["dt_bias"])


def mamba2_steps(params, x):
  dt = x @ params["in_proj"][:, -config_of["mamba2"].heads :]
  return jax.nn.softplus(dt + params["dt_bias"])


steps_of = {"mamba": mamba_steps, "mamba2": mamba2_steps}
# At the start Mamba's step sizes react little to the input.
lengths = {"mamba": 300, "mamba2": 20}
place = time // 2
x = xs[0]


def with_token(name):
  def total(x):
    return jnp.sum(jnp.log(steps_of[name](params_of[name], x)[place]))

  direction = jax.grad(total)(x)[place]
  token = lengths[name] * direction / jnp.linalg.norm(direction)
  return x.at[place].set(token)


fig, axes = plt.subplots(2, 2, figsize=(10, 5), layout="constrained")
for name, (left, right) in zip(steps_of, axes):
  changed = with_token(name)
  left.semilogy(
    steps_of[name](params_of[name], changed), color=color_of[name], lw=0.7
  )
  left.set(ylabel=f"{name}\nstep size")
  sizes = {
    "as drawn": sizes_of(name, x, never, time - 1),
    f"long step at {place}": sizes_of(name, changed, never, time - 1),
  }
  for (label, y), color in zip(sizes.items(), ("0.6", color_of[name])):
    right.semilogy(np.maximum(y, 1e-12), color=color, label=label)
  right.set(ylabel=f"size of d y[{time - 1}] / d x[s]", ylim=(1e-9, 300))
  for ax in (left, right):
    ax.axvline(place, color="C3", lw=0.8, ls=":")
    ax.spines[["top", "right"]].set_visible(False)
  before, after = (y[: place - 3].mean() for y in sizes.values())
  assert after < 0.1 * before
  print(f"{name:7s} influence of the past, factor {after / before:.1e}")
axes[0, 0].set_title("Step sizes of all channels or heads", fontsize=10)
axes[0, 1].set_title("What the last output depends on", fontsize=10)
axes[0, 1].legend(frameon=False, loc="upper left")
axes[1, 0].set_xlabel("time")
axes[1, 1].set_xlabel("s")
plt.show()

# %% [markdown]
# ## A reset cuts it to zero
#
# The same Jacobian for 16 output times, on a sequence with a reset in the
# middle. Each row is an output time, each column a block of eight inputs; white
# is exactly zero. Above the diagonal that is the future. The white block in the
# lower left is the reset: no output after it depends on any input before it, in
# any mixer, not even by a rounding error.

# %%
block = 8
reset = never.at[place].set(True)
times = np.arange(block - 1, time, block)
fig, ax_of, corner = panels(10.4)
for name, ax in ax_of.items():
  sizes = np.stack([sizes_of(name, x, reset, t) for t in times.tolist()])
  inputs = np.arange(time)
  assert (sizes[times >= place, :place] == 0).all(), name
  # And nothing sees the future.
  assert (sizes[inputs[None] > times[:, None]] == 0).all(), name
  assert (sizes[np.arange(len(times)), times] > 0).all(), name
  # The element with the reset and those after it are seen.
  assert sizes[place // block, place] > 0, name
  blocks = sizes.reshape(len(times), -1, block).mean(-1)
  image = ax.imshow(
    np.log10(np.where(blocks > 0, blocks, np.nan)),
    cmap="viridis",
    vmin=-6,
    vmax=0.5,
    extent=(0, time, time, 0),
  )
  ax.set(xticks=[0, place, time], yticks=[0, place, time])
fig.colorbar(image, ax=corner, label="log10 of the size", fraction=0.5)
fig.supxlabel("s, time of the input", fontsize=10)
fig.supylabel("t, time of the output", fontsize=10)
plt.show()

# %% [markdown]
# ## What the memory costs
#
# Bytes of the state of one sequence, and what they are multiplied by when the
# width doubles, and when the named option of the mixer does. No state grows
# with the length of the sequence: a step gives back the shapes that it was
# given. For attention that is so because of the window; its keys and values are
# the largest state here. S5's state does not depend on the width at all.

# %%
memory = {
  **dict.fromkeys(("s4", "s4d", "mamba", "mamba2"), "d_state"),
  "s5": "ssm_size",
  "aaren": "heads",
  "lightnet": "d_key",
  "linear_attention": "d_key",
  "attention": "window",
  **dict.fromkeys(families["gated or plain RNN"], "d_hidden"),
}
# Defaults that follow from the width, for the options above.
derived = {"aaren": 8, "lightnet": 16, "linear_attention": 4}


def fresh(name, **changes):
  given = {"d_model": width, **options.get(name, {}), **changes}
  config = mixers.make_config(name, **given)
  make = functools.partial(mixers.get(name).initial_state, config)
  return jax.eval_shape(make)


def size_of(state):
  return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))


print("mixer              bytes   2 d_model   2 x option")
for name, option in memory.items():
  value = getattr(config_of[name], option) or derived.get(name, width)
  state = fresh(name)
  now = size_of(state)
  wider = size_of(fresh(name, d_model=2 * width)) / now
  larger = size_of(fresh(name, **{option: 2 * value})) / now
  print(f"{name:17s} {now:6d}   x {wider:.1f}       x {larger:.1f}  {option}")

  one = jax.ShapeDtypeStruct((width,), jnp.float32)
  step = functools.partial(mixers.get(name).step, config_of[name])
  _, next_state = jax.eval_shape(step, params_of[name], one, state)
  assert next_state == state, name
