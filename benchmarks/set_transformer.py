"""What attention in sets is worth: the largest number, and how many differ.

  python -m benchmarks.set_transformer

Sets of 1 to 10 elements: numbers between 0 and 100, of which the largest is
asked for, scored by the mean absolute error; and letters of an alphabet of
twelve, of which the number of different ones is asked for, scored by the share
that is right after rounding (the first experiments of Lee et al., Set
Transformer, arXiv:1810.00825, at a smaller size). Networks that read every
element alone and take the mean, that pool by attention (PMA), and that let
elements attend to each other as well (ISAB). Each learns from sets drawn anew
in every update.
"""

import argparse
import functools
import time

from flax import linen
import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.pointing import set_network
from jaxseq import nn
from jaxseq.nn import masks

SIZE, LETTERS, BATCH, WIDTH = 10, 12, 128, 64


class Network(linen.Module):
  """One number of a set."""

  attends: bool
  pools: bool

  @linen.compact
  def __call__(self, x, lengths):
    """Maps sets (n, time, features) of some lengths to (n,) numbers."""
    mask = masks.inside(x.shape[-2], lengths)
    for i in range(2):
      x = jax.nn.relu(nn.dense.Dense(WIDTH, name=f"read_{i}")(x))
    if self.attends:
      x = set_network.InducedAttention(WIDTH)(x, mask)
    if self.pools:
      x = set_network.PooledAttention(WIDTH)(x, mask)[:, 0]
    else:
      x = jnp.where(mask[..., None], x, 0).sum(-2) / lengths[:, None]
    x = jax.nn.relu(nn.dense.Dense(WIDTH, name="write")(x))
    return nn.dense.Dense(1, name="out")(x)[:, 0]


ARMS = {
  "each alone, mean": Network(attends=False, pools=False),
  "each alone, PMA": Network(attends=False, pools=True),
  "ISAB, mean": Network(attends=True, pools=False),
  "ISAB, PMA (Set Transformer)": Network(attends=True, pools=True),
}


def largest(key):
  """Sets of numbers, their lengths, and the largest of each, as a share."""
  key_x, key_n = jax.random.split(key)
  x = jax.random.uniform(key_x, (BATCH, SIZE, 1))
  lengths = jax.random.randint(key_n, (BATCH,), 1, SIZE + 1)
  inside = masks.inside(SIZE, lengths)
  return x, lengths, jnp.where(inside, x[..., 0], 0).max(-1)


def different(key):
  """Sets of letters, their lengths, and how many differ, as a share."""
  key_x, key_n = jax.random.split(key)
  x = jax.random.randint(key_x, (BATCH, SIZE), 0, LETTERS)
  lengths = jax.random.randint(key_n, (BATCH,), 1, SIZE + 1)
  rows = jax.nn.one_hot(x, LETTERS)
  inside = masks.inside(SIZE, lengths)[..., None]
  return rows, lengths, jnp.where(inside, rows, 0).max(-2).sum(-1) / SIZE


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def scores(network, draw, updates, key):
  """Trains with a key; returns errors and right answers on 100 new batches."""
  key_init, key_first, key_train, key_test = jax.random.split(key, 4)
  optimizer = optax.adam(optax.cosine_decay_schedule(1e-3, updates))
  params = network.init(key_init, *draw(key_first)[:2])

  def loss(params, key):
    x, lengths, target = draw(key)
    return jnp.abs(network.apply(params, x, lengths) - target).mean()

  def update(carry, key):
    params, state = carry
    gradients = jax.grad(loss)(params, key)
    change, state = optimizer.update(gradients, state)
    return (optax.apply_updates(params, change), state), None

  keys = jax.random.split(key_train, updates)
  (params, _), _ = jax.lax.scan(update, (params, optimizer.init(params)), keys)

  def test(key):
    x, lengths, target = draw(key)
    told = network.apply(params, x, lengths)
    right = jnp.round(told * SIZE) == jnp.round(target * SIZE)
    return jnp.abs(told - target).mean(), right.mean()

  errors, right = jax.lax.map(test, jax.random.split(key_test, 100))
  return errors.mean(), right.mean()


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--updates", type=int, default=3000)
  parser.add_argument("--seeds", type=int, default=3)
  flags = parser.parse_args()
  print("network | error of the largest, of 100 | numbers of different letters")
  start = time.process_time()
  for name, network in ARMS.items():
    cells = []
    for draw, which, factor in ((largest, 0, 100), (different, 1, 1)):
      values = [
        factor * float(scores(network, draw, flags.updates, key)[which])
        for key in jax.random.split(jax.random.key(0), flags.seeds)
      ]
      cells.append(f"{np.mean(values):.3f} ± {np.std(values):.3f}")
    print(" | ".join([name, *cells]), flush=True)
  print(f"{(time.process_time() - start) / 60:.1f} min of CPU")


if __name__ == "__main__":
  main()
