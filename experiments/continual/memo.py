"""MEMO: networks that grow by a block for each task.

Zhou et al., "A Model or 603 Exemplars", arXiv:2205.13218: the first layers are
shared, the last ones exist once per task. A new block starts as a copy of the
previous one, which is frozen; the read-out reads the concatenated features, and
the weights of new classes are aligned after each task.

Arrays have places for all tasks from the start, with a leading axis of tasks;
`task` is the current task, from 0 on, and may be traced. Blocks of later tasks
have no gradient.
"""

import jax
import jax.numpy as jnp

from jaxseq.nn import masks
from jaxseq.types import PyTree


def grown(blocks: PyTree, task: jax.Array | int) -> PyTree:
  """Copies the previous task's block to the place of `task`."""
  return jax.tree.map(lambda x: x.at[task].set(x[task - 1]), blocks)


def frozen(blocks: PyTree, task: jax.Array | int) -> PyTree:
  """Stops the gradient of all blocks (tasks, ...) but that of `task`."""
  trained = jnp.arange(len(jax.tree.leaves(blocks)[0])) == task
  return masks.choose(trained, blocks, jax.lax.stop_gradient(blocks))


def read_out(
  features: jax.Array,
  kernel: jax.Array,
  bias: jax.Array,
  task: jax.Array | int,
  classes: jax.Array | int,
) -> jax.Array:
  """Returns logits (n, C), the lowest number for classes not seen.

  Args:
    features: (tasks, n, width), of each block.
    kernel: (tasks, width, C).
    bias: (C,).
    task: the newest block.
    classes: number of classes seen.
  """
  has_begun = jnp.arange(len(features)) <= task
  features = jnp.where(has_begun[:, None, None], features, 0)
  logits = jnp.einsum("tnf,tfc->nc", features, kernel) + bias
  seen = jnp.arange(len(bias)) < classes
  return jnp.where(seen, logits, jnp.finfo(logits.dtype).min)


def auxiliary_targets(targets: jax.Array, old: jax.Array | int) -> jax.Array:
  """Returns 0 for the first `old` classes, and 1, 2, ... for new classes."""
  return jnp.where(targets < old, 0, targets - old + 1)


def aligned(
  kernel: jax.Array,
  task: jax.Array | int,
  old: jax.Array | int,
  classes: jax.Array | int,
) -> jax.Array:
  """Scales the weights of new classes to the length of those of old ones.

  The factor is the mean norm of the old classes' weights over that of the new
  ones'; biases are not scaled. Without old classes nothing changes.

  Args:
    kernel: (tasks, width, C).
    task: the newest block.
    old: number of classes of earlier tasks.
    classes: number of classes seen.
  """
  has_begun = (jnp.arange(len(kernel)) <= task)[:, None, None]
  number = jnp.arange(kernel.shape[-1])
  lengths = jnp.sqrt(
    jnp.square(jnp.where(has_begun, kernel, 0)).sum(axis=(0, 1))
  )
  new = (number >= old) & (number < classes)

  def mean(mask):
    return jnp.where(mask, lengths, 0).sum() / jnp.maximum(mask.sum(), 1)

  tiny = jnp.finfo(kernel.dtype).tiny
  scale = mean(number < old) / jnp.maximum(mean(new), tiny)
  return jnp.where(has_begun & new & (old > 0), kernel * scale, kernel)
