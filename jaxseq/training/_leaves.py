"""Leaves of a pytree as named host arrays, and back, bit for bit.

A checkpoint keeps a flat list of leaves. What an array file cannot tell (the
implementation of a typed PRNG key, weak types, Python numbers) is kept in a
JSON-able description of each leaf; the structure of the tree comes from the
template that the caller restores onto.
"""

from collections.abc import Sequence
import re
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.training.devices import device_mesh
from jaxseq.types import PyTree

# Names of leaves that older checkpoints lack, which are zeros there: the
# rests of the times of `tasks.temporal_graph.node_memory.Memory`.
_ADDED = ("time_rest", "since_rest")
_PYTHON_TYPES = {t.__name__: t for t in (bool, int, float, complex, str)}


class Leaf(NamedTuple):
  """The description of a leaf without its array.

  Attributes:
    path: where in the tree, as "params/layer_0/kernel".
    kind: "array", "key" (typed PRNG key) or "python" (number or string).
    dtype: name of the dtype, or of the Python type.
    shape: of the array; for a key without the axis of its words.
    detail: a key's implementation; a Python value as JSON keeps it; for an
      array whether it is weakly typed.
  """

  path: str
  kind: str
  dtype: str
  shape: tuple[int, ...]
  detail: Any = None

  def __str__(self) -> str:
    if self.kind == "python":
      return f"a Python {self.dtype}"
    return f"{self.dtype}[{','.join(map(str, self.shape))}]"

  def same_type(self, other: "Leaf") -> bool:
    """Returns whether values of one may be put in place of the other."""
    return self[1:4] == other[1:4]


def flatten(tree: PyTree) -> tuple[list[tuple[str, Any]], Any]:
  """Returns the (path, leaf) pairs of a tree, and its structure."""
  pairs, treedef = jax.tree_util.tree_flatten_with_path(tree)
  keystr = jax.tree_util.keystr
  paths = [keystr(path, simple=True, separator="/") for path, _ in pairs]
  if len(set(paths)) < len(paths):
    # Such as {"a/b": ..., "a": {"b": ...}}.
    paths = [keystr(path) for path, _ in pairs]
  return [(p, leaf) for p, (_, leaf) in zip(paths, pairs)], treedef


def describe(path: str, leaf: object) -> Leaf:
  """Returns the description of the leaf at a path.

  It is an array, typed key, Python number or string, or ShapeDtypeStruct.

  Raises:
    ValueError: nothing can keep such a leaf.
  """
  if type(leaf) in _PYTHON_TYPES.values():
    return Leaf(path, "python", type(leaf).__name__, (), _encode(leaf))
  if not (hasattr(leaf, "dtype") and hasattr(leaf, "shape")):
    raise validate.error(
      path, leaf, "an array, typed keys, or a Python number or string"
    )
  shape = tuple(leaf.shape)
  if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
    impl = None
    if isinstance(leaf, jax.Array):
      impl = str(jax.random.key_impl(leaf))
    return Leaf(path, "key", str(leaf.dtype), shape, impl)
  dtype = np.dtype(leaf.dtype)
  if dtype.hasobject or dtype.names or dtype.kind in "SUMm":
    raise validate.error(path, f"dtype {dtype}", "one that can be kept")
  weak = bool(getattr(leaf, "weak_type", False))
  return Leaf(path, "array", dtype.name, shape, weak)


def storage_name(index: int, leaf: Leaf) -> str:
  """Returns the name of a leaf's array: unique, and safe in any storage."""
  return f"{index:05d}." + re.sub(r"[^A-Za-z0-9_.-]", "_", leaf.path)


def is_whole(leaf: object) -> bool:
  """Returns whether this process can read the whole of an array."""
  if not isinstance(leaf, jax.Array):
    return True
  return leaf.is_fully_addressable or leaf.is_fully_replicated


def to_host(values: Sequence[Any]) -> list[Any]:
  """Copies leaves to the host, so that the originals may be donated.

  Args:
    values: arrays, typed keys, Python values.

  Returns:
    A numpy array for each array and key, owned by nobody else; None for Python
    values; arrays that live on several processes as they are.
  """
  out = []
  for value in values:
    if type(value) in _PYTHON_TYPES.values():
      out.append(None)
      continue
    if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
      value = jax.random.key_data(value)
    if isinstance(value, jax.Array) and is_whole(value):
      if not value.is_fully_addressable:
        value = value.addressable_data(0)
      # All transfers are under way before the first is waited for.
      value.copy_to_host_async()
    out.append(value)
  return [
    # On CPU the plain conversion is a view of the device buffer.
    np.array(v, copy=True, order="C") if v is not None and is_whole(v) else v
    for v in out
  ]


def from_host(leaf: Leaf, value: object, template: PyTree) -> Any:
  """Returns a leaf like the template's from its stored form.

  Args:
    leaf: its description.
    value: the host array; None for a Python value; a jax.Array that is already
      placed if it lives on several processes.
    template: the leaf in whose place it goes: decides between numpy and JAX
      arrays, and where they are put.
  """
  if leaf.kind == "python":
    return _decode(leaf)
  sharding = getattr(template, "sharding", None)
  committed = getattr(template, "committed", sharding is not None)
  if not committed:
    sharding = None
  if isinstance(template, np.generic):
    return value[()]
  if isinstance(template, np.ndarray):
    return value
  if not isinstance(value, jax.Array):
    # `device_put` refuses to put a key that lies here onto devices of others,
    # and would put its words.
    value = (
      jax.device_put(value)
      if sharding is None
      else device_mesh.put(value, sharding)
    )
  if leaf.kind == "key":
    return jax.random.wrap_key_data(value, impl=leaf.detail)
  if leaf.detail:
    # Weak types take part in dtype promotion. Setting items keeps them.
    zero = np.zeros((), leaf.dtype).item()
    return jax.jit(
      lambda x: jnp.full(leaf.shape, zero).at[...].set(x),
      out_shardings=sharding,
    )(value)
  return value


def added(kept: Sequence[Leaf], wanted: Sequence[Leaf]) -> list[Leaf]:
  """Returns the leaves that an older checkpoint lacks, which are zeros."""
  have = {leaf.path for leaf in kept}
  return [
    leaf
    for leaf in wanted
    if leaf.path not in have and leaf.path.rsplit("/", 1)[-1] in _ADDED
  ]


def mismatch(kept: Sequence[Leaf], wanted: Sequence[Leaf]) -> str | None:
  """Says in one phrase where a checkpoint does not fit a template."""
  have = {leaf.path: leaf for leaf in kept}
  want = {leaf.path: leaf for leaf in wanted}
  differences = []
  for path, leaf in want.items():
    if path not in have:
      differences.append(f"it has no {path!r}, which should be {leaf}")
    elif not leaf.same_type(have[path]):
      differences.append(f"{path!r} is {have[path]} in it and should be {leaf}")
  differences += [
    f"it holds {path!r} ({leaf}), which has no place"
    for path, leaf in have.items()
    if path not in want
  ]
  if not differences:
    return None
  more = len(differences) - 1
  return differences[0] + (f", and {more} more leaves differ" if more else "")


def _encode(value: object) -> Any:
  """Returns a Python value in a form that JSON keeps exactly."""
  if isinstance(value, float):
    return value.hex()
  if isinstance(value, complex):
    return [value.real.hex(), value.imag.hex()]
  return value


def _decode(leaf: Leaf) -> Any:
  if leaf.dtype == "float":
    return float.fromhex(leaf.detail)
  if leaf.dtype == "complex":
    return complex(*(float.fromhex(part) for part in leaf.detail))
  return _PYTHON_TYPES[leaf.dtype](leaf.detail)
