"""Mixture-of-Memories: several matrix states, each element uses a few.

  l_t = W_router x_t                         one logit for each memory
  g_t = softmax of the `active` largest logits, 0 for the other memories
  S_t^e = update(S_{t-1}^e, k_t^e, v_t^e)    where chosen, S_{t-1}^e elsewhere
  o_t = sum_e g_t^e (S_t^e^T q_t^e)          e also a shared memory, of weight 1
  y_t = W_o (norm(o_t) * gate(x_t))

Every memory has its own projections to keys, values and decays; the queries' is
common. Short convolutions run over the elements that are routed to a memory, in
that order. A memory that an element is not routed to is unchanged, bit for bit:
it does not decay either.

Du et al., "MoM: Linear sequence modeling with Mixture-of-Memories",
arXiv:2502.13685, and the authors' code, whose grouping by memories is replaced
by masks: the work is that of all memories, whatever the routes. Memories with
the rule of Gated DeltaNet (the paper's own), linear attention or gated linear
attention.
"""

import dataclasses
from typing import Literal
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import _serialization
from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers import head_parts
from jaxseq.mixers import passes
from jaxseq.mixers.matrix_states import _mom_memories
from jaxseq.mixers.matrix_states import _outer
from jaxseq.mixers.state_space import discretize

TRAITS = contract.Traits(
  keeps="a matrix per head for each of 5 memories, 3 of which an element "
  "changes; 3 inputs of a convolution for each",
  ssm_parameters=("A_log", "dt_bias"),
  block=contract.TRANSFORMER_BLOCK,
  memory=("S",),
  norms=("z",),
)


@dataclasses.dataclass(frozen=True)
class Config(_outer.HeadWidths, discretize.FlooredSteps):
  """Options of Mixture-of-Memories.

  Attributes:
    memories: number of memories beside the shared one.
    active: number of these that an element is routed to.
    shared: whether there is a memory that all elements are routed to.
    rule: update of memories: "gated_deltanet", with a decay per head;
      "linear_attention", without one; "gla", with a decay per channel of keys.
    d_conv: width of the convolutions, the present element counted; 1 for none.
    one_projection: whether all memories share keys, values and decays.
    feature_map: of queries and keys of "linear_attention": "elu" (elu(x) + 1),
      "relu" or "none".
    normalize: whether outputs of "linear_attention" are divided by the sum of
      the query's products with the memory's keys.
    decay_rank: rank of the projection to the decays of "gla".
    decay_temperature: the larger, the slower the decays of "gla".
    gate: factor on the heads' outputs, "none" (1) or "silu" (of
      W_g x).
    balance_weight: weight of the load balancing loss in `auxiliary_loss`.
    balance: which loss: the authors', in each sequence, "sequences", or one
      over the elements of all, "pooled".
    eps: added to the mean square in the norm of a head's output.
  """

  memories: int = 4
  active: int = 2
  shared: bool = True
  rule: Literal["gated_deltanet", "linear_attention", "gla"] = "gated_deltanet"
  d_conv: int = 4
  one_projection: bool = False
  feature_map: Literal["elu", "relu", "none"] = "none"
  normalize: bool = False
  decay_rank: int = 16
  decay_temperature: float = 16.0
  gate: Literal["none", "silu"] = "silu"
  balance_weight: contract.NotNegative = 0.01
  balance: Literal["sequences", "pooled"] = "sequences"
  eps: float = 1e-5

  def __post_init__(self):
    super().__post_init__()
    if self.active > self.memories:
      expected = f"at most memories = {self.memories}"
      raise contract.error("active", self.active, expected)
    if self.rule != "linear_attention":
      for name, default in (("feature_map", "none"), ("normalize", False)):
        if getattr(self, name) != default:
          expected = f"{default!r} with rule = {self.rule!r}"
          raise contract.error(name, getattr(self, name), expected)
    if self.normalize and self.feature_map == "none":
      expected = "'elu' or 'relu' with normalize, whose divisor must not be "
      raise contract.error("feature_map", "none", f"{expected}negative")

  @property
  def every(self) -> int:
    """Number of memories, including the shared one."""
    return self.memories + self.shared

  @property
  def channels(self) -> tuple[int, int, int]:
    """Channels of queries, keys and values, the inputs of the convolution."""
    keys = self.heads * self.key_width
    return keys, keys, self.heads * self.value_width


@_serialization.exported("jaxseq.mixers.mom.State")
class State(NamedTuple):
  """State of Mixture-of-Memories; the shared memory is the last one.

  Attributes:
    conv: (*batch, memories, d_conv - 1, channels), the last inputs of each
      memory's convolution, oldest first, concatenated over queries, keys and
      values; None without one.
    S: (*batch, memories, heads, d_key, d_value).
    z: (*batch, memories, heads, d_key), sums of keys; None without normalize.
  """

  conv: jax.Array | None
  S: jax.Array
  z: jax.Array | None


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters.

  Returns:
    A dict of float32 arrays, LeCun-normal matrices unless noted. Columns of
    memories are concatenated, those of the shared one last, and n is the number
    of all of them, or 1 with one_projection:
      W_router: (d_model, memories), without the shared one.
      W_q: (d_model, heads * d_key).
      W_k: (d_model, n * heads * d_key).
      W_v: (d_model, n * heads * d_value).
      conv_weight: (d_conv, sum of channels), the last row for the present
        element, if d_conv > 1.
      W_b: (d_model, n * heads), to beta, the rate of "gated_deltanet".
      W_a: (d_model, n * heads), to its decays; or to n * decay_rank with "gla",
        and W_a2 (n, decay_rank, heads * d_key) and its bias b_a (n, heads *
        d_key), zeros, after it.
      A_log: (heads,), logarithms of numbers from 0.01 to 16, and dt_bias
        (heads,), inverse softplus of the initial step sizes; of
        "gated_deltanet", common to all memories.
      W_g: (d_model, heads * d_value), if there is a gate.
      norm_scale: (d_value,), ones.
      W_o: (heads * d_value, d_model).
  """
  draw = contract.Draws(key, "router q k v conv b a a2 A dt g o")
  width, (_, inner, values) = config.d_model, config.channels
  copies = 1 if config.one_projection else config.every
  columns = {"router": config.memories, "q": inner}
  columns |= {"k": copies * inner, "v": copies * values}
  if config.rule == "gated_deltanet":
    columns |= {"b": copies * config.heads, "a": copies * config.heads}
  elif config.rule == "gla":
    columns["a"] = copies * config.decay_rank
  if config.gate != "none":
    columns["g"] = values
  params = {f"W_{name}": draw(name, width, n) for name, n in columns.items()}
  params |= draw.conv(config.d_conv, sum(config.channels))
  if config.rule == "gated_deltanet":
    params |= _outer.rates(draw, config.heads, config.heads, config)
  elif config.rule == "gla":
    stacked = jax.nn.initializers.lecun_normal(batch_axis=0)
    shape = copies, config.decay_rank, inner
    params["W_a2"] = stacked(draw.keys["a2"], shape, jnp.float32)
    params["b_a"] = contract.zeros(copies, inner)
  params["norm_scale"] = contract.ones(config.value_width)
  params["W_o"] = draw("o", values, width)
  return params


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence: zeros."""
  lead = *batch_shape, config.every
  heads = *lead, config.heads, config.key_width
  conv = None
  if config.d_conv > 1:
    shape = *lead, config.d_conv - 1, sum(config.channels)
    conv = jnp.zeros(shape, dtype)
  return State(
    conv,
    jnp.zeros((*heads, config.value_width), dtype),
    jnp.zeros(heads, dtype) if config.normalize else None,
  )


def router(config: Config, params: contract.Params, x: jax.Array) -> jax.Array:
  """Returns the logits of the memories, which route the elements.

  Args:
    config: options.
    params: from `init`.
    x: (..., d_model), floating.

  Returns:
    (..., memories), float32 or wider.
  """
  del config
  return recurrence.dense(x, params["W_router"], wide=True)


def balance_loss(
  logits: jax.Array, active: int, mask: jax.Array | None = None
) -> jax.Array:
  """Returns the authors' load balancing loss, `active` at best.

  memories^2 mean_e(f_e p_e) in each sequence, with f_e the share of its
  elements that are routed to memory e, and p_e the mean of their weights g^e;
  then the mean over all sequences and layers.

  Args:
    logits: (..., time, memories), from `router`; layers may be a leading axis.
    active: number of memories that an element is routed to.
    mask: (..., time) bool, False for padding, which does not count; or None.

  Returns:
    A scalar. Its gradient is that of p.
  """
  weights, routed = route(logits, active)
  share = contract.masked_mean(routed.astype(weights.dtype), mask, -2)
  even = share * contract.masked_mean(weights, mask, -2)
  if mask is None:
    return logits.shape[-1] ** 2 * jnp.mean(even)
  axes = tuple(range(even.ndim - 1))
  mean = contract.masked_mean(even, jnp.any(mask, axis=-1), axes)
  return logits.shape[-1] ** 2 * jnp.mean(mean)


def pooled_balance_loss(
  logits: jax.Array, active: int, mask: jax.Array | None = None
) -> jax.Array:
  """Returns flash-linear-attention's load balancing loss, `active` at best.

  memories sum_e(f_e p_e) over the elements of all sequences and layers, with
  f_e as in `balance_loss` and p_e the mean of the softmax over all memories:
  that of the Switch Transformer (arXiv:2101.03961, equation 4) for each choice.

  Args:
    logits: (..., memories), from `router`; layers may be a leading axis.
    active: number of memories that an element is routed to.
    mask: (...) bool, False for padding, which does not count; or None.

  Returns:
    A scalar. Its gradient is that of p.
  """
  _, routed = route(logits, active)
  axes = tuple(range(logits.ndim - 1))
  probabilities = jax.nn.softmax(logits, axis=-1)
  share = contract.masked_mean(routed.astype(probabilities.dtype), mask, axes)
  mean = contract.masked_mean(probabilities, mask, axes)
  return logits.shape[-1] * jnp.sum(share * mean)


def auxiliary_loss(
  config: Config,
  params: contract.Params,
  x: jax.Array,
  mask: jax.Array | None = None,
) -> jax.Array:
  """Returns the load balancing loss of one layer.

  `nn.SequenceMixer` adds it to the collection "losses" if that is mutable, and
  the package's tasks sum that collection.

  Args:
    config: options.
    params: from `init`.
    x: (*batch, time, d_model), the layer's inputs; or one element without time,
      which is a separate sequence.
    mask: (*batch, time) bool, False for padding, which does not count; or None.

  Returns:
    A scalar, float32 or wider, `balance_weight` times the loss.
  """
  logits = router(config, params, x)
  pooled = config.balance == "pooled"
  loss = pooled_balance_loss if pooled else balance_loss
  return config.balance_weight * loss(logits, config.active, mask)


def route(logits: jax.Array, active: int) -> tuple[jax.Array, jax.Array]:
  """Returns the weights of the memories, and the routing flags.

  Args:
    logits: (..., memories).
    active: number of memories that are selected.

  Returns:
    Weights (..., memories), with sum 1 and 0 for the others, and flags (bool).
  """
  best, chosen = jax.lax.top_k(logits, active)
  places = chosen[..., None] == jnp.arange(logits.shape[-1])
  weights = jax.nn.softmax(best, axis=-1)[..., None]
  zero = jnp.zeros((), weights.dtype)
  weights = jnp.sum(jnp.where(places, weights, zero), axis=-2)
  return weights, jnp.any(places, axis=-2)


def _run(over, config, params, x, state, reset):
  """Runs over a sequence; a reset empties all memories and their windows."""
  weights, routed = route(router(config, params, x), config.active)
  if config.shared:
    one = jnp.ones_like(weights[..., :1])
    weights = jnp.concatenate([weights, one], axis=-1)
    routed = jnp.concatenate([routed, one > 0], axis=-1)
  elements, window = _mom_memories.inputs(
    config, params, x, state.conv, routed, reset, over
  )
  o, S, z = _mom_memories.read(config, elements, state.S, state.z, reset, over)

  def mixed(o, weights):
    return jnp.sum(weights[..., None, None] * o, axis=-3)

  o = contract.pointwise(mixed, o, weights)
  o = head_parts.normed(o, params["norm_scale"], config.eps)
  o = o.reshape(*x.shape[:-1], -1)
  if config.gate == "silu":
    o = head_parts.gated(o, recurrence.dense(x, params["W_g"]))
  return recurrence.dense(o, params["W_o"]), State(window, S, z)


apply, step = passes.make(Config, init, initial_state, _run, sections=True)
