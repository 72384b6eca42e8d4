"""RG-LRU: the recurrent block of Griffin, a real gated linear recurrence.

  u = conv(W_x x + b_x)                            causal, depthwise over time
  i_t = sigmoid(W_i u_t + b_i),  r_t = sigmoid(W_r u_t + b_r)      (blocks)
  a_t = exp(-8 r_t softplus(Lambda))
  h_t = a_t h_{t-1} + sqrt(1 - a_t^2) (i_t u_t)
  y_t = W_o (gelu(W_y x_t + b_y) h_t) + b_o

The first element of a sequence is not multiplied by the root. De et al.,
"Griffin: mixing gated linear recurrences with local attention for efficient
language models", arXiv:2402.19427, section 2.4, and google-deepmind's
recurrentgemma.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import _serialization
from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers import head_parts
from jaxseq.mixers import passes

# Factor on the recurrence gate.
_SHARPNESS = 8.0
# Bound on the squared slope of the root, which is infinite at 0.
_SMALLEST = 1e-6

TRAITS = contract.Traits(
  keeps="a vector, gated by the input; 3 inputs of a convolution",
  ssm_parameters=("Lambda",),
  block=contract.TRANSFORMER_BLOCK,
  memory=("h",),
  # A channel of the gates' input affects all gates of its block.
  traced=dict.fromkeys(("Lambda", "b_i", "b_r"), (0,))
  | dict.fromkeys(("W_i", "W_r"), (0, 2))
  | dict.fromkeys(("W_x", "b_x", "conv_weight", "conv_bias"), ()),
)


@dataclasses.dataclass(frozen=True)
class Config(contract.Hidden):
  """Options of the block.

  Attributes:
    d_hidden: width of the state; d_model if None. The paper has 4 / 3 of it.
    heads: blocks of the gates' matrices.
    d_conv: width of the convolution, including the present element; 1 for none.
  """

  heads: int = 1
  d_conv: int = 4

  def __post_init__(self):
    super().__post_init__()
    contract.multiple("d_hidden", self.width, heads=self.heads)


@_serialization.exported("jaxseq.mixers.rglru.State")
class State(NamedTuple):
  """State of the block.

  Attributes:
    h: (*batch, d_hidden).
    conv: (*batch, d_conv - 1, d_hidden), the last inputs of the convolution,
      oldest first; None without one.
    fresh: (*batch,), 1 before the first element of a sequence, 0 after it.
  """

  h: jax.Array
  conv: jax.Array | None
  fresh: jax.Array


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters, as the original code does.

  Returns:
    A dict of float32 arrays:
      W_y, W_x: (d_model, d_hidden), b_y, b_x: (d_hidden,).
      conv_weight: (d_conv, d_hidden), the last row for the present element, and
        conv_bias, if d_conv > 1.
      W_i, W_r: (heads, d_hidden / heads, d_hidden / heads), b_i, b_r:
        (d_hidden,).
      Lambda: (d_hidden,), such that exp(-softplus(Lambda)) lies between 0.9 and
        0.999.
      W_o: (d_hidden, d_model), b_o: (d_model,).
  """
  names = "y", "x", "conv", "i", "r", "Lambda", "o"
  keys = dict(zip(names, jax.random.split(key, len(names))))
  width, hidden = config.d_model, config.width
  block = hidden // config.heads
  lecun = jax.nn.initializers.lecun_normal()
  params = {}
  for name in "yx":
    params[f"W_{name}"] = lecun(keys[name], (width, hidden), jnp.float32)
    params[f"b_{name}"] = jnp.zeros((hidden,), jnp.float32)
  if config.d_conv > 1:
    shape = config.d_conv, hidden
    scale = (0.01 / config.d_conv) ** 0.5
    normal = jax.random.normal(keys["conv"], shape, jnp.float32)
    params["conv_weight"] = scale * normal
    params["conv_bias"] = jnp.zeros((hidden,), jnp.float32)
  for name in "ir":
    shape = config.heads, block, block
    normal = jax.random.normal(keys[name], shape, jnp.float32)
    params[f"W_{name}"] = normal * block**-0.5
    params[f"b_{name}"] = jnp.zeros((hidden,), jnp.float32)
  square = jax.random.uniform(
    keys["Lambda"], (hidden,), jnp.float32, 0.9**2, 0.999**2
  )
  # The inverse of softplus.
  rate = -0.5 * jnp.log(square)
  params["Lambda"] = rate + jnp.log(-jnp.expm1(-rate))
  params["W_o"] = lecun(keys["o"], (hidden, width), jnp.float32)
  params["b_o"] = jnp.zeros((width,), jnp.float32)
  return params


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence."""
  window = *batch_shape, config.d_conv - 1, config.width
  return State(
    jnp.zeros((*batch_shape, config.width), dtype),
    jnp.zeros(window, dtype) if config.d_conv > 1 else None,
    jnp.ones(batch_shape, dtype),
  )


@contract.apply(Config, init, initial_state, sections=True)
def apply(config, params, x, state=None, reset=None, *, axis=None):
  """Runs over a sequence; a reset empties the convolution's window too."""
  del config
  first = jnp.arange(x.shape[-2]) == 0
  if axis is not None:
    first &= jax.lax.axis_index(axis) == 0
  begins = jnp.where(first, state.fresh[..., None], 0)
  over = functools.partial(passes.over_sequence, axis=axis)
  return _run(over, params, x, state, reset, begins)


@contract.step(Config, init, initial_state)
def step(config, params, x, state, reset=None):
  """Consumes one element; `apply` without the time axis."""
  del config
  over = passes.over_element
  return _run(over, params, x, state, reset, state.fresh)


def _run(over, params, x, state, reset, begins):
  """Runs over x; `begins` (...) is 1 if the state is fresh without a reset."""
  params = contract.cast(params, contract.wide_dtype(x))
  u, window = recurrence.dense(x, params["W_x"], params["b_x"]), state.conv
  if "conv_weight" in params:
    taps, bias = params["conv_weight"], params["conv_bias"]
    u, window = over(recurrence.causal_conv, u, taps, bias, window, reset)
    u = u.astype(x.dtype)
  begins = begins if reset is None else jnp.where(reset, 1, begins)
  a, b = _coefficients(params, u, begins)
  h, last = over(recurrence.linear_scan, a, b, state.h, reset=reset)
  branch = recurrence.dense(x, params["W_y"], params["b_y"])
  y = contract.pointwise(
    lambda branch, h: jax.nn.gelu(branch) * h, branch, h.astype(x.dtype)
  )
  y = recurrence.dense(y, params["W_o"], params["b_o"])
  return y, State(last, window, jnp.zeros_like(state.fresh))


def _coefficients(params, u, begins):
  """Coefficients a and b, like u, of a linear recurrence; float32 or wider."""
  # `begins` (...) is 1 at the first element of each sequence, whose b is not
  # multiplied by sqrt(1 - a^2), and 0 elsewhere.
  i, r = (_gate(params, name, u) for name in "ir")
  log_a = -_SHARPNESS * r * jax.nn.softplus(params["Lambda"])
  begins = jnp.asarray(begins, log_a.dtype)[..., None]
  # Both are exact: 1, or the root.
  factor = begins + (1 - begins) * _root(-jnp.expm1(2 * log_a))
  return jnp.exp(log_a), factor * i * u.astype(i.dtype)


def _gate(params, name, u):
  """Returns sigmoid(W u + b), with a block-diagonal W, at least float32."""
  y = head_parts.dense(u, params[f"W_{name}"], wide=True)
  return jax.nn.sigmoid(y + params[f"b_{name}"])


@jax.custom_jvp
def _root(x):
  """Returns sqrt(x), with a slope up to 1000 / 2, as in the original code."""
  return jnp.sqrt(x)


@_root.defjvp
def _root_jvp(primals, tangents):
  (x,), (d_x,) = primals, tangents
  slope = jax.lax.rsqrt(jnp.maximum(4 * x, _SMALLEST))
  return _root(x), slope * d_x
