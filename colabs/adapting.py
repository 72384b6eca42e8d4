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
# # A trained network that learns to answer
#
# A small network learns sums of two digits, whose answers are numbers or words.
# Then adapters beside its weights learn which of the two is preferred, and are
# served: some requests get them and others do not, in one batch.

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
import jax.numpy as jnp

from jaxseq import data
from jaxseq import generation
from jaxseq import nn
from jaxseq.adapt import lora
from jaxseq.data import chat_sets
from jaxseq.tasks import adaptation
from jaxseq.tasks.adaptation import chat_adaptation
from jaxseq.training import recipes
from jaxseq.training import supervised

TINY = "JAXSEQ_TINY" in os.environ

# %% [markdown]
# ## Chats
#
# Each has a prompt and an answer. The network reads the bytes of both, and
# learns those of the answer, which ends with its line.

# %%
splits = data.load("sums")
parts = {
  "train": chat_sets.examples(splits.train),
  "test": chat_sets.examples(splits.test),
}
for chat in parts["train"][:2]:
  print(bytes(chat.tokens.tolist()), chat.mask.astype(int))

# %% [markdown]
# ## A network
#
# A layer with a memory and one of attention. All of its weights are trained, on
# rows in which several chats lie one after the other: the state is reset where
# one begins, so that they are as if each had a row of its own.

# %%
stack = nn.StackConfig(
  "gru",
  d_model=8 if TINY else 64,
  num_layers=2,
  hybrid=(("attention", (("heads", 2), ("window", 16))),),
  norm="rms",
)
network = nn.SequenceNetwork(nn.NetworkConfig(stack), 256, 256)
variables = network.init(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))


def train(problem, arm, count):
  """Returns the state after some updates, and metrics before and after."""
  optimizer = adaptation.make_optimizer(arm, count)
  state = supervised.init(problem, optimizer, jax.random.key(1), problem.data)
  evaluate = jax.jit(problem.evaluate)
  before = evaluate(state.variables, problem.data)
  state, _ = jax.jit(
    lambda state, data: supervised.train(problem, optimizer, state, data, count)
  )(state, problem.data)
  return state, before, evaluate(state.variables, problem.data)


def show(before, after):
  for name in after:
    print(f"{name:14s} {before[name]:8.3f} -> {after[name]:.3f}")


recipe = recipes.Recipe(name="plain", learning_rate=4e-3)
arm = adaptation.ArmConfig(network.config, recipe, batch_size=8, method="full")
base = adaptation.Base(network, variables)
problem = chat_adaptation.ChatProblem(arm, base, parts, length=64)
state, before, after = train(problem, arm, 3 if TINY else 400)
show(before, after)
variables = problem.served(state.variables, problem.data)

# %% [markdown]
# ## Preferences
#
# Of two answers the one in words is preferred. Adapters learn it (DPO); the
# network stays as it is, and is what they are compared with. The margin is how
# far preferred answers have risen above the others.

# %%
splits = data.load("sum_preferences")
pairs = {
  "train": chat_sets.examples(splits.train),
  "test": chat_sets.examples(splits.test),
}
options = lora.Config(r"stack\..*", rank=4)
print(lora.match(network, variables, options))

recipe = recipes.Recipe(name="plain", learning_rate=3e-3)
arm = adaptation.ArmConfig(
  network.config, recipe, batch_size=16, adapters=options
)
base = adaptation.Base(network, variables)
problem = chat_adaptation.PreferenceProblem(arm, base, pairs, length=16)
state, before, after = train(problem, arm, 3 if TINY else 60)
show(before, after)
if not TINY:
  assert after["margin"] > 0.5
adapters = state.variables["params"]

# %% [markdown]
# ## Requests
#
# One engine serves both: a request with the adapter, and one without.

# %%
codec = generation.Codec()
engine = generation.Engine(
  network,
  variables,
  generation.EngineConfig(slots=2, lines=1, chunk=4, steps=4),
  adapters={"words": adapters},
)
prompt = codec.encode("3+4=")
greedy = generation.Sampling(temperature=0)
requests = [
  generation.Request(prompt, 8, sampling=greedy, adapter=name)
  for name in (None, "words")
]
for (row,) in engine.run(requests):
  print(bytes(row.tokens.tolist()))
