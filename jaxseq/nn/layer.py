"""The sequence layer: a mixer with the papers' norms, gates and residuals."""

from collections.abc import Callable
import functools
from typing import Any
from typing import NamedTuple

from flax import linen
import jax
import jax.numpy as jnp

from jaxseq import _serialization
from jaxseq import mixers
from jaxseq import validate
from jaxseq.nn import bidirectional
from jaxseq.nn import dense
from jaxseq.nn import experts
from jaxseq.nn import feedforward
from jaxseq.nn import gtrxl_gate
from jaxseq.nn import layer_config
from jaxseq.nn import masks
from jaxseq.nn import mixer
from jaxseq.nn import recurrent
from jaxseq.types import PyTree

# Values that layers pass to the layers above them, by name.
Shared = dict[str, jax.Array]


@_serialization.exported("jaxseq.nn.layer.LayerState")
class LayerState(NamedTuple):
  """State of a layer whose feed-forward has a state.

  Attributes:
    mixer: state of the mixer.
    feedforward: state of the feed-forward.
  """

  mixer: PyTree
  feedforward: PyTree


class _Pass(NamedTuple):
  """Arguments of a call that both halves of a layer need."""

  dtype: jnp.dtype
  reset: jax.Array | None
  lengths: jax.Array | None
  train: bool
  step: bool

  def mask(self, x: jax.Array) -> jax.Array | None:
    """Returns a mask of the valid elements of x (*batch, time, n)."""
    if self.lengths is None:
      return None
    return masks.inside(x.shape[-2], self.lengths)


class SequenceLayer(recurrent.Recurrent):
  """Norm, mixer, activation or gate, dropout, residual.

  Smith et al., arXiv:2208.04933, and Lu et al., arXiv:2303.03982, with the
  details of their code: GELU by its tanh approximation, epsilon 1e-6 in norms.
  With `feedforward` it is a Transformer block with another mixer.

  Attributes:
    config: options of the layer.
    fixed: keyword options of the mixer's `apply` or `step` that are not arrays,
      as pairs; so they stay static under `linen.remat`.
  """

  config: layer_config.LayerConfig
  fixed: tuple[tuple[str, Any], ...] = ()

  @linen.compact
  def __call__(
    self,
    x: jax.Array,
    state: PyTree = None,
    reset: jax.Array | None = None,
    train: bool = False,
    options: dict[str, Any] | None = None,
    step: bool = False,
    condition: jax.Array | None = None,
    lengths: jax.Array | None = None,
    shared: Shared | None = None,
    shift: jax.Array | None = None,
  ) -> tuple[Any, ...]:
    """Runs over a sequence.

    Args:
      x: (*batch, time, d_model).
      state: the mixer's state before the first element; fresh if None.
      reset: (*batch, time) bool, or None.
      train: whether dropout is on (it draws from the "dropout" keys) and batch
        norm uses, and updates, the statistics of the batch.
      options: keyword options of the mixer's `apply`.
      step: whether x is one element, without a time axis.
      condition: (*batch, n), constant over time; a dense layer without bias
        maps it to an addend of x. None for no condition.
      lengths: (*batch,) numbers of valid elements; all are valid if None. The
        padding does not change the valid outputs.
      shared: values of the layers below, for mixers that share some; None for a
        single layer.
      shift: like x; the norm and the mixer read x + shift, and the residual sum
        has x. None for no shift.

    Returns:
      y of x's shape, in the dtype of the activations or of the residual sum,
      and the state after the last element; with `shared` also the values for
      the layers above.

    Raises:
      ValueError: if a shape or dtype does not fit.
    """
    config = self.config
    if getattr(config, "hybrid", ()) or getattr(config, "layers", ()):
      expected = "that of one layer, as of StackConfig.every_layer"
      raise validate.error("config", "one of layers that differ", expected)
    if jnp.ndim(x) < 1 or x.shape[-1] != config.d_model:
      shape, width = f"shape {jnp.shape(x)}", f"{config.d_model} features"
      raise validate.error("x", shape, f"{width}, the d_model of the layer")
    dtype = dense.activation_dtype(config.dtype, x)
    run = _Pass(dtype, reset, lengths, train, step)
    x = x.astype(residual_dtype(config, x))
    if condition is not None:
      part = dense.Dense(
        config.d_model, use_bias=False, dtype=dtype, name="condition"
      )(condition)
      x = x + (part if step else part[..., None, :]).astype(x.dtype)
    before = None
    if config.channel_mix and state is not None:
      state, before = state
    y, above = x, shared or {}
    if config.mixes:
      seen = x if shift is None else x + shift.astype(x.dtype)
      options = {**dict(self.fixed), **(options or {})}
      arguments = x, seen, state, options, above, run
      y, state, above = self._mixer_half(*arguments)
    else:
      state = ()
    if config.feedforward != "none":
      y, after = self._feed_forward(y, before, run)
      if config.channel_mix:
        state = LayerState(state, after)
    y = y.astype(x.dtype)
    return (y, state) if shared is None else (y, state, above)

  @linen.nowrap
  def _fresh(self, batch_shape, dtype, variables):
    params = variables.get("params", {})
    return self.states_of(
      lambda one, name: mixers.fresh_state(
        one, batch_shape, dtype, params.get(name)
      )
    )

  @linen.nowrap
  def states_of(self, make: Callable[[Any, str], PyTree]) -> PyTree:
    """Builds the layer's state from the values of `make` for each mixer.

    Args:
      make: function of a mixer's Config and its name in the layer.
    """
    config = self.config
    if config.bidirectional or not config.mixes:
      state = ()
    elif config.parallel:
      configs = config.mixer_config, *config.parallel_mixers
      names = "mixer", *(f"mixer_{i}" for i in range(1, len(configs)))
      state = tuple(map(make, configs, names))
    else:
      state = make(config.mixer_config, "mixer")
    if config.channel_mix:
      return LayerState(state, make(config.channel_mix, "feedforward"))
    return state

  def _mixer_half(self, x, seen, state, options, shared, run):
    """Returns the first half's output, its state, and the shared values."""
    config = self.config
    front, behind = self._norms("norm", x, run)
    second = None
    if config.gtrxl_norm:
      kind = "layer" if config.norm == "none" else config.norm
      second = (
        front or behind
        if config.shared_norm
        else self._norm(kind, "mixer_norm", x, run)
      )
    y = front(seen) if front else seen.astype(run.dtype)
    if config.bidirectional:
      y, state = self._mix_both_ways(y, state, options, run), ()
    else:
      y, state, shared = self._mix(y, state, options, shared, run)
    if second:
      y = second(y)
    y = self._activate(y, run)
    return self._sum(x, y, behind, "gate"), state, shared

  def _mix(self, x, states, options, shared, run):
    """Returns the sum of the mixers' outputs, states and shared values."""
    config = self.config
    configs = (config.mixer_config, *config.parallel_mixers)
    if not config.parallel:
      states = (states,)
    elif states is None:
      states = (None,) * len(configs)
    total, after = None, []
    for i, (one, state) in enumerate(zip(configs, states)):
      name = f"mixer_{i}" if i else "mixer"
      schemes = mixers.traits(mixers.module_of(one)).schemes
      scheme = config.time_scheme if schemes else ""
      arguments = one, x.dtype, config.time_axis, scheme
      bound = mixer.SequenceMixer(*arguments, name=name)
      extra = {} if i else options
      values = shared if bound.shares else None
      if run.step:
        y, state, *above = bound.step(x, state, run.reset, values, **extra)
      else:
        arguments = x, state, run.reset, run.lengths, values
        y, state, *above = bound(*arguments, **extra)
      shared = above[0] if above else shared
      total = y if total is None else total + y
      after.append(state)
    return total, tuple(after) if config.parallel else after[0], shared

  def _mix_both_ways(self, x, state, options, run):
    """Returns the sum of a forward and a backward mixer's outputs."""
    if run.step or state is not None:
      expected = "False where there are states or steps"
      raise validate.error("bidirectional", True, expected)
    ahead, back = (
      mixer.SequenceMixer(self.config.mixer_config, x.dtype, parent=None)
      for _ in range(2)
    )
    model = bidirectional.Bidirectional(ahead, back, name="mixer")
    return model(x, run.reset, run.lengths, **options)

  def _norm(self, kind, name, x, run):
    return make_norm(self.config, kind, run.dtype, run.train, name, run.mask(x))

  def _norms(self, name, x, run):
    """Returns the norm before a half of the layer, and the norm after it."""
    config = self.config
    if config.norm == "none":
      return None, None
    norm = self._norm(config.norm, name, x, run)
    ahead = config.prenorm and not config.norm_output
    return (norm, None) if ahead else (None, norm)

  def _sum(self, x, y, norm, gate):
    """Returns the residual sum or gate, with the norm after it, if any."""
    config = self.config
    if config.norm_output and norm:
      y, norm = norm(y), None
    if config.gate != "none":
      arguments = config.gate_bias, y.dtype
      y = gtrxl_gate.GTrXLGate(*arguments, name=gate)(x, y)
    elif config.residual:
      y = x + y
    return norm(y) if norm else y

  def _feed_forward(self, x, state, run):
    """Returns the second half's output, and its state."""
    config = self.config
    front, behind = self._norms("feedforward_norm", x, run)
    y = front(x) if front else x.astype(run.dtype)
    if config.channel_mix:
      half = mixer.SequenceMixer(
        config.channel_mix, run.dtype, config.time_axis, name="feedforward"
      )
      y, state = (half.step if run.step else half)(y, state, run.reset)
    else:
      y = self._stateless(y, run)
    y = dense.dropout(y, config.dropout, run.train, run.step)
    return self._sum(x, y, behind, "feedforward_gate"), state

  def _stateless(self, x, run):
    """Applies a feed-forward without a state."""
    config = self.config
    routing, name = config.routing, "feedforward"
    kind = routing.kind if routing else config.feedforward
    width = config.feedforward_width
    if width is None:
      gated = feedforward.KINDS[kind].gated
      width = 8 * config.d_model // 3 if gated else 4 * config.d_model
    if routing:
      half = experts.Experts(routing, width, run.dtype, name=name)
      return half(x, run.train, run.step, run.mask(x))
    options = {**dict(config.feedforward_options), "name": name}
    half = feedforward.FeedForward(
      kind, width, config.dropout, run.dtype, **options
    )
    return half(x, run.train, run.step)

  def _activate(self, y, run):
    kind = self.config.activation

    def dropout(values):
      return dense.dropout(values, self.config.dropout, run.train, run.step)

    def out(name, values):
      return dense.Dense(y.shape[-1], dtype=y.dtype, name=name)(values)

    if kind == "none":
      return dropout(y)
    g = dropout(linen.gelu(y, approximate=not self.config.exact_gelu))
    if kind == "gelu":
      return g
    if kind == "full_glu":
      value = out("out1", g)
    else:
      value = g if kind == "half_glu1" else y
    return dropout(value * linen.sigmoid(out("out2", g)))


def residual_dtype(config: layer_config.LayerConfig, x: jax.Array) -> jnp.dtype:
  """Returns the dtype of a layer's input and output."""
  dtype = dense.activation_dtype(config.dtype, x)
  if not config.residual_float32:
    return dtype
  return jnp.promote_types(dtype, jnp.float32)


def make_norm(
  config: layer_config.LayerConfig,
  kind: str,
  dtype: jax.typing.DTypeLike,
  train: bool,
  name: str,
  mask: jax.Array | None = None,
) -> Callable[[jax.Array], jax.Array]:
  """Returns a norm of a kind of `LayerConfig.norm`, except "none".

  Args:
    config: options of the norm.
    kind: "layer", "rms" or "batch".
    dtype: dtype of the outputs.
    train: whether a batch norm uses, and updates, the batch's statistics.
    name: name of the module.
    mask: (*batch, time) bool, the elements in a batch's statistics; all if
      None.
  """
  options = {"epsilon": config.norm_epsilon, "dtype": dtype, "name": name}
  if kind == "layer":
    return linen.LayerNorm(**options)
  if kind == "rms":
    return linen.RMSNorm(**options)
  # As in the original, the epsilon is flax's, not that of layer norms.
  norm = linen.BatchNorm(
    use_running_average=not train,
    momentum=config.batch_norm_momentum,
    dtype=dtype,
    name=name,
  )
  if mask is None:
    return norm
  return functools.partial(norm, mask=mask[..., None])
