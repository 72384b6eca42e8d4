"""The successor of binary numbers by attention with learned positions.

  python -m benchmarks.learned_positions
  python -m benchmarks.learned_positions --sampling=balanced

The layers of `configs/synthetic/recursion.py` with a learned vector for every
place instead of rotary positions, as in arXiv:2401.12947, and a read-out that
is tied to the embedding: exact match by the depth of the recursion, on numbers
of 2 to 12 constructors and on longer ones.
"""

import argparse
import dataclasses
import functools
import time

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from configs import blocks
from configs.synthetic import recursion as config
from jaxseq import nn
from jaxseq.data.tokens import recursion
from jaxseq.tasks.masked_language import network as masked_network
from jaxseq.training import optimizers
from jaxseq.training import recipes

DEPTHS = (0, 2, 4, 6, 7, 8, 9, 11)
BATCH, TESTS = 64, 20
NUMBERS = recursion.SuccessorConfig()
LONGER = recursion.SuccessorConfig(min_length=13, max_length=20)


def make_network() -> masked_network.MaskedNetwork:
  """Returns the network, which sees what is to the left alone."""
  fields = blocks.arm("attention")["network"]["stack"]
  options = {**fields.get("mixer_options", {}), "positions": "none"}
  shared = config.NATURAL.network["stack"]
  stack = nn.StackConfig(**{**shared, **fields, "mixer_options": options})
  return masked_network.MaskedNetwork(
    nn.NetworkConfig(stack), NUMBERS.vocab_size, 0, positions=LONGER.time
  )


def solved(network, variables, key, options):
  """Returns the share of sequences that are right as a whole."""

  def one(key):
    batch = recursion.SUCCESSOR_OF.sample(key, options, BATCH)
    right = network.apply(variables, batch.inputs).argmax(-1) == batch.targets
    return (right | ~batch.mask).all(axis=-1).mean()

  return lax.map(one, jax.random.split(key, TESTS)).mean()


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def scores(network, sampling, updates, key):
  """Trains with a key; returns exact match by depth, and of longer numbers."""
  key_init, key_train, key_test = jax.random.split(key, 3)
  options = dataclasses.replace(NUMBERS, sampling=sampling)
  recipe = recipes.Recipe(learning_rate=3e-3, warmup_steps=50)
  optimizer = optimizers.make_optimizer(recipes.make(recipe, (), updates))
  first = jnp.zeros((1, NUMBERS.time), jnp.int32)
  variables = network.init(key_init, first)

  def loss(variables, batch):
    logs = jax.nn.log_softmax(network.apply(variables, batch.inputs))
    logs = jnp.take_along_axis(logs, batch.targets[..., None], axis=-1)[..., 0]
    return -jnp.where(batch.mask, logs, 0).sum() / batch.mask.sum()

  def update(carry, key):
    variables, state = carry
    batch = recursion.SUCCESSOR_OF.sample(key, options, BATCH)
    gradients = jax.grad(loss)(variables, batch)
    change, state = optimizer.update(gradients, state, variables)
    return (jax.tree.map(jnp.add, variables, change), state), None

  keys = jax.random.split(key_train, updates)
  start = variables, optimizer.init(variables)
  (variables, _), _ = lax.scan(update, start, keys)
  tests = [dataclasses.replace(NUMBERS, depth=depth) for depth in DEPTHS]
  return jnp.stack(
    [solved(network, variables, key_test, test) for test in (*tests, LONGER)]
  )


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  choices = {"choices": ("natural", "balanced"), "default": "natural"}
  parser.add_argument("--sampling", **choices)
  parser.add_argument("--updates", type=int, default=500)
  parser.add_argument("--seeds", type=int, default=3)
  flags = parser.parse_args()
  start = time.process_time()
  keys = jax.random.split(jax.random.key(0), flags.seeds)
  values = np.stack(
    [scores(make_network(), flags.sampling, flags.updates, k) for k in keys]
  )
  spread = values.std(axis=0, ddof=1) if flags.seeds > 1 else 0 * values[0]
  for name, mean, std in zip(
    [*map(str, DEPTHS), "lengths 13 to 20"], values.mean(axis=0), spread
  ):
    print(f"{name}: {mean:.3f} ± {std:.3f}")
  print(f"{(time.process_time() - start) / 60:.1f} min of CPU")


if __name__ == "__main__":
  main()
