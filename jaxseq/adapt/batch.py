"""Several adapters in one batch: each row uses at most one of them.

    attached = batch.attach(variables, [french, german])
    # Rows without an adapter, with the second, and with the first.
    logits, _ = network.apply(batch.at_rows(attached, [0, 2, 1]), tokens)

The adapters may differ in weights, ranks and kinds. For an adapted weight every
row costs the time of the largest rank.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import hashlib
from typing import Any

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import recurrence
from jaxseq import validate
from jaxseq.adapt import lora
from jaxseq.types import PyTree

Adapters = Mapping[str, lora.Factors]


def attach(
  variables: Mapping[str, PyTree], adapters: Sequence[Adapters]
) -> dict[str, PyTree]:
  """Replaces adapted weights by `recurrence.LowRankRows`.

  Args:
    variables: variables of a network.
    adapters: factors by weight path. The first adapter has number 1; 0 means no
      adapter.

  Returns:
    Variables for `at_rows`.

  Raises:
    ValueError: if there is no such weight, or its shape differs; when applied,
      if a weight is not used in a product.
  """
  flat = traverse_util.flatten_dict(variables["params"], sep="/")
  nodes = []
  for each in adapters:
    attached = lora.attach(variables, each)["params"]
    attached = traverse_util.flatten_dict(attached, sep="/")
    nodes.append({path: attached[path] for path in each})
  for path in sorted({path for each in nodes for path in each}):
    flat[path] = _stacked(flat[path], [each.get(path) for each in nodes])
  return {**variables, "params": traverse_util.unflatten_dict(flat, sep="/")}


def _stacked(w, nodes):
  """Returns one weight for the rows of all adapters, some of which are None."""
  present = [node for node in nodes if node is not None]
  rank = max(node.a.shape[-1] for node in present)
  axis = len(w.shape) - 2
  zero = jax.tree.map(jnp.zeros_like, present[0])
  a, b, gains = [], [], []
  for node in (None, *nodes):
    one = zero if node is None else node
    rest = rank - one.a.shape[-1]
    pads = [(0, 0)] * axis
    a.append(jnp.pad(one.a, [*pads, (0, 0), (0, rest)]))
    b.append(jnp.pad(one.scale * one.b, [*pads, (0, rest), (0, 0)]))
    plain = node is None or node.magnitude is None
    ones = jnp.ones((*w.shape[:-2], w.shape[-1]))
    gains.append(ones if plain else node.gain())
  dora = any(node.magnitude is not None for node in present)
  return recurrence.LowRankRows(
    w,
    jnp.stack(a, axis),
    jnp.stack(b, axis),
    jnp.stack(gains, axis) if dora else None,
    path=present[0].path,
  )


def at_rows(variables: PyTree, rows: jax.Array | Sequence[int]) -> PyTree:
  """Selects the adapter of each row of a batch.

  Args:
    variables: from `attach`, or any pytree that contains such weights.
    rows: (rows,) integers, adapter numbers, 0 for no adapter.

  Returns:
    Variables for the network's `apply` to inputs (rows, ...).

  Raises:
    ValueError: if rows are not integers, or, if their values are known, not
      adapter numbers.
  """
  numbers = jnp.asarray(rows)

  def one(leaf: object) -> Any:
    if isinstance(leaf, recurrence.LowRankRows):
      _check_rows(numbers, leaf.a.shape[-3])
      return leaf.at(numbers)
    return leaf

  return jax.tree.map(
    one,
    variables,
    is_leaf=lambda leaf: isinstance(leaf, recurrence.LowRankRows),
  )


def _check_rows(rows, count):
  """Raises a ValueError unless rows are numbers below `count`."""
  expected = f"integers from 0 to {count - 1}"
  if not jnp.issubdtype(rows.dtype, jnp.integer):
    raise validate.error("rows", f"dtype {rows.dtype}", expected)
  if isinstance(rows, jax.core.Tracer):
    return
  numbers = np.asarray(rows)
  if np.any((numbers < 0) | (numbers >= count)):
    # An index out of range would select another adapter.
    raise validate.error("rows", numbers.tolist(), expected)


def digest(adapters: Adapters) -> bytes:
  """Returns the SHA-256 digest of adapters."""
  result = hashlib.sha256()
  for path in sorted(adapters):
    factors = adapters[path]
    result.update(repr((path, factors.scale)).encode())
    for leaf in jax.tree.leaves(factors):
      array = np.asarray(leaf)
      result.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
  return result.digest()
