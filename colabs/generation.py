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
# # Texts from states
#
# A recurrent network keeps all that it remembers of a text in a state whose
# size does not grow. Everything on this page follows from that: streams, rows
# that come and go, prompts that are read once, beams that are one more batch
# axis, and constraints whose states go along. It works alike with caches of
# keys and with hybrids of both.

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
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxseq import data
from jaxseq import generation
from jaxseq import nn
from jaxseq.generation import automaton
from jaxseq.generation import recycling
from jaxseq.generation import speculative

TINY = "JAXSEQ_TINY" in os.environ

# %% [markdown]
# ## A network of bytes
#
# Python's own standard library is a text that is always there. A small network
# learns a little of it in a minute.

# %%
source = data.load("python_source").train.targets[0]
stack = nn.StackConfig("gru", d_model=32 if TINY else 128, num_layers=1)
network = nn.SequenceNetwork(nn.NetworkConfig(stack), 256, 256)
variables = jax.jit(network.init)(
  jax.random.key(0), jnp.zeros((1, 1), jnp.int32)
)
optimizer = optax.adam(3e-3)


@jax.jit
def train(variables, state, key):
  """One update on random pieces."""

  def loss(variables):
    starts = jax.random.randint(key, (16, 1), 0, len(text) - 128)
    pieces = text[starts + jnp.arange(129)].astype(jnp.int32)
    logits, _ = network.apply(variables, pieces[:, :-1])
    return optax.softmax_cross_entropy_with_integer_labels(
      logits, pieces[:, 1:]
    ).mean()

  value, grads = jax.value_and_grad(loss)(variables)
  updates, state = optimizer.update(grads, state)
  return optax.apply_updates(variables, updates), state, value


text = jnp.asarray(source[: 10**5 if TINY else 4 * 10**6])
state = optimizer.init(variables)
for key in jax.random.split(jax.random.key(1), 20 if TINY else 600):
  variables, state, value = train(variables, state, key)
print(f"{value / np.log(2):.2f} bits per byte")

# %% [markdown]
# ## Streams
#
# `stream` yields each token as it comes, with the text that is certain, its log
# probability, and at the end of a row why it ends. Prompts have any lengths,
# and a row is the same alone and in any batch.

# %%
codec = generation.Codec()
prompts = ["def ", "class Error(", "import "]
for piece in generation.stream(
  network,
  variables,
  prompts[:1],
  80,
  codec=codec,
  stop_texts=["\n\n"],
  temperature=0.6,
):
  print(piece.text, end="", flush=True)

# %%
together = generation.complete(
  network, variables, prompts, 40, codec=codec, temperature=0.6, top_p=0.9
)
alone = generation.complete(
  network,
  variables,
  prompts[1:2],
  40,
  codec=codec,
  seeds=[1],
  temperature=0.6,
  top_p=0.9,
)
assert alone[0][0].text == together[1][0].text
for prompt, (row,) in zip(prompts, together):
  print(repr(prompt + row.text), f"{row.log_probs.mean():.2f}")

# %% [markdown]
# ## Rows that come and go
#
# An engine has slots. The next prompt takes the slot of a row that has ended,
# inside the same compiled program: a reset makes the network forget what was
# there.

# %%
rng = np.random.default_rng(0)
requests = [
  generation.Request(codec.encode(prompts[i % 3]), int(length), seed=i)
  for i, length in enumerate(1 + rng.exponential(20, size=24))
]
engine = generation.Engine(network, variables)
engine.run(requests[:1])  # Compiles.
start = time.perf_counter()
results = engine.run(requests)
seconds = time.perf_counter() - start
drawn = sum(len(row.tokens) for (row,) in results)
print(f"{drawn} tokens in {seconds:.2f} s, by {engine.config.slots} slots")

# %% [markdown]
# ## Prompts that are read once
#
# What a network keeps of a prompt is a pytree. A cache of these hands it out
# again; a prompt that comes a second time is not read, and gives the very same
# numbers.

# %%
cache = generation.PrefixCache(max_bytes=2**20)
cached = generation.Engine(network, variables, cache=cache)
stem = bytes(source[:500].astype(np.uint8)).decode()
for end in ("\n", "\nimport", "\ndef "):
  before = cached.read
  request = generation.Request(codec.encode(stem + end), 10)
  (first,), (again,) = cached.run([request]), cached.run([request])
  assert (first[0].log_probs == again[0].log_probs).all()
  print(f"read {cached.read - before} of {len(request.prompt)} tokens, twice")
print(f"{cache.hits} hits; {len(cache)} states of {cache.nbytes} bytes in all")

# %% [markdown]
# ## Beams
#
# The beams of a prompt are a batch axis of the state, gathered when they change
# places. Groups that pay for what others have just taken find texts that
# differ.

# %%
prompt = jnp.asarray(codec.encode("    return "))
for groups, strength in ((1, 0.0), (4, 0.5)):
  found = generation.ranked(
    generation.beam_search(
      network,
      variables,
      prompt,
      16,
      beams=4,
      groups=groups,
      strength=strength,
      end_token=10,
    )
  )
  print(f"{groups} group(s)")
  for tokens, log_prob in zip(np.asarray(found.tokens), found.log_prob):
    print(f"  {log_prob:6.2f} {codec.decode(tokens)!r}")

# %% [markdown]
# ## Constraints
#
# A constraint says which tokens may come, and has a state that goes along. A
# regular expression becomes a table; whatever the network thinks, the text
# matches it.

# %%
name = automaton.compile_pattern(
  r"[a-z_]+\((self)?(, [a-z]+){0,2}\):", end_token=10
)
tokens, _ = generation.generate(
  network,
  variables,
  jnp.asarray([codec.encode("    def ")] * 4),
  32,
  jax.random.key(2),
  temperature=0.8,
  stop=10,
  constraint=name,
)
for row in np.asarray(tokens):
  print(repr(codec.decode(row).rstrip("\n")))

# %% [markdown]
# ## Several tokens in one pass
#
# Token Recycling guesses a tree of tokens from what the network found probable
# before, and the network reads the tree in one pass: the state of a node comes
# from its parent's. The text stays what it was, token by token.

# %%
tree = recycling.Recycling(recycling.SMALL_TREE, context=2)
prompt = jnp.asarray([codec.encode(stem)])
arguments = network, variables, prompt, 60, jax.random.key(3)
found = speculative.generate(*arguments, draft=tree, temperature=0)
plain, _ = generation.generate(*arguments, temperature=0)
np.testing.assert_array_equal(found.tokens, plain)
print(f"60 tokens in {int(found.passes[0])} passes")
