"""Mixers and networks as Equinox modules; needs the extra `equinox`.

    mixer = for_equinox.SequenceMixer(config, key=key)
    y, state = mixer(x, state, reset)
    y_t, state = mixer.step(x_t, state, reset_t)

    network = for_equinox.Network(nn.SequenceModel(config), x, key=key)
    y, states = network(x, states, reset)

Configurations and networks are static, parameters are arrays in dictionaries,
so that `eqx.filter_jit`, `eqx.filter_grad`, `eqx.apply_updates` and
`eqx.tree_serialise_leaves` work. Batch axes are optional: neither form needs
`jax.vmap`.
"""

from typing import Any

from flax import linen
import jax

from jaxseq import mixers
from jaxseq.nn import _foreign
from jaxseq.types import PyTree

try:
  import equinox as eqx
except ModuleNotFoundError as error:
  raise ModuleNotFoundError(
    "jaxseq.nn.for_equinox needs the package 'equinox': pip install"
    " 'jaxseq[equinox]'.",
    name=error.name,
  ) from error


class SequenceMixer(eqx.Module):
  """Any mixer as an Equinox module.

  Attributes:
    params: its parameters, in the form of the mixer's functions.
    config: Config of the mixer.
  """

  params: PyTree
  config: Any = eqx.field(static=True)

  def __init__(self, config: Any, *, key: jax.Array):
    """Draws the parameters.

    Args:
      config: Config of a mixer.
      key: random key.
    """
    self.config = config
    self.params = mixers.module_of(config).init(key, config)

  __call__ = _foreign.run_mixer
  step = _foreign.step_mixer
  initial_state = _foreign.fresh_state


class Network(eqx.Module):
  """Any network of `jaxseq.nn` without batch norm, as an Equinox module.

  Attributes:
    params: its parameters, by name.
    module: the network, a Linen module.
  """

  params: PyTree
  module: linen.Module = eqx.field(static=True)

  def __init__(
    self,
    module: linen.Module,
    inputs: PyTree,
    *,
    key: jax.Array,
    params: PyTree = None,
  ):
    """Draws the parameters.

    Args:
      module: the network.
      inputs: example inputs; only shapes and dtypes matter.
      key: random key.
      params: parameters to use instead of drawn ones, such as from a file.

    Raises:
      ValueError: if it has variables other than parameters.
    """
    if params is None:
      variables = module.init(key, inputs)
      if more := sorted(variables.keys() - {"params"}):
        raise ValueError(
          f"module: got the collections {', '.join(more)}, expected parameters"
          " alone: batch norm changes its statistics while it runs."
        )
      params = variables["params"]
    self.module = module
    self.params = params

  @property
  def variables(self) -> PyTree:
    """The variables in the form of the Linen module."""
    return {"params": self.params}

  def __call__(
    self,
    inputs: PyTree,
    states: PyTree = None,
    reset: jax.Array | None = None,
    *,
    key: jax.Array | None = None,
    **options: Any,
  ) -> Any:
    """Runs over sequences.

    Args:
      inputs: inputs of the network.
      states: states before the first element; fresh ones if None.
      reset: (*batch, time) bool, or None.
      key: random key of dropout; no dropout if None.
      **options: further arguments of the network.

    Returns:
      The network's outputs; the states are last.
    """
    if key is not None:
      options |= {"train": True, "rngs": {"dropout": key}}
    return self.module.apply(self.variables, inputs, states, reset, **options)

  step = _foreign.step_network
  initial_state = _foreign.fresh_states
