"""Parameters of a network that are used only as weights of products."""

from collections.abc import Mapping
import dataclasses
import functools
from typing import Any

from flax import traverse_util
import jax
import jax.numpy as jnp

from jaxseq import nn
from jaxseq import recurrence
from jaxseq.types import PyTree


class _Record:
  """Paths of parameters, grouped by their use in the network."""

  def __init__(self):
    self.products: set[str] = set()
    self.experts: set[str] = set()
    self.others: set[str] = set()


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=("leaf",),
  meta_fields=("path", "record"),
)
@dataclasses.dataclass(frozen=True)
class _Probe(recurrence.Weight):
  """A parameter that records its uses."""

  leaf: jax.Array
  path: str
  record: _Record = dataclasses.field(default_factory=_Record)

  @property
  def shape(self) -> tuple[int, ...]:
    return self.leaf.shape

  @property
  def dtype(self) -> Any:
    return self.leaf.dtype

  def apply(self, x: jax.Array, wide: bool = False) -> jax.Array:
    self.record.products.add(self.path)
    return recurrence.dense(x, self.leaf, wide=wide)

  def pick(self, indices: jax.Array) -> "_Probe":
    self.record.experts.add(self.path)
    return dataclasses.replace(self, leaf=jnp.take(self.leaf, indices, axis=0))

  def array(self) -> jax.Array:
    self.record.experts.add(self.path)
    return self.leaf

  def elsewhere(self) -> jax.Array:
    self.record.others.add(self.path)
    return self.leaf


def weights(
  network: nn.SequenceNetwork,
  variables: Mapping[str, PyTree],
  *,
  experts: bool = False,
) -> dict[str, tuple[int, ...]]:
  """Returns the shapes of the weights of `recurrence.dense`, by path.

  Traces the network once, over two elements, and computes nothing.

  Args:
    network: a network of tokens or features.
    variables: its variables, or their shapes and dtypes.
    experts: whether to include experts' weights; their replacements need
      `Weight.pick` and `Weight.array`.

  Returns:
    Shapes (*axes, n, m) by paths, such as "stack/layers_0/mixer/in_proj", of
    the parameters that only `recurrence.dense` uses; `Weight` nodes can replace
    them. The axes are those of scanned layers, of heads and of experts.
  """
  flat = traverse_util.flatten_dict(variables["params"], sep="/")
  flat = {
    path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
    for path, leaf in flat.items()
  }
  record = _Record()

  def run(params, inputs):
    probes = {
      path: _Probe(leaf, path, record) if jnp.ndim(leaf) > 1 else leaf
      for path, leaf in params.items()
    }
    tree = traverse_util.unflatten_dict(probes, sep="/")
    return network.apply({**variables, "params": tree}, inputs)[0]

  shape = (1, 2, 2) if network.pairs else (1, 2)
  if network.vocab_size is None:
    width = flat["encoder/kernel"].shape[0]
    inputs = jax.ShapeDtypeStruct((*shape, width), jnp.float32)
  else:
    inputs = jax.ShapeDtypeStruct(shape, jnp.int32)
  jax.eval_shape(run, flat, inputs)
  others = record.others if experts else record.others | record.experts
  paths = sorted(record.products - others)
  return {path: flat[path].shape for path in paths}
