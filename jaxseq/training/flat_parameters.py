"""Parameters as a few long vectors, so that optimizers start few kernels.

A GPU takes some microseconds to start a kernel, and an optimizer starts several
for each array of parameters, which takes longer than what most of them compute.
Inside a loop over updates it trains vectors instead,

    form = flat_parameters.choose(optimizer, params, opt_state)
    held, opt_state = form.pack(params), form.pack_state(opt_state)
    ...                                   # a loop that carries both
      gradients = form.pack(jax.grad(loss)(form.unpack(held)))
      updates, opt_state = optimizer.update(gradients, opt_state, held)
      held = optax.apply_updates(held, updates)
    ...
    params, opt_state = form.unpack(held), form.unpack_state(opt_state)

States between loops and in checkpoints are not flat. Parameters are in one
vector if the optimizer treats them alike, so that all numbers are the same but
for the order in which a global norm is summed up.
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from jaxseq.training.devices import device_mesh
from jaxseq.types import PyTree

Vectors = dict[str, jax.Array]

# Numbers of an array that shares a vector. Adam moves seven times the bytes of
# a larger one, which takes longer than the start of a kernel.
_MOST = 2**18


class Elementwise(optax.GradientTransformation):
  """An optimizer that treats each number of a parameter group alike.

  Neither shapes nor norms of single arrays matter to it, only the norm of all
  gradients, and paths, by which `optimizers.path_labels` makes the groups.
  """


class Plain:
  """Parameters as they are."""

  def pack(self, tree: PyTree) -> PyTree:
    """Returns the tree."""
    return tree

  unpack = pack_state = unpack_state = pack


@dataclasses.dataclass(frozen=True)
class Packed:
  """Parameters in vectors.

  Attributes:
    treedef: structure of the parameters.
    shapes: of their arrays, in the order of that structure.
    vectors: for each vector its name, the path of its first array, and the
      places of its arrays in that order.
  """

  treedef: jax.tree_util.PyTreeDef
  shapes: tuple[jax.ShapeDtypeStruct, ...]
  vectors: dict[str, tuple[int, ...]]

  def pack(self, tree: PyTree) -> Vectors:
    """Returns the vectors; those of masked arrays are masked."""
    leaves = _leaves(tree)
    return {
      name: leaves[places[0]]
      if _is_masked(leaves[places[0]])
      else jnp.concatenate([leaves[i].reshape(-1) for i in places])
      for name, places in self.vectors.items()
    }

  def unpack(self, held: Vectors) -> PyTree:
    """Returns the arrays that vectors hold; masked for masked ones."""
    leaves = [None] * len(self.shapes)
    for name, places in self.vectors.items():
      start = 0
      for i in places:
        shape = self.shapes[i].shape
        end = start + self.shapes[i].size
        vector = held[name]
        whole = _is_masked(vector)
        leaves[i] = vector if whole else vector[start:end].reshape(shape)
        start = end
    return jax.tree.unflatten(self.treedef, leaves)

  def pack_state(self, state: optax.OptState) -> optax.OptState:
    """Returns the state with the trees of parameters' shapes packed."""
    return _map_like(self.treedef, self.pack, state)

  def unpack_state(self, state: optax.OptState) -> optax.OptState:
    """Returns the state of what `pack_state` made of it."""
    packed = jax.tree.structure(dict.fromkeys(self.vectors, 0))
    return _map_like(packed, self.unpack, state)


def choose(
  optimizer: optax.GradientTransformation, params: PyTree, state: optax.OptState
) -> Plain | Packed:
  """Chooses how parameters are held: in vectors on one GPU, if they can be.

  They can for an `Elementwise` optimizer, whose state this is.
  """
  # Over a mesh each array has a placement of its own.
  if isinstance(optimizer, Elementwise) and device_mesh.on_one_gpu():
    return make(params, state)
  return Plain()


def make(params: PyTree, state: optax.OptState) -> Packed:
  """Returns the form in which arrays that are trained alike share a vector.

  Large arrays have a vector each. The masks in the state of each part of an
  `Elementwise` optimizer say which parameters the part trains.
  """
  pairs, treedef = jax.tree_util.tree_flatten_with_path(params)
  masks = []
  _map_like(
    treedef, lambda tree: masks.append([*map(_is_masked, _leaves(tree))]), state
  )
  groups, vectors = {}, {}
  for i, (path, leaf) in enumerate(pairs):
    alike = (jnp.dtype(leaf.dtype), *(mask[i] for mask in masks))
    if leaf.size > _MOST:
      alike = i
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    name = groups.setdefault(alike, name)
    vectors[name] = (*vectors.get(name, ()), i)
  shapes = (jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for _, leaf in pairs)
  return Packed(treedef, tuple(shapes), vectors)


def _is_masked(x) -> bool:
  return isinstance(x, optax.MaskedNode)


def _leaves(tree):
  """Arrays of a tree, and the masked ones among them."""
  return jax.tree.leaves(tree, is_leaf=_is_masked)


def _map_like(treedef, function, tree):
  """Maps the trees of a structure that are found in a larger one."""

  def alike(x):
    return jax.tree.structure(x, is_leaf=_is_masked) == treedef

  return jax.tree.map(
    lambda x: function(x) if alike(x) else x,
    tree,
    is_leaf=lambda x: _is_masked(x) or alike(x),
  )
