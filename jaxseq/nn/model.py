"""Stacks of sequence layers."""

import dataclasses
from typing import Any

from flax import linen
import jax
import jax.numpy as jnp

from jaxseq import mixers
from jaxseq.nn import dense
from jaxseq.nn import layer
from jaxseq.nn import mixer


@dataclasses.dataclass(frozen=True)
class ModelConfig(layer.LayerConfig):
  """Options of a stack: those of its layers, and these.

  Attributes:
    num_layers: number of layers.
    final_norm: whether a norm of the layers' kind follows the last layer.
    scan_layers: whether the layers are one scanned layer: compile time does not
      grow with their number, and parameters and states gain a leading axis.
    remat: whether the gradient recomputes inside each layer instead of storing
      its values.
  """

  _: dataclasses.KW_ONLY
  num_layers: int = 2
  final_norm: bool = False
  scan_layers: bool = False
  remat: bool = False

  def __post_init__(self):
    super().__post_init__()
    if self.num_layers < 1:
      raise ValueError(f"num_layers must be at least 1; got {self.num_layers}.")
    if self.final_norm and self.norm == "none":
      raise ValueError("final_norm needs a norm other than 'none'.")


class SequenceModel(linen.Module):
  """A stack of sequence layers of one kind.

  The same definition serves whole sequences, sequences in pieces with the
  states carried, and single steps:

    model = SequenceModel(config)
    variables = model.init(key, x)
    y, states = model.apply(variables, x, states, reset)
    y, states = model.apply(variables, x_t, states, reset_t, method="step")

  Attributes:
    config: options.
  """

  config: ModelConfig

  @linen.compact
  def __call__(
    self,
    x: jax.Array,
    states: Any = None,
    reset: jax.Array | None = None,
    train: bool = False,
    options: dict[str, Any] | None = None,
    step: bool = False,
  ) -> tuple[jax.Array, Any]:
    """Runs over a sequence.

    Args:
      x: (*batch, time, d_model).
      states: states before the first element, as from `initial_state`; fresh
        ones if None.
      reset: (*batch, time) bool; where True every layer's state is put back to
        a fresh one before that element. None for no resets.
      train: whether dropout is on (it draws from the "dropout" keys) and batch
        norm uses, and updates, the statistics of the batch.
      options: keyword options of the mixers' own `apply`, the same for all
        layers.
      step: whether x is one element, without a time axis.

    Returns:
      y of x's shape, in the dtype of the activations, and the states after the
      last element.

    Raises:
      ValueError: if a shape, a dtype or the structure of `states` does not fit.
    """
    config = self.config
    dtype = dense.activation_dtype(config.dtype, x)
    if states is not None:
      _check_states(states, self.initial_state)
    elif step:
      wide = jnp.promote_types(dtype, jnp.float32)
      states = self.initial_state(x.shape[:-1], wide)
    options, fixed = mixer.split_options(options)
    fixed = tuple(fixed.items())
    kind = layer.SequenceLayer
    if config.remat:
      # Positions of train and step; a scan's body needs no barrier.
      kind = linen.remat(
        kind, static_argnums=(4, 6), prevent_cse=not config.scan_layers
      )
    if config.scan_layers:
      x = x.astype(layer.residual_dtype(config, x))
      stack = linen.scan(
        kind,
        variable_axes={"params": 0, "batch_stats": 0},
        split_rngs={"params": True, "dropout": True},
        in_axes=(0, *[linen.broadcast] * 4),
        length=config.num_layers,
      )(config, fixed, name="layers")
      x, after = stack(x, states, reset, train, options, step)
    else:
      after = []
      for i in range(config.num_layers):
        state = None if states is None else states[i]
        block = kind(config, fixed, name=f"layers_{i}")
        x, state = block(x, state, reset, train, options, step)
        after.append(state)
      after = tuple(after)
    if config.final_norm:
      x = layer.make_norm(config, config.norm, dtype, train, "final_norm")(x)
    return x.astype(dtype), after

  def step(
    self,
    x: jax.Array,
    states: Any,
    reset: jax.Array | None = None,
    options: dict[str, Any] | None = None,
  ) -> tuple[jax.Array, Any]:
    """Runs over one element; `__call__` without the time axis, not training.

    Args:
      x: (*batch, d_model).
      states: states before the element; fresh ones if None.
      reset: (*batch,) bool, or None.
      options: keyword options of the mixers' own `step`.

    Returns:
      y of x's shape, and the states after the element.
    """
    return self(x, states, reset, False, options, True)

  @linen.nowrap
  def initial_state(
    self, batch_shape: tuple[int, ...] = (), dtype: Any = jnp.float32
  ) -> Any:
    """Returns the states of a fresh sequence; works on an unbound module.

    Args:
      batch_shape: leading axes.
      dtype: dtype of the states, at least float32.

    Returns:
      A tuple of the layers' states; with `scan_layers`, one state whose arrays
      have a leading axis of num_layers.
    """
    config = self.config
    state = mixers.module_of(config.mixer).initial_state(
      config.mixer, tuple(batch_shape), dtype
    )
    if not config.scan_layers:
      return (state,) * config.num_layers
    return jax.tree.map(
      lambda leaf: jnp.broadcast_to(leaf, (config.num_layers, *leaf.shape)),
      state,
    )


def _check_states(states, initial_state):
  expected = jax.eval_shape(initial_state)
  want, have = jax.tree.structure(expected), jax.tree.structure(states)
  if want != have:
    raise ValueError(
      f"states must have the structure of initial_state, {want}; got {have}."
    )
