"""Mixers and networks as Equinox modules; needs the extra `equinox`.

    mixer = for_equinox.SequenceMixer(config, key=key)
    y, state = mixer(x, state, reset)
    y_t, state = mixer.step(x_t, state, reset_t)

    network = for_equinox.Network(nn.SequenceModel(config), x, key=key)
    y, states = network(x, states, reset)

Configurations and networks are static, parameters are arrays in dictionaries,
so that `eqx.filter_jit`, `eqx.filter_grad`, `eqx.apply_updates` and
`eqx.tree_serialise_leaves` work. Axes of a batch may be there or not: neither
form needs `jax.vmap`.
"""

from typing import Any

from flax import linen
import jax

from jaxseq import mixers
from jaxseq._types import PyTree

try:
  import equinox as eqx
except ModuleNotFoundError as error:
  raise ModuleNotFoundError(
    "jaxseq.nn.for_equinox needs the package 'equinox': pip install"
    " 'jaxseq[equinox]'.",
    name=error.name,
  ) from error


class SequenceMixer(eqx.Module):
  """Any mixer.

  Attributes:
    params: its parameters, as its own functions take them.
    config: Config of the mixer.
  """

  params: PyTree
  config: Any = eqx.field(static=True)

  def __init__(self, config: Any, *, key: jax.Array):
    """Draws the parameters.

    Args:
      config: Config of some mixer.
      key: random key.
    """
    self.config = config
    self.params = mixers.module_of(config).init(key, config)

  def __call__(
    self,
    x: jax.Array,
    state: PyTree = None,
    reset: jax.Array | None = None,
    **options: Any,
  ) -> tuple[jax.Array, PyTree]:
    """Runs over a sequence.

    Args:
      x: (*batch, time, d_model).
      state: state before the first element; a fresh one if None.
      reset: (*batch, time) bool, or None.
      **options: keyword options of the mixer's own `apply`.

    Returns:
      y of x's shape, and the state after the last element.
    """
    apply = mixers.module_of(self.config).apply
    return apply(self.config, self.params, x, state, reset, **options)

  def step(
    self,
    x: jax.Array,
    state: PyTree,
    reset: jax.Array | None = None,
    **options: Any,
  ) -> tuple[jax.Array, PyTree]:
    """Runs over one element; `__call__` without the time axis."""
    step = mixers.module_of(self.config).step
    return step(self.config, self.params, x, state, reset, **options)

  def initial_state(
    self,
    batch_shape: tuple[int, ...] = (),
    dtype: jax.typing.DTypeLike = "float32",
  ) -> PyTree:
    """Returns a fresh state."""
    module = mixers.module_of(self.config)
    return module.initial_state(self.config, batch_shape, dtype)


class Network(eqx.Module):
  """Any network of `jaxseq.nn` without batch norm.

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
      inputs: such as it will get; only shapes and dtypes matter.
      key: random key.
      params: to have in place of drawn ones, such as from a file.

    Raises:
      ValueError: it has other variables than parameters.
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
      inputs: what the network takes.
      states: before the first element; fresh ones if None.
      reset: (*batch, time) bool, or None.
      key: random key of dropout, which is off without one.
      **options: further arguments of the network.

    Returns:
      What the network returns, the states behind all else.
    """
    if key is not None:
      options |= {"train": True, "rngs": {"dropout": key}}
    variables = {"params": self.params}
    return self.module.apply(variables, inputs, states, reset, **options)

  def step(
    self,
    inputs: PyTree,
    states: PyTree,
    reset: jax.Array | None = None,
    **options: Any,
  ) -> Any:
    """Runs over one element; `__call__` without the time axis."""
    variables = {"params": self.params}
    return self.module.apply(
      variables, inputs, states, reset, method="step", **options
    )

  def initial_state(
    self,
    batch_shape: tuple[int, ...] = (),
    dtype: jax.typing.DTypeLike = "float32",
  ) -> PyTree:
    """Returns fresh states."""
    return self.module.initial_state(batch_shape, dtype)
