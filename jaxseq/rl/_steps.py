"""The loop over the steps of a rollout, with few kernels in a step.

On a GPU each operation of a step that is not fused with others is a kernel,
whose launch takes some microseconds. There

- values that depend only on the network's variables, such as a transposed
  matrix, are computed before the loop, since compilers leave them inside;
- the outputs of a step are written to one array instead of one array each.

The results are identical. On other devices this is `jax.lax.scan`: a CPU's
compiler hoists loop invariants by itself, and small writes cost little.
"""

from collections.abc import Callable
import math
from typing import Any

import jax
from jax.extend import core
import jax.numpy as jnp
import numpy as np

from jaxseq.training.devices import device_mesh
from jaxseq.types import PyTree

Step = Callable[[PyTree, PyTree, Any], tuple[PyTree, PyTree]]

# Largest output of a step, over all environments, that is packed with others.
# For a larger one the write takes longer than the kernel launch.
_MOST = 2**16


def scan(step, variables, carry, elements):
  """Scans a `step(variables, carry, element) -> (carry, output)`."""
  if not device_mesh.on_one_gpu():
    return jax.lax.scan(
      lambda carry, element: step(variables, carry, element), carry, elements
    )
  first = jax.tree.map(lambda leaf: leaf[0], elements)
  body, invariant = _invariants_outside(step, variables, carry, first)
  _, shapes = jax.eval_shape(step, variables, carry, first)

  def run(carry, element):
    carry, output = body(invariant, carry, element)
    return carry, _put_together(output)

  carry, outputs = jax.lax.scan(run, carry, elements)
  return carry, _taken_apart(shapes, outputs)


def _invariants_outside(step, variables, carry, element):
  """Splits a step into its body and the loop invariants that do not grow."""
  closed, shapes = jax.make_jaxpr(step, return_shape=True)(
    variables, carry, element
  )
  structure, jaxpr = jax.tree.structure(shapes), closed.jaxpr
  leaves = jax.tree.leaves(variables)
  invariants = dict(zip(jaxpr.invars, leaves))
  invariants |= zip(jaxpr.constvars, closed.consts)
  inside = []
  for equation in jaxpr.eqns:
    takes = [x for x in equation.invars if not isinstance(x, core.Literal)]
    outside = (
      bool(takes)
      and not equation.effects
      and all(x in invariants for x in takes)
      and _size(equation.outvars) <= _size(takes)
    )
    if outside:
      _evaluate([equation], invariants)
    else:
      inside.append(equation)
  uses = [*jaxpr.outvars, *(x for each in inside for x in each.invars)]
  names = dict.fromkeys(
    x for x in uses if not isinstance(x, core.Literal) and x in invariants
  )
  invariant = [invariants[name] for name in names]
  rest = jaxpr.invars[len(leaves) :]

  def body(invariant, carry, element):
    values = dict(zip(names, invariant))
    values |= zip(rest, jax.tree.leaves((carry, element)))
    _evaluate(inside, values)
    out = [_value(x, values) for x in jaxpr.outvars]
    return jax.tree.unflatten(structure, out)

  return body, invariant


def _evaluate(equations, values):
  """Adds the results of equations of a jaxpr to the values of its variables."""
  for equation in equations:
    primitive = equation.primitive
    options = primitive.get_bind_params(equation.params)
    arguments = (_value(x, values) for x in equation.invars)
    # Profiles show by these names which module an operation is part of.
    scope = jax.named_scope(str(equation.source_info.name_stack))
    with equation.ctx.manager, scope:
      outputs = primitive.bind(*arguments, **options)
    outputs = outputs if primitive.multiple_results else [outputs]
    values.update(zip(equation.outvars, outputs))


def _value(x, values):
  return x.val if isinstance(x, core.Literal) else values[x]


def _size(variables) -> int:
  return sum(math.prod(x.aval.shape) for x in variables)


def _joins(leaf) -> bool:
  """Returns whether an output is packed with others."""
  if not jnp.ndim(leaf) or math.prod(leaf.shape) > _MOST:
    return False
  return leaf.dtype in (jnp.bool_, jnp.int32, jnp.uint32, jnp.float32)


def _put_together(output):
  """Packs small leaves into a (envs, numbers) uint32 array; also the others."""
  small, others = [], []
  for leaf in jax.tree.leaves(output):
    (small if _joins(leaf) else others).append(leaf)
  words = [_words(leaf).reshape(len(leaf), -1) for leaf in small]
  return jnp.concatenate(words, -1) if words else None, others


def _words(x):
  """Converts 32-bit numbers and flags to uint32."""
  if x.dtype == jnp.bool_:
    return x.astype(jnp.uint32)
  return jax.lax.bitcast_convert_type(x, jnp.uint32)


def _taken_apart(shapes, outputs):
  """Unpacks the stacked outputs of `_put_together`."""
  words, others = outputs
  shapes, structure = jax.tree.flatten(shapes)
  start, others, leaves = 0, iter(others), []
  for shape in shapes:
    if not _joins(shape):
      leaves.append(next(others))
      continue
    end = start + math.prod(shape.shape[1:])
    part = words[..., start:end].reshape(len(words), *shape.shape)
    start = end
    leaves.append(
      part != 0
      if shape.dtype == np.bool_
      else jax.lax.bitcast_convert_type(part, shape.dtype)
    )
  return jax.tree.unflatten(structure, leaves)
