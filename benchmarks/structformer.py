"""Time and memory of StructFormer's parser, next to cubes of all spans.

  taskset -c 0 python -m benchmarks.structformer

From distances and heights to the heads of all tokens, forward and with the
gradient. The other form has the probability of every span for every token, and
the softmax of heights in every span; a test checks that both agree. The two
take turns; what needs more than --memory_limit is compiled and not run.
"""

import argparse

import jax
import jax.numpy as jnp

from benchmarks import timing
from jaxseq.tasks.masked_language import structformer

# Sentences and their tokens.
SHAPES = ((64, 22), (4, 64), (4, 256), (64, 256))
_FAR = 1e9


def highest(height):
  """The maximum of each span, (*batch, first, last); -1e9 for none."""
  place = jnp.arange(height.shape[-1])
  first, last = place[:, None, None], place[:, None]
  return jnp.max(
    height[..., None, None, :],
    axis=-1,
    initial=-_FAR,
    where=(first <= place) & (place <= last),
  )


def constituents(distance, height, temperature):
  """Probabilities (*batch, time, first, last) and (*batch, time, time)."""
  time = distance.shape[-1]
  ones = jnp.ones((time, time), bool)
  differences = height[..., :, None] - distance[..., None, :]
  passes = jax.nn.sigmoid(differences * temperature)
  place = jnp.arange(time)
  token, reach, boundary = place[:, None, None], place[:, None], place

  def least(where):
    every = passes[..., :, None, :]
    return jnp.min(every, axis=-1, initial=1, where=where)

  left = least((reach <= boundary) & (boundary < token))
  right = least((token <= boundary) & (boundary < reach))
  block = jnp.where(jnp.tril(ones), left, right)
  none = jnp.zeros_like(passes[..., :1])
  first = left - jnp.concatenate([none, left[..., :-1]], axis=-1)
  last = right - jnp.concatenate([right[..., 1:], none], axis=-1)
  first, last = jnp.tril(first), jnp.triu(last)
  return first[..., :, None] * last[..., None, :], block


def heads(spans, height, temperature):
  """The sum over spans of their probability and the softmax of heights."""
  place = jnp.arange(height.shape[-1])
  first, last = place[:, None, None], place[None, :, None]
  within = (first <= place) & (place <= last)
  # A span that ends before its start has probability 0, and needs some value.
  within |= first > last
  scores = (height * temperature)[..., None, None, :]
  likely = jax.nn.softmax(jnp.where(within, scores, -jnp.inf), axis=-1)
  return jnp.einsum("...lij,...ijh->...lh", spans, likely)


def by_cubes(distance, height, temperature):
  spans, _ = constituents(distance, height, temperature[0])
  return heads(spans, height, temperature[1])


def by_ends(distance, height, temperature):
  first, last, _ = structformer.constituents(distance, height, temperature[0])
  return structformer.heads(first, last, height, temperature[1])


def gradient(function):
  """Of a sum in which no two heads weigh the same."""

  def loss(*arguments):
    y = function(*arguments)
    return jnp.sum(y * jnp.sin(jnp.arange(y.size)).reshape(y.shape))

  return jax.value_and_grad(loss, argnums=(0, 1, 2))


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--repeats", type=int, default=3)
  parser.add_argument("--memory_limit", type=float, default=4.0, help="GB")
  flags = parser.parse_args()
  print(timing.machine())
  print(f"{'rows':>5} {'tokens':>6} {'':>8} {timing.pair_head()}")
  for rows, tokens in SHAPES:
    keys = jax.random.split(jax.random.key(0))
    distance, height = (jax.random.normal(x, (rows, tokens)) for x in keys)
    distance = distance.at[:, -1].set(_FAR)
    arguments = distance, height, jnp.ones(2)
    for label, wrap in (("forward", lambda f: f), ("gradient", gradient)):
      old, new = timing.interleaved(
        [(wrap(f), arguments) for f in (by_cubes, by_ends)],
        flags.repeats,
        flags.memory_limit * 1e9,
      )
      line = timing.pair(old, new)
      print(f"{rows:>5} {tokens:>6} {label:>8} {line}", flush=True)
  print("in each pair: cubes, then jaxseq")


if __name__ == "__main__":
  main()
