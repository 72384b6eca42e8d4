"""HGRN2: gated recurrence with matrix states, whose gates have lower bounds.

  q, f, i = W_q x, W_f x, W_i x, or a short convolution of these
  a_t = b + (1 - b) sigmoid(f_t),  k_t = 1 - a_t       per channel of the keys
  S_t = diag(a_t) S_{t-1} + k_t i_t^T
  o_t = d_key^-0.5 silu(q_t) S_t                                   per head
  y_t = W_o norm(o_t)                           the norm over all heads at once

Qin et al., "HGRN2: Gated Linear RNNs with State Expansion", arXiv:2404.07904,
and its code in flash-linear-attention. The lower bound b of the forget gate a,
0 in the first layer, grows from layer to layer: later layers forget more
slowly. A network learns the bounds by one array gamma of all its layers, and
runs layer l by

  apply(..., lower_bound=lower_bounds(gamma)[l])

as `nn.SequenceModel` does, unless the Config has its own bound.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq.mixers import _lower_bounds
from jaxseq.mixers import contract
from jaxseq.mixers import head_parts
from jaxseq.mixers.matrix_states import _outer

TRAITS = contract.Traits(
  keeps="a matrix per head with a forget gate that keeps the part it does not "
  "replace; with an option 3 inputs of a convolution",
  block=contract.TRANSFORMER_BLOCK,
  memory=("S",),
)


@dataclasses.dataclass(frozen=True)
class Config(contract.Options):
  """Options of HGRN2.

  Attributes:
    heads: number of heads; d_model / 128, or the largest divisor of d_model
      below it, if None.
    d_key: width of a head's keys, the expansion of the state; d_model / heads
      if None.
    d_conv: width of the convolution of q, f and i, including the present
      element; 1 for none, as in the paper.
    lower_bound: of the forget gate, from 0 to below 1, if no other is given; if
      it is 0, a stack of layers learns the bounds.
    eps: added to the mean square in the norm.
  """

  heads: int | None = None
  d_key: int | None = None
  d_conv: int = 1
  lower_bound: contract.Number = 0.0
  eps: float = 1e-5

  def __post_init__(self):
    super().__post_init__()
    contract.divisor("heads", self.num_heads, d_model=self.d_model)
    _lower_bounds.check(self.lower_bound)

  @property
  def num_heads(self) -> int:
    """Number of heads."""
    most = max(1, self.d_model // 128)
    return self.heads or contract.largest_divisor(self.d_model, most)

  @property
  def key_width(self) -> int:
    """Width of a head's queries and keys."""
    return self.d_key or self.value_width

  @property
  def value_width(self) -> int:
    """Width of a head's values."""
    return self.d_model // self.num_heads

  @property
  def channels(self) -> tuple[int, int, int]:
    """Channels of q, f and i, the inputs of the convolution."""
    keys = self.num_heads * self.key_width
    return keys, keys, self.d_model


State = _outer.ConvState


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters, LeCun-normal matrices.

  Returns:
    A dict of float32 arrays:
      W_q, W_f: (d_model, heads * d_key).
      W_i: (d_model, d_model).
      conv_weight: (d_conv, sum of channels), the last row for the present
        element, if d_conv > 1.
      norm_scale: (d_model,), ones.
      W_o: (d_model, d_model).
  """
  draw = contract.Draws(key, "q f i conv o")
  width = config.d_model
  params = draw.conv(config.d_conv, sum(config.channels))
  for name, columns in zip("qfi", config.channels):
    params[f"W_{name}"] = draw(name, width, columns)
  params["norm_scale"] = contract.ones(width)
  params["W_o"] = draw("o", width, width)
  return params


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence: zeros."""
  return _outer.fresh(config, config.num_heads, batch_shape, dtype)


@contract.apply(Config, init, initial_state)
def apply(
  config, params, x, state=None, reset=None, *, axis=None, lower_bound=None
):
  """Runs over a sequence; a reset empties the convolution's window too.

  Options:
    lower_bound: (heads * d_key,) of the forget gate, from 0 to below 1, see
      `lower_bounds`; the configuration's if None.
  """
  channels = config.num_heads * config.key_width
  bound = _lower_bounds.given(config, channels, lower_bound, x, axis)
  params = contract.cast(params, contract.wide_dtype(x))
  q, f, i, window = _inputs(config, params, x, state.conv, reset, axis)
  q = contract.pointwise(jax.nn.silu, q)
  decay, k = _forget_gate(f, bound)
  q, k, i, decay = (
    head_parts.split(part, config.num_heads)
    for part in (q, k.astype(x.dtype), i, decay)
  )
  o, S = _outer.scan(q, k, i, decay, state.S, reset, axis)
  o = o.reshape(*x.shape[:-1], config.d_model)
  o = head_parts.normed(o, params["norm_scale"], config.eps)
  return recurrence.dense(o, params["W_o"]), State(window, S)


@contract.step(Config, init, initial_state)
def step(config, params, x, state, reset=None, *, lower_bound=None):
  """Consumes one element; `apply` without the time axis.

  Options:
    lower_bound: as in `apply`.
  """
  run = functools.partial(apply, lower_bound=lower_bound)
  return contract.one_element(run, config, params, x, state, reset)


def init_layers(
  key: jax.Array, config: Config, layers: int
) -> jax.Array | None:
  """Draws gamma (layers, heads * d_key), zeros; None for a constant bound."""
  del key  # As in the original code.
  if config.lower_bound:
    return None
  channels = config.num_heads * config.key_width
  return jnp.zeros((layers, channels), jnp.float32)


def over_layers(gamma: jax.Array) -> dict[str, jax.Array]:
  """Returns options of `apply` and `step`, with a leading axis of layers."""
  return {"lower_bound": lower_bounds(gamma)}


def lower_bounds(gamma: jax.Array) -> jax.Array:
  """Returns the lower bounds of the forget gates of all layers.

  A layer's bounds are the sums over the layers up to it of a softmax over all
  layers, minus that of the first, whose bounds are 0: they grow with the layer,
  and stay below 1, as in HGRN (arXiv:2311.04823). gamma is initially zeros.

  Args:
    gamma: (layers, heads * d_key), trained with the network.

  Returns:
    Array like gamma.
  """
  return _lower_bounds.of_layers(gamma)


def _inputs(config, params, x, window, reset, axis):
  """Returns q and i in x's dtype, f, at least float32, and the window."""
  wide = contract.wide_dtype(x)
  if config.d_conv == 1:
    q, i = (recurrence.dense(x, params[name]) for name in ("W_q", "W_i"))
    return q, recurrence.dense(x, params["W_f"], wide=True), i, window
  weights = [params[f"W_{name}"] for name in "qfi"]
  qfi = recurrence.dense(x, jnp.concatenate(weights, axis=-1))
  qfi, window = recurrence.causal_conv(
    qfi, params["conv_weight"], None, window, reset, axis=axis
  )
  queries, keys, _ = config.channels
  q, f, i = jnp.split(qfi, (queries, queries + keys), axis=-1)
  return q.astype(x.dtype), f.astype(wide), i.astype(x.dtype), window


def _forget_gate(f, bound):
  """Values log a and 1 - a of a = bound + (1 - bound) sigmoid(f)."""
  # If a is near 1, the difference 1 - a and the logarithm of a lose all digits.
  k = (1 - bound) * jax.nn.sigmoid(-f)
  a = bound + (1 - bound) * jax.nn.sigmoid(f)
  near_one = jnp.log1p(-jnp.minimum(k, 0.5))
  # A smaller gate forgets everything, and has no slope.
  smallest = jnp.finfo(f.dtype).tiny
  return jnp.where(f > 0, near_one, jnp.log(jnp.maximum(a, smallest))), k
