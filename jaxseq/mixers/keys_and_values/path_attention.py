"""PaTH attention: positions by Householder maps of the elements between.

  w, beta = unit(silu(conv(W_2 W_1 x))), 2 sigmoid(W_b x + b)
  y = W_o attention(W_q x, W_k x, W_v x; w, beta)

with every element transforming all keys before it, k - beta (k . w) w, so that
a product of these maps is between a query and a key: `recurrence.path_scan`.
Yang et al., arXiv:2505.16381, in the form of flash-linear-attention's layer. A
forget gate adds decays as in the Forgetting Transformer, but inside of the
scaling of the scores by 1 / sqrt(d_head).
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import _serialization
from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers import head_parts
from jaxseq.mixers import passes
from jaxseq.mixers.keys_and_values import _forget
from jaxseq.mixers.keys_and_values import _heads

TRAITS = contract.Traits(
  keeps="keys, turned by what followed, and values of the last elements, 1024 "
  "by default; 2 inputs of a convolution",
  block=contract.TRANSFORMER_BLOCK,
  splits_time=False,
)

_LENGTH_EPS = 1e-6


@dataclasses.dataclass(frozen=True)
class Config(contract.Options):
  """Options of PaTH attention.

  Attributes:
    heads: number of heads of queries.
    kv_heads: number of heads of keys, values and maps, a divisor of `heads`;
      `heads` if None.
    d_head: width of a head; d_model / heads, rounded up to an even number, if
      None.
    window: number of elements that an element sees beside itself; the size of
      the state.
    rank: rank of the projection to w; full if None.
    d_conv: width of w's convolution, including the present element; 1 for no
      convolution and no silu.
    forget_gate: whether heads forget by logsigmoid(W_f x + b_f).
    qk_norm: whether queries and keys of a head have an RMS norm.
    eps: added to the mean square in these norms.
  """

  heads: int = 4
  kv_heads: int | None = None
  d_head: int | None = None
  window: int = 1024
  rank: int | None = 32
  d_conv: int = 3
  forget_gate: bool = False
  qk_norm: bool = False
  eps: float = 1e-5

  def __post_init__(self):
    super().__post_init__()
    contract.divisor("kv_heads", self.groups, heads=self.heads)

  @property
  def groups(self) -> int:
    """Number of heads of keys, values and maps."""
    return self.kv_heads or self.heads

  @property
  def head_width(self) -> int:
    """Width of a head."""
    return _heads.width(self)


@_serialization.exported("jaxseq.mixers.path_attention.State")
class State(NamedTuple):
  """State of PaTH attention.

  Attributes:
    conv: (*batch, d_conv - 1, kv_heads d_head), the last inputs of w's
      convolution, oldest first; or None.
    window: keys, values, fades and their number, `recurrence.PathState`.
  """

  conv: jax.Array | None
  window: recurrence.PathState


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters: LeCun-normal matrices, biases 0.

  Returns:
    A dict of float32 arrays:
      W_q: (d_model, heads d_head).
      W_k, W_v: (d_model, kv_heads d_head).
      W_w: (d_model, kv_heads d_head), or (d_model, rank) and W_w2 after it.
      conv_weight: (d_conv, kv_heads d_head), the last row for the present
        element, if d_conv > 1.
      W_b, b_b: (d_model, kv_heads) and (kv_heads,).
      W_f, b_f: (d_model, heads) and (heads,), with a forget gate.
      q_norm, k_norm: (d_head,), ones, with a qk_norm.
      W_o: (heads d_head, d_model).
  """
  draw = contract.Draws(key, "q k v w w2 conv b f o")
  width, inner = config.d_model, config.heads * config.head_width
  shared = config.groups * config.head_width
  params = {
    "W_q": draw("q", width, inner),
    "W_k": draw("k", width, shared),
    "W_v": draw("v", width, shared),
    "W_b": draw("b", width, config.groups),
    "b_b": contract.zeros(config.groups),
    "W_o": draw("o", inner, width),
    **draw.conv(config.d_conv, shared),
  }
  if config.rank is None:
    params["W_w"] = draw("w", width, shared)
  else:
    params["W_w"] = draw("w", width, config.rank)
    params["W_w2"] = draw("w2", config.rank, shared)
  if config.forget_gate:
    params["W_f"] = draw("f", width, config.heads)
    params["b_f"] = contract.zeros(config.heads)
  if config.qk_norm:
    for name in ("q_norm", "k_norm"):
      params[name] = contract.ones(config.head_width)
  return params


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence: no elements."""
  shared = config.groups * config.head_width
  widths = config.head_width, config.head_width
  sizes = config.window, config.heads, config.groups, widths
  window = recurrence.path_initial(tuple(batch_shape), *sizes, dtype)
  if config.d_conv == 1:
    return State(None, window)
  conv = jnp.zeros((*batch_shape, config.d_conv - 1, shared), dtype)
  return State(conv, window)


@contract.apply(Config, init, initial_state)
def apply(config, params, x, state=None, reset=None):
  """Runs over a sequence; a reset empties the convolution's window too."""
  params = contract.cast(params, contract.wide_dtype(x))

  def heads(name, count):
    y = recurrence.dense(x, params[f"W_{name}"])
    y = head_parts.split(y, count)
    if f"{name}_norm" in params:
      y = head_parts.normed(y, params[f"{name}_norm"], config.eps)
    return y

  q = heads("q", config.heads)
  k, v = heads("k", config.groups), heads("v", config.groups)
  w = recurrence.dense(x, params["W_w"])
  if "W_w2" in params:
    w = recurrence.dense(w, params["W_w2"])

  def over(scan, *arguments):
    return passes.over_sequence(scan, *arguments, axis=None)

  w, conv = passes.convolved(over, params, w, state.conv, reset)
  w = head_parts.split(w.astype(contract.wide_dtype(x)), config.groups)
  w = head_parts.unit(w, _LENGTH_EPS)
  beta = recurrence.dense(x, params["W_b"], params["b_b"], wide=True)
  beta = 2 * jax.nn.sigmoid(beta)
  decay = jnp.zeros((*x.shape[:-1], config.heads), beta.dtype)
  if config.forget_gate:
    decay = _forget.gates(params, x)
  elements = q, k, v, w, beta, decay, state.window
  o, window = recurrence.path_scan(*elements, reset=reset)
  o = o.reshape(*x.shape[:-1], -1)
  return recurrence.dense(o, params["W_o"]), State(conv, window)


step = passes.step_by(Config, init, initial_state, apply)
