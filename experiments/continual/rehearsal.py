"""Losses against forgetting: replay, DER++, ER-ACE, and EWC's penalty.

DER++ is arXiv:2004.07211, ER-ACE arXiv:2104.05025, EWC arXiv:1612.00796 in its
online form (arXiv:1805.06370). The definitions are those of the papers; a
function's docstring notes where github.com/aimagelab/mammoth differs.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxseq.tasks import losses
from jaxseq.types import PyTree


def derpp(
  batch: tuple[jax.Array, jax.Array],
  first: tuple[jax.Array, jax.Array],
  second: tuple[jax.Array, jax.Array],
  weight: jax.Array,
  alpha: float,
  beta: float,
) -> jax.Array:
  """Returns the loss of DER++.

  Args:
    batch: logits (n, classes) and labels (n,) of new examples.
    first: logits (m, classes) of examples drawn from the memory, and the logits
      stored with them.
    second: logits (m, classes) and labels (m,) of a second draw.
    weight: (m,) weights of the drawn examples, 0 if the memory is empty.
    alpha: weight of the distance between logits, a mean over the classes too.
    beta: weight of the replayed labels.
  """
  value = losses.cross_entropy(*batch)[0]
  distance = jnp.square(first[0] - first[1]).mean(axis=1)
  value += alpha * (weight * distance).sum() / jnp.maximum(weight.sum(), 1)
  return value + beta * losses.cross_entropy(*second, weight > 0)[0]


def absent_out(
  logits: jax.Array, labels: jax.Array, seen: jax.Array
) -> jax.Array:
  """Returns logits for ER-ACE's loss of a batch of new examples.

  Classes seen before and absent from the batch are masked out, so that learning
  new classes does not lower them. The released code keeps the largest of them,
  and differs if the batch lacks that class.

  Args:
    logits: (n, classes).
    labels: (n,) integers.
    seen: (classes,) bool, the classes of earlier batches.
  """
  hot = jax.nn.one_hot(labels, logits.shape[1], dtype=bool)
  left = seen & ~hot.any(axis=0)
  return jnp.where(left, jnp.finfo(logits.dtype).min, logits)


def fisher(
  log_probs: Callable[[PyTree, jax.Array], jax.Array],
  params: PyTree,
  inputs: jax.Array,
  weight: jax.Array,
  labels: jax.Array | None = None,
) -> PyTree:
  """Returns the diagonal of the Fisher information, like the parameters.

  It is the mean over examples of the squared gradient of log p(y): exactly,
  with y from the network's distribution (without `labels`), or empirically,
  with the labels as y. The released code weights the latter with p(label),
  which is neither.

  Args:
    log_probs: (params, inputs of one example) -> (classes,).
    params: parameters of the network.
    inputs: (n, ...).
    weight: (n,) weights of examples.
    labels: (n,) integers.
  """

  def add(total, example):
    x, count, *label = example
    slopes = jax.jacrev(log_probs)(params, x)
    if label:
      square = jax.tree.map(lambda g: count * g[label[0]] ** 2, slopes)
    else:
      share = count * jnp.exp(log_probs(params, x))
      square = jax.tree.map(lambda g: jnp.tensordot(share, g**2, 1), slopes)
    return jax.tree.map(jnp.add, total, square), None

  rest = () if labels is None else (labels,)
  start = jax.tree.map(jnp.zeros_like, params)
  total, _ = jax.lax.scan(add, start, (inputs, weight, *rest))
  return jax.tree.map(lambda x: x / jnp.maximum(weight.sum(), 1), total)


def penalty(params: PyTree, anchor: PyTree, information: PyTree) -> jax.Array:
  """Returns the sum of information (params - anchor)^2 over all parameters."""
  terms = jax.tree.map(
    lambda x, old, f: (f * jnp.square(x - old)).sum(),
    params,
    anchor,
    information,
  )
  return sum(jax.tree.leaves(terms), start=jnp.zeros(()))
