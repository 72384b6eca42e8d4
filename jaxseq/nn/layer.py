"""The sequence layer: a mixer with what the papers put around it."""

from typing import Any
from typing import NamedTuple

from flax import linen
import jax
import jax.numpy as jnp

from jaxseq import _serialization
from jaxseq import _validate
from jaxseq import mixers
from jaxseq._types import PyTree
from jaxseq.nn import bidirectional
from jaxseq.nn import dense
from jaxseq.nn import experts
from jaxseq.nn import feedforward
from jaxseq.nn import gtrxl_gate
from jaxseq.nn import mixer
from jaxseq.nn import recurrent
from jaxseq.nn import stack

# What layers hand on to the layers above them, by name.
Shared = dict[str, jax.Array]


@_serialization.exported("jaxseq.nn.layer.LayerState")
class LayerState(NamedTuple):
  """State of a layer with a feed-forward that has one.

  Attributes:
    mixer: state of the mixer.
    feedforward: state of the feed-forward.
  """

  mixer: PyTree
  feedforward: PyTree


class SequenceLayer(recurrent.Recurrent):
  """Norm, mixer, activation or gate, dropout, residual.

  Smith et al., arXiv:2208.04933, and Lu et al., arXiv:2303.03982, with the
  details of their code: GELU by its tanh approximation, epsilon 1e-6 in norms.
  With `feedforward` it is the block of a Transformer with another mixer.

  Attributes:
    config: options of the layer; if it has several mixers, the first is taken.
    fixed: keyword options of the mixer's own `apply` or `step` that are no
      arrays, as pairs; so they stay what they are under `linen.remat`.
  """

  config: stack.StackConfig
  fixed: tuple[tuple[str, Any], ...] = ()

  def __call__(
    self,
    x: jax.Array,
    state: PyTree = None,
    reset: jax.Array | None = None,
    train: bool = False,
    options: dict[str, Any] | None = None,
    step: bool = False,
    condition: jax.Array | None = None,
  ) -> tuple[jax.Array, PyTree]:
    """Runs over a sequence.

    Args:
      x: (*batch, time, d_model).
      state: the mixer's state before the first element; fresh if None.
      reset: (*batch, time) bool, or None.
      train: whether dropout is on (it draws from the "dropout" keys) and batch
        norm uses, and updates, the statistics of the batch.
      options: keyword options of the mixer's own `apply`.
      step: whether x is one element, without a time axis.
      condition: (*batch, n), the same at all times, of which a dense layer
        without bias adds a part to x; None for none.

    Returns:
      y of x's shape, in the dtype of the activations, or of the residual sum if
      that is another, and the state after the last element.

    Raises:
      ValueError: if a shape or dtype does not fit.
    """
    arguments = x, state, reset, train, options, step, condition
    y, state, _ = self.share(*arguments)
    return y, state

  @linen.compact
  def share(
    self,
    x: jax.Array,
    state: PyTree = None,
    reset: jax.Array | None = None,
    train: bool = False,
    options: dict[str, Any] | None = None,
    step: bool = False,
    condition: jax.Array | None = None,
    shared: Shared | None = None,
    shift: jax.Array | None = None,
  ) -> tuple[jax.Array, PyTree, Shared]:
    """Runs over a sequence in a stack whose layers share values.

    Args:
      x: as in `__call__`, with all up to `condition`.
      state: likewise.
      reset: likewise.
      train: likewise.
      options: likewise.
      step: likewise.
      condition: likewise.
      shared: values of the layers below, for mixers that share some.
      shift: like x; the mixer reads x + shift, through the norm in front of it,
        where the residual sum has x. None for none.

    Returns:
      What `__call__` returns, and the values for the layers above.
    """
    config = self.config
    if jnp.ndim(x) < 1 or x.shape[-1] != config.d_model:
      shape, width = f"shape {jnp.shape(x)}", f"{config.d_model} features"
      raise _validate.error("x", shape, f"{width}, the d_model of the layer")
    dtype = dense.activation_dtype(config.dtype, x)
    x = x.astype(residual_dtype(config, x))
    if condition is not None:
      part = dense.Dense(
        config.d_model, use_bias=False, dtype=dtype, name="condition"
      )(condition)
      x = x + (part if step else part[..., None, :]).astype(x.dtype)
    before = None
    if config.channel_mix and state is not None:
      state, before = state
    y, shared = x, shared or {}
    if config.mixes:
      seen = x if shift is None else x + shift.astype(x.dtype)
      options = {**dict(self.fixed), **(options or {})}
      arguments = x, seen, state, reset, dtype, train, step, options, shared
      y, state, shared = self._mixer_half(*arguments)
    else:
      state = ()
    if config.feedforward != "none":
      y, after = self._feed_forward(y, before, reset, dtype, train, step)
      if config.channel_mix:
        state = LayerState(state, after)
    return y.astype(x.dtype), state, shared

  @linen.nowrap
  def _fresh(self, batch_shape, dtype):
    config = self.config

    def fresh(one):
      return mixers.module_of(one).initial_state(one, batch_shape, dtype)

    if config.bidirectional or not config.mixes:
      state = ()
    elif config.parallel:
      state = tuple(map(fresh, (config.mixers[0], *config.parallel_mixers)))
    else:
      state = fresh(config.mixers[0])
    if config.channel_mix:
      return LayerState(state, fresh(config.channel_mix))
    return state

  def _mixer_half(
    self, x, seen, state, reset, dtype, train, step, options, shared
  ):
    """The first half of the layer, its state, and what is shared."""
    config = self.config
    front, behind = self._norms("norm", dtype, train)
    second = None
    if config.gtrxl_norm:
      kind = "layer" if config.norm == "none" else config.norm
      second = (
        front or behind
        if config.shared_norm
        else make_norm(config, kind, dtype, train, "mixer_norm")
      )
    y = front(seen) if front else seen.astype(dtype)
    if config.bidirectional:
      y, state = self._mix_both_ways(y, state, reset, step, options), ()
    else:
      y, state, shared = self._mix(y, state, reset, step, options, shared)
    if second:
      y = second(y)
    y = self._activate(y, train, step)
    return self._sum(x, y, behind, "gate"), state, shared

  def _mix(self, x, states, reset, step, options, shared):
    """The sum of the mixers' outputs, their states, and what is shared."""
    config = self.config
    configs = (config.mixers[0], *config.parallel_mixers)
    if not config.parallel:
      states = (states,)
    elif states is None:
      states = (None,) * len(configs)
    total, after = None, []
    for i, (one, state) in enumerate(zip(configs, states)):
      name = f"mixer_{i}" if i else "mixer"
      scheme = config.time_scheme if stack.splits_by_scheme(one) else ""
      arguments = one, x.dtype, config.time_axis, scheme
      bound = mixer.SequenceMixer(*arguments, name=name)
      own = {} if i else options
      if bound.shares:
        run = bound.share_step if step else bound.share
        y, state, shared = run(x, state, reset, shared, **own)
      else:
        run = bound.step if step else bound
        y, state = run(x, state, reset, **own)
      total = y if total is None else total + y
      after.append(state)
    return total, tuple(after) if config.parallel else after[0], shared

  def _mix_both_ways(self, x, state, reset, step, options):
    """The sum of what two mixers make of x from its start and its end."""
    if step or state is not None:
      expected = "False where there are states or steps"
      raise _validate.error("bidirectional", True, expected)
    ahead, back = (
      mixer.SequenceMixer(self.config.mixers[0], x.dtype, parent=None)
      for _ in range(2)
    )
    both = bidirectional.Bidirectional(ahead, back, name="mixer")
    return both(x, reset, **options)

  def _norms(self, name, dtype, train):
    """The norm in front of a half of the layer, and the one behind it."""
    config = self.config
    if config.norm == "none":
      return None, None
    norm = make_norm(config, config.norm, dtype, train, name)
    ahead = config.prenorm and not config.norm_output
    return (norm, None) if ahead else (None, norm)

  def _sum(self, x, y, norm, gate):
    """The residual sum, with the norm that is not in front of the half."""
    config = self.config
    if config.norm_output and norm:
      y, norm = norm(y), None
    if config.gate != "none":
      arguments = config.gate_bias, y.dtype
      y = gtrxl_gate.GTrXLGate(*arguments, name=gate)(x, y)
    elif config.residual:
      y = x + y
    return norm(y) if norm else y

  def _feed_forward(self, x, state, reset, dtype, train, step):
    """The second half of the layer, and its state."""
    config = self.config
    front, behind = self._norms("feedforward_norm", dtype, train)
    y = front(x) if front else x.astype(dtype)
    if config.channel_mix:
      half = mixer.SequenceMixer(
        config.channel_mix, dtype, config.time_axis, name="feedforward"
      )
      y, state = (half.step if step else half)(y, state, reset)
    else:
      y = self._stateless(y, dtype, train, step)
    y = dense.dropout(y, config.dropout, train, step)
    return self._sum(x, y, behind, "feedforward_gate"), state

  def _stateless(self, x, dtype, train, step):
    """A feed-forward without a state."""
    config = self.config
    routing, name = config.routing, "feedforward"
    kind = routing.kind if routing else config.feedforward
    width = config.feedforward_width
    if width is None:
      gated = feedforward.KINDS[kind].gated
      width = 8 * config.d_model // 3 if gated else 4 * config.d_model
    if routing:
      half = experts.Experts(routing, width, dtype, name=name)
    else:
      options = {**dict(config.feedforward_options), "name": name}
      half = feedforward.FeedForward(
        kind, width, config.dropout, dtype, **options
      )
    return half(x, train, step)

  def _activate(self, y, train, step):
    kind = self.config.activation

    def dropout(values):
      return dense.dropout(values, self.config.dropout, train, step)

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


def residual_dtype(config: stack.StackConfig, x: jax.Array) -> jnp.dtype:
  """Returns the dtype of a layer's input and output."""
  dtype = dense.activation_dtype(config.dtype, x)
  if not config.residual_float32:
    return dtype
  return jnp.promote_types(dtype, jnp.float32)


def make_norm(
  config: stack.StackConfig,
  kind: str,
  dtype: jax.typing.DTypeLike,
  train: bool,
  name: str,
) -> linen.Module:
  """Makes a norm of one of the kinds of `StackConfig.norm` but "none"."""
  options = {"epsilon": config.norm_epsilon, "dtype": dtype, "name": name}
  if kind == "layer":
    return linen.LayerNorm(**options)
  if kind == "rms":
    return linen.RMSNorm(**options)
  # The epsilon of the original is flax's own, another one than in layer norms.
  return linen.BatchNorm(
    use_running_average=not train,
    momentum=config.batch_norm_momentum,
    dtype=dtype,
    name=name,
  )
