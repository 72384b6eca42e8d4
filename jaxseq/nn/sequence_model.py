"""The sequence model: a stack of sequence layers."""

from collections.abc import Callable
import functools
import inspect
from typing import Any
from typing import NamedTuple

from flax import linen
from flax import traverse_util
import jax
import jax.numpy as jnp

from jaxseq import mixers
from jaxseq import recurrence
from jaxseq import validate
from jaxseq.mixers.keys_and_values import thin_keys
from jaxseq.nn import dense
from jaxseq.nn import layer
from jaxseq.nn import masks
from jaxseq.nn import mixer
from jaxseq.nn import recurrent
from jaxseq.nn import stack
from jaxseq.nn import zamba_block
from jaxseq.types import PyTree

# The variable collection of tuned initial states, by their paths; see
# `adapt.initial_states`.
TUNED = "initial_states"


def _with_kernels(call):
  """Runs the method with the kernels that the config or the caller selects."""

  @functools.wraps(call)
  def inside(self, *arguments, **named):
    mode, callers = self.config.kernels, recurrence.kernels.contexts.mode()
    if mode == "auto" or callers == "off":
      return call(self, *arguments, **named)
    with recurrence.kernels.use(mode):
      return call(self, *arguments, **named)

  return inside


class SequenceModel(recurrent.Recurrent):
  """A stack of sequence layers, of one kind or with several mixers in turn.

  The same definition serves whole sequences, sequences in chunks with carried
  states, and single steps:

    model = SequenceModel(StackConfig("gru", d_model=16))
    variables = model.init(key, x)
    y, states = model.apply(variables, x, states, reset)
    y, states = model.apply(variables, x_t, states, reset_t, method="step")

  The states are a tuple of the layers' states; with `scan_layers`, one state
  whose arrays have an axis of num_layers after the batch axes.

  Attributes:
    config: options.
  """

  config: stack.StackConfig

  @linen.compact
  @_with_kernels
  def __call__(
    self,
    x: jax.Array,
    states: PyTree = None,
    reset: jax.Array | None = None,
    train: bool = False,
    options: dict[str, Any] | tuple[dict[str, Any], ...] | None = None,
    step: bool = False,
    condition: jax.Array | None = None,
    lengths: jax.Array | None = None,
  ) -> tuple[jax.Array, PyTree]:
    """Runs over a sequence.

    Args:
      x: (*batch, time, d_model).
      states: states before the first element, as from `initial_state`; fresh
        ones if None.
      reset: (*batch, time) bool; True resets every layer's state to a fresh one
        before that element. None for no resets.
      train: whether dropout is on (it draws from the "dropout" keys) and batch
        norm uses, and updates, the statistics of the batch.
      options: keyword options of the mixers' `apply`, the same for all layers;
        or a tuple of them, one for each of the mixers in turn.
      step: whether x is one element, without a time axis.
      condition: (*batch, n), an additional input of every layer, constant over
        time; None for no condition.
      lengths: (*batch,) numbers of valid elements; all are valid if None. The
        padding does not change the valid outputs; the states include it.

    Returns:
      y of x's shape, in the dtype of the activations, and the states after the
      last element.

    Raises:
      ValueError: if a shape, a dtype, the structure of `states` or the number
        of options does not fit.
    """
    config = self.config
    dtype = dense.activation_dtype(config.dtype, x)
    batch = x.shape[:-1] if step else x.shape[:-2]
    wide = jnp.promote_types(dtype, jnp.float32)
    fresh = functools.partial(self.initial_state, variables=self.variables)
    if states is not None:
      _check_states(states, fresh)
    if TUNED in self.variables:
      states, reset = _begun(fresh(batch, wide), states, reset, step)
    elif states is None and step:
      states = fresh(batch, wide)
    options = _options(config, options)
    run = self._scanned if _scans(config) else self._in_turn
    x, after = run(x, states, reset, train, options, step, condition, lengths)
    if config.ends_in_norm:
      mask = None if lengths is None else masks.inside(x.shape[-2], lengths)
      norm = config, config.norm, dtype, train, "final_norm", mask
      x = layer.make_norm(*norm)(x)
    return x.astype(dtype), after

  def _scanned(
    self, x, states, reset, train, options, step, condition, lengths
  ):
    """Runs the layers as one scanned layer."""
    config = self.config
    x = x.astype(layer.residual_dtype(config, x))
    batch_axes = x.ndim - (1 if step else 2)
    layers = linen.scan(
      _layer_kind(config),
      variable_axes={"params": 0, "batch_stats": 0, "losses": 0},
      split_rngs={"params": True, "dropout": True},
      in_axes=(batch_axes, *[linen.broadcast] * 6),
      out_axes=batch_axes,
      length=config.num_layers,
    )(config.every_layer[0], options[0].fixed, name="layers")
    arguments = x, states, reset, train, options[0].arrays, step, condition
    return layers(*arguments, lengths)

  def _in_turn(
    self, x, states, reset, train, options, step, condition, lengths
  ):
    """Runs one layer after the other, with the blocks that they share."""
    config, kind = self.config, _layer_kind(self.config)
    dtype = dense.activation_dtype(config.dtype, x)
    after, shared, first = [], {}, x
    common = self._over_layers()
    configs, uses = config.shared_blocks
    blocks = [
      mixer.SequenceMixer(
        one, dtype, config.time_axis, name=f"shared_block_{i}"
      )
      for i, one in enumerate(configs)
    ]
    for i, each in enumerate(config.every_layer):
      state = None if states is None else states[i]
      arrays, fixed = options[i % len(options)]
      arrays = common[i] | arrays
      module = kind(each, fixed, name=f"layers_{i}")
      shift = memory = None
      if i in uses:
        state, memory = state or (None, None)
        number, turn = uses[i]
        run = blocks[number].step if step else blocks[number]
        joined = jnp.concatenate([x, first.astype(x.dtype)], axis=-1)
        shift, memory = run(joined, memory, reset, turn=turn)
      arguments = x, state, reset, train, arrays, step, condition, lengths
      x, state, shared = module(*arguments, shared, shift)
      if i in uses:
        state = zamba_block.LayerState(state, memory)
      after.append(state)
    return x, tuple(after)

  def _over_layers(self) -> list[dict[str, jax.Array]]:
    """Returns each layer's options from parameters that its mixers share."""
    config = self.config
    layers = config.every_layer
    options: list[dict[str, jax.Array]] = [{} for _ in layers]
    for name in dict.fromkeys(each.mixer for each in layers):
      module = mixers.get(name)
      turns = [i for i, each in enumerate(layers) if each.mixer == name]
      if not hasattr(module, "init_layers"):
        continue
      one = layers[turns[0]].mixer_config
      if module.init_layers(jax.random.key(0), one, len(turns)) is None:
        continue
      values = self.param(f"{name}_layers", module.init_layers, one, len(turns))
      table = module.over_layers(values)
      for turn, i in enumerate(turns):
        options[i] = {key: value[turn] for key, value in table.items()}
    return options

  @linen.nowrap
  def _fresh(self, batch_shape, dtype, variables):
    config, params = self.config, variables.get("params", {})

    def fresh(one, *path):
      initial = functools.reduce(
        lambda tree, name: tree.get(name, {}), path, params
      )

      def make(initial):
        return mixers.fresh_state(one, batch_shape, dtype, initial or None)

      if not _scans(config):
        return make(initial)
      axes = {"axis_size": config.num_layers, "out_axes": len(batch_shape)}
      return jax.vmap(make, **axes)(initial)

    states = self.states_of(fresh)
    if TUNED in variables:
      states = _replaced(states, variables[TUNED], len(batch_shape))
    return states

  @linen.nowrap
  def states_of(self, make: Callable[..., PyTree]) -> PyTree:
    """Builds the states from the values of `make` for each mixer.

    Args:
      make: function of a mixer's Config and the path of its parameters; of a
        single layer if the layers are scanned.
    """
    config, scans = self.config, _scans(self.config)
    states = [
      layer.SequenceLayer(each, parent=None).states_of(
        lambda one, name, i=i: make(
          one, "layers" if scans else f"layers_{i}", name
        )
      )
      for i, each in enumerate(config.every_layer[: 1 if scans else None])
    ]
    if scans:
      return states[0]
    blocks, uses = config.shared_blocks
    for i, use in uses.items():
      memory = make(blocks[use.block], f"shared_block_{use.block}")
      states[i] = zamba_block.LayerState(states[i], memory)
    return tuple(states)


class _Options(NamedTuple):
  """Keyword options of a mixer's `apply`: arrays, and pairs of other values."""

  arrays: dict[str, Any]
  fixed: tuple[tuple[str, Any], ...]


def _scans(config: stack.StackConfig) -> bool:
  """Returns whether the layers run as one scanned layer."""
  return config.scan_layers and config.num_layers > 0


def _layer_kind(config: stack.StackConfig) -> type[linen.Module]:
  """Returns the class of the layers, rematerialized if the config says so."""
  kind = layer.SequenceLayer
  if not config.remat:
    return kind
  names = list(inspect.signature(kind.__call__).parameters)
  # A scan's body needs no barrier.
  return linen.remat(
    kind,
    static_argnums=tuple(map(names.index, ("train", "step"))),
    prevent_cse=not config.scan_layers,
  )


def _options(config: stack.StackConfig, options: Any) -> list[_Options]:
  """Returns the options of each of the mixers in turn."""
  count = len(config.mixers)
  if not isinstance(options, tuple):
    options = (options,) * count
  if len(options) != count:
    raise validate.error(
      "options",
      options,
      f"a dict, or a tuple of {count}, one for each of the mixers in turn",
    )
  split = [mixer.split_options(each) for each in options]
  return [_Options(arrays, tuple(fixed.items())) for arrays, fixed in split]


def _replaced(states, tuned, front):
  """Replaces fresh states by tuned ones for all rows, `front` batch axes."""
  values = traverse_util.flatten_dict(tuned, sep="/")

  def leaf(path, fresh):
    path = jax.tree_util.keystr(path, simple=True, separator="/")
    value = values.pop(path, None)
    if value is None:
      return fresh
    if jnp.shape(value) != fresh.shape[front:]:
      got, expected = f"shape {jnp.shape(value)}", f"{fresh.shape[front:]}"
      raise validate.error(f"{TUNED}[{path!r}]", got, expected)
    return jnp.broadcast_to(jnp.asarray(value, fresh.dtype), fresh.shape)

  states = jax.tree_util.tree_map_with_path(leaf, states)
  for path in values:
    raise validate.error(TUNED, path, "paths of the network's states")
  return states


def _begun(fresh, states, reset, step):
  """Returns the initial states with tuned fresh ones, and no more resets."""
  if states is None:
    states = fresh
  if reset is None:
    return states, None
  if not step:
    got, expected = f"shape {jnp.shape(reset)}", "None with tuned states: a row"
    expected += " begins with them, and holds one sequence; or steps"
    raise validate.error("reset", got, expected)

  def leaf(fresh, state):
    flags = reset.reshape(*reset.shape, *[1] * (fresh.ndim - reset.ndim))
    return jnp.where(flags, fresh, state)

  return jax.tree.map(leaf, fresh, states), None


def _check_states(states, initial_state):
  """Checks the structure of states."""
  expected = jax.eval_shape(initial_state)
  states = jax.tree.map(thin_keys.plain, states, is_leaf=thin_keys.is_state)
  want, have = jax.tree.structure(expected), jax.tree.structure(states)
  if want != have:
    raise validate.error("states", have, f"{want}, as from initial_state")
