"""Pools of prompts, retrieved by a query and trained where they are used.

A pool has one key for each prompt. A query chooses the prompts whose keys have
the largest cosines; only these, and their keys through the sum of cosines, get
a gradient. Wang et al., "Learning to prompt for continual learning", CVPR 2022;
for events Xue et al., "PromptTPP", NeurIPS 2023.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import recurrence

Array = jax.Array
Params = dict


class Choice(NamedTuple):
  """The prompts chosen by queries.

  Attributes:
    index: (..., count) int32, the best first.
    cosine: (...), sum of the cosines of their keys with the query, to maximize.
  """

  index: Array
  cosine: Array


def init(
  key: Array, size: int, length: int, width: int, key_width: int
) -> Params:
  """Draws a pool of uniform numbers from -1 to 1.

  Args:
    key: random key.
    size: number of prompts.
    length: number of vectors of a prompt.
    width: width of the vectors.
    key_width: width of queries and keys.

  Returns:
    "key" (size, key_width) and "prompt" (size, length, width).
  """
  key_key, key_prompt = jax.random.split(key)

  def uniform(key, *shape):
    return jax.random.uniform(key, shape, minval=-1)

  return {
    "key": uniform(key_key, size, key_width),
    "prompt": uniform(key_prompt, size, length, width),
  }


def choose(
  keys: Array, query: Array, count: int, *, batchwise: bool = False
) -> Choice:
  """Chooses prompts by their keys.

  Args:
    keys: (size, width).
    query: (..., width).
    count: number of prompts to choose; of equal ones, those of smaller index.
    batchwise: whether all rows get the `count` prompts that most queries would
      choose, as in the published code: the choice for a sequence then depends
      on the others.
  """
  query, keys = _normed(query), _normed(keys)
  cosines = query @ keys.T
  index = jax.lax.top_k(cosines, count)[1]
  if batchwise:
    votes = jnp.zeros(len(keys), jnp.int32).at[index].add(1)
    index = jnp.broadcast_to(jax.lax.top_k(votes, count)[1], index.shape)
  cosine = jnp.take_along_axis(cosines, index, axis=-1).sum(axis=-1)
  return Choice(index, cosine)


def means(
  x: Array, past: tuple[Array, Array], reset: Array | None = None
) -> tuple[Array, tuple[Array, Array]]:
  """Returns the means of all elements so far, without later ones.

  Args:
    x: (*batch, time, width).
    past: the sum (*batch, width) and number (*batch,) of earlier elements.
    reset: (*batch, time) bool, True at the start of a sequence.

  Returns:
    (*batch, time, width), and the next `past`.
  """
  total, number = past
  ones = jnp.ones((*x.shape[:-1], 1), x.dtype)
  sums, last = recurrence.linear_scan(
    jnp.ones((), x.dtype),
    jnp.concatenate([x, ones], axis=-1),
    jnp.concatenate([total, number[..., None]], axis=-1),
    reset=reset,
  )
  return sums[..., :-1] / sums[..., -1:], (last[..., :-1], last[..., -1])


def _normed(x):
  """Normalizes vectors to length 1; 0 stays 0."""
  square = jnp.sum(x * x, axis=-1, keepdims=True)
  return x * jax.lax.rsqrt(jnp.maximum(square, 1e-12))
