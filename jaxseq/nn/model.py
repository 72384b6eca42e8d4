"""Stacks of sequence layers."""

import dataclasses
from typing import Any
from typing import NamedTuple

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
    hybrid: Configs of more mixers, which the layers take in turn with `mixer`:
      with one, its layers and those of `mixer` alternate.
    num_layers: number of layers.
    final_norm: whether a norm of the layers' kind follows the last layer.
    scan_layers: whether the layers are one scanned layer: compile time does not
      grow with their number, and parameters and states gain a leading axis.
    remat: whether the gradient recomputes inside each layer instead of storing
      its values.
  """

  _: dataclasses.KW_ONLY
  hybrid: tuple[Any, ...] = ()
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
    widths = [each.d_model for each in self.mixers]
    if len(set(widths)) > 1:
      raise ValueError(
        f"hybrid: all mixers must have the same d_model; got {widths}."
      )
    for known in filter(None, map(mixer.schemes, self.mixers)):
      if self.time_scheme not in ("", *known):
        raise ValueError(
          f"time_scheme: got {self.time_scheme!r}, expected '' or one of "
          f"{', '.join(known)}."
        )
    if self.time_scheme and not any(map(mixer.schemes, self.mixers)):
      raise ValueError(
        f"time_scheme: got {self.time_scheme!r}, expected '': these mixers "
        "split time in one way only."
      )
    if self.hybrid and self.scan_layers:
      raise ValueError(
        "scan_layers needs layers of one kind; got "
        f"{len(self.mixers)} mixers in turn."
      )

  @property
  def mixers(self) -> tuple[Any, ...]:
    """The mixers that the layers take in turn."""
    return (self.mixer, *self.hybrid)

  def layer(self, index: int) -> "ModelConfig":
    """Returns the options of one layer."""
    if not self.hybrid:
      return self
    chosen = self.mixers[index % len(self.mixers)]
    scheme = self.time_scheme if mixer.schemes(chosen) else ""
    return dataclasses.replace(
      self, mixer=chosen, hybrid=(), time_scheme=scheme
    )


class SequenceModel(linen.Module):
  """A stack of sequence layers, of one kind or with several mixers in turn.

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
    options: dict[str, Any] | tuple[dict[str, Any], ...] | None = None,
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
        layers; or a tuple of them, one for each of the mixers in turn.
      step: whether x is one element, without a time axis.

    Returns:
      y of x's shape, in the dtype of the activations, and the states after the
      last element.

    Raises:
      ValueError: if a shape, a dtype, the structure of `states` or the number
        of options does not fit.
    """
    config = self.config
    dtype = dense.activation_dtype(config.dtype, x)
    if states is not None:
      _check_states(states, self.initial_state)
    elif step:
      wide = jnp.promote_types(dtype, jnp.float32)
      states = self.initial_state(x.shape[:-1], wide)
    options = _options(config, options)
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
      )(config, options[0].fixed, name="layers")
      x, after = stack(x, states, reset, train, options[0].arrays, step)
    else:
      after = []
      for i in range(config.num_layers):
        state = None if states is None else states[i]
        arrays, fixed = options[i % len(options)]
        block = kind(config.layer(i), fixed, name=f"layers_{i}")
        x, state = block(x, state, reset, train, arrays, step)
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
    options: dict[str, Any] | tuple[dict[str, Any], ...] | None = None,
  ) -> tuple[jax.Array, Any]:
    """Runs over one element; `__call__` without the time axis, not training.

    Args:
      x: (*batch, d_model).
      states: states before the element; fresh ones if None.
      reset: (*batch,) bool, or None.
      options: keyword options of the mixers' own `step`, as in `__call__`.

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
    states = [
      mixers.module_of(each).initial_state(each, tuple(batch_shape), dtype)
      for each in config.mixers
    ]
    if not config.scan_layers:
      return tuple(states[i % len(states)] for i in range(config.num_layers))
    return jax.tree.map(
      lambda leaf: jnp.broadcast_to(leaf, (config.num_layers, *leaf.shape)),
      states[0],
    )


class _Options(NamedTuple):
  """Keyword options of a mixer's `apply`: with arrays, and pairs without."""

  arrays: dict[str, Any]
  fixed: tuple[tuple[str, Any], ...]


def _options(config, options) -> list[_Options]:
  """The options of each of the mixers in turn."""
  count = len(config.mixers)
  if not isinstance(options, tuple):
    options = (options,) * count
  if len(options) != count:
    raise ValueError(
      f"options must be a dict, or a tuple of {count}, one for each mixer; got "
      f"a tuple of {len(options)}."
    )
  split = [mixer.split_options(each) for each in options]
  return [_Options(arrays, tuple(fixed.items())) for arrays, fixed in split]


def _check_states(states, initial_state):
  expected = jax.eval_shape(initial_state)
  want, have = jax.tree.structure(expected), jax.tree.structure(states)
  if want != have:
    raise ValueError(
      f"states must have the structure of initial_state, {want}; got {have}."
    )
