"""Mixers and networks as Flax NNX modules.

    mixer = for_nnx.SequenceMixer(config, rngs=nnx.Rngs(0))
    y, state = mixer(x, state, reset)
    y_t, state = mixer.step(x_t, state, reset_t)

    module = nn.SequenceNetwork(config, num_outputs=10)
    network = for_nnx.Network(module, x, rngs=nnx.Rngs(0))
    logits, states = network(x, states, reset)

Parameters are `nnx.Param`s in the structure of the mixer's dict or of the
network's variables, so that both forms can exchange them.
"""

from typing import Any

from flax import linen
from flax import nnx
import jax

from jaxseq import mixers
from jaxseq.nn import _foreign
from jaxseq.types import PyTree

# The collections of Linen's variables, and their NNX variable types.
_KINDS = {"params": nnx.Param, "batch_stats": nnx.BatchStat}


class SequenceMixer(nnx.Module):
  """Any mixer as an NNX module.

  Attributes:
    config: Config of the mixer.
    weights: its parameters, by name.
  """

  def __init__(self, config: Any, *, rngs: nnx.Rngs):
    """Draws the parameters, from the stream "params".

    Args:
      config: Config of a mixer.
      rngs: random keys.
    """
    self.config = config
    params = mixers.module_of(config).init(rngs.params(), config)
    self.weights = nnx.data(jax.tree.map(nnx.Param, params))

  @property
  def params(self) -> PyTree:
    """The parameters in the form of the mixer's functions."""
    return _arrays(self.weights)

  __call__ = _foreign.run_mixer
  step = _foreign.step_mixer
  initial_state = _foreign.fresh_state


class Network(nnx.Module):
  """Any network of `jaxseq.nn`: `SequenceModel`, `SequenceNetwork` and others.

  Attributes:
    module: the network, a Linen module.
    collections: its variables, by collection and name.
  """

  def __init__(
    self,
    module: linen.Module,
    inputs: PyTree,
    *,
    rngs: nnx.Rngs,
    variables: PyTree = None,
  ):
    """Draws the variables, from the stream "params".

    Args:
      module: the network.
      inputs: example inputs; only shapes and dtypes matter.
      rngs: random keys; dropout draws from the stream "dropout", or "default".
      variables: variables to use instead of drawn ones, such as from a file.
    """
    self.module = module
    self.rngs = rngs
    if variables is None:
      variables = module.init(rngs.params(), inputs)
    self.collections = nnx.data(
      {
        name: jax.tree.map(_KINDS.get(name, nnx.Variable), collection)
        for name, collection in variables.items()
      }
    )

  @property
  def variables(self) -> PyTree:
    """The variables in the form of the Linen module."""
    return _arrays(self.collections)

  def __call__(
    self,
    inputs: PyTree,
    states: PyTree = None,
    reset: jax.Array | None = None,
    *,
    train: bool = False,
    **options: Any,
  ) -> Any:
    """Runs over sequences.

    Args:
      inputs: inputs of the network.
      states: states before the first element; fresh ones if None.
      reset: (*batch, time) bool, or None.
      train: whether dropout is on, and batch norm uses the batch's statistics
        and updates the running statistics stored here.
      **options: further arguments of the network.

    Returns:
      The network's outputs; the states are last.
    """
    arguments = inputs, states, reset
    if not train:
      return self.module.apply(self.variables, *arguments, **options)
    has_key = "dropout" in self.rngs or "default" in self.rngs
    rngs = {"dropout": self.rngs.dropout()} if has_key else {}
    changing = [name for name in self.collections if name != "params"]
    outputs, changed = self.module.apply(
      self.variables,
      *arguments,
      train=True,
      rngs=rngs,
      mutable=changing,
      **options,
    )
    for name in changed:
      nnx.update(self.collections[name], changed[name])
    return outputs

  step = _foreign.step_network
  initial_state = _foreign.fresh_states


def _arrays(tree):
  """Returns the arrays in a tree of NNX variables."""
  return jax.tree.map(
    lambda variable: variable[...],
    tree,
    is_leaf=lambda node: isinstance(node, nnx.Variable),
  )
