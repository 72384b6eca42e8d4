"""HGRN: a vector state per layer, whose forget gates have lower bounds.

  i, f = W_i x, W_f x, or a short convolution of these
  a_t = b + (1 - b) sigmoid(f_t)                                 per channel
  h_t = a_t h_{t-1} + (1 - a_t) silu(i_t)
  y_t = W_o (norm(h_t) silu(W_g x_t))          the norm over the whole width

Qin et al., "Hierarchically gated recurrent neural network for sequence
modeling", arXiv:2311.04823, in the form of flash-linear-attention's layer. The
recurrence of the paper has complex numbers with a phase that does not depend on
the data; its code, and this, has real ones. The lower bound b grows from layer
to layer, as in `hgrn2`:

  apply(..., lower_bound=lower_bounds(gamma)[l])
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import _serialization
from jaxseq import recurrence
from jaxseq.mixers import _lower_bounds
from jaxseq.mixers import contract
from jaxseq.mixers import head_parts

TRAITS = contract.Traits(
  keeps="a vector with a forget gate that keeps the part it does not replace; "
  "with an option 3 inputs of a convolution",
  block=contract.TRANSFORMER_BLOCK,
  memory=("h",),
  traced={"W_i": (1,), "W_f": (1,), "conv_weight": ()},
)


@dataclasses.dataclass(frozen=True)
class Config(contract.Hidden):
  """Options of HGRN.

  Attributes:
    d_conv: width of the convolution of i and f, including the present element;
      1 for no convolution, as in the paper.
    lower_bound: of the forget gate, from 0 to below 1, if no other is given; if
      it is 0, a stack of layers learns the bounds.
    eps: added to the mean square in the norm.
  """

  d_conv: int = 1
  lower_bound: contract.Number = 0.0
  eps: float = 1e-5

  def __post_init__(self):
    super().__post_init__()
    _lower_bounds.check(self.lower_bound)


@_serialization.exported("jaxseq.mixers.hgrn.State")
class State(NamedTuple):
  """State of HGRN.

  Attributes:
    h: (*batch, d_hidden).
    conv: (*batch, d_conv - 1, 2 d_hidden), the last inputs of the convolution,
      oldest first, of i and f concatenated; None without a convolution.
  """

  h: jax.Array
  conv: jax.Array | None


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters, LeCun-normal matrices.

  Returns:
    A dict of float32 arrays:
      W_i, W_f, W_g: (d_model, d_hidden).
      conv_weight: (d_conv, 2 d_hidden), the last row for the present element,
        if d_conv > 1.
      norm_scale: (d_hidden,), ones.
      W_o: (d_hidden, d_model).
  """
  draw = contract.Draws(key, "i f g conv o")
  params = draw.conv(config.d_conv, 2 * config.width)
  for name in "ifg":
    params[f"W_{name}"] = draw(name, config.d_model, config.width)
  params["norm_scale"] = contract.ones(config.width)
  params["W_o"] = draw("o", config.width, config.d_model)
  return params


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence: zeros."""
  window = *batch_shape, config.d_conv - 1, 2 * config.width
  return State(
    jnp.zeros((*batch_shape, config.width), dtype),
    jnp.zeros(window, dtype) if config.d_conv > 1 else None,
  )


@contract.apply(Config, init, initial_state)
def apply(
  config, params, x, state=None, reset=None, *, axis=None, lower_bound=None
):
  """Runs over a sequence; a reset empties the convolution's window too.

  Options:
    lower_bound: (d_hidden,) of the forget gate, from 0 to below 1, see
      `lower_bounds`; the configuration's if None.
  """
  bound = _lower_bounds.given(config, config.width, lower_bound, x, axis)
  params = contract.cast(params, contract.wide_dtype(x))
  i, f = (recurrence.dense(x, params[f"W_{n}"], wide=True) for n in "if")
  window = state.conv
  if config.d_conv > 1:
    gates = jnp.concatenate([i, f], axis=-1)
    gates, window = recurrence.causal_conv(
      gates, params["conv_weight"], None, window, reset, axis=axis
    )
    i, f = jnp.split(gates, 2, axis=-1)
  # The difference 1 - a loses all digits if a is near 1.
  a = bound + (1 - bound) * jax.nn.sigmoid(f)
  b = (1 - bound) * jax.nn.sigmoid(-f) * jax.nn.silu(i)
  h, last = recurrence.linear_scan(a, b, state.h, reset=reset, axis=axis)
  y = head_parts.normed(h.astype(x.dtype), params["norm_scale"], config.eps)
  y = head_parts.gated(y, recurrence.dense(x, params["W_g"]))
  return recurrence.dense(y, params["W_o"]), State(last, window)


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
  """Draws gamma (layers, d_hidden), zeros; None for a constant bound."""
  del key  # As in the original code.
  if config.lower_bound:
    return None
  return contract.zeros(layers, config.width)


def over_layers(gamma: jax.Array) -> dict[str, jax.Array]:
  """Returns options of `apply` and `step`, with a leading axis of layers."""
  return {"lower_bound": lower_bounds(gamma)}


def lower_bounds(gamma: jax.Array) -> jax.Array:
  """Returns the lower bounds of the forget gates of all layers.

  Args:
    gamma: (layers, d_hidden), trained with the network.

  Returns:
    Array like gamma, see `hgrn2.lower_bounds`: 0 in the first layer, and up
    from layer to layer.
  """
  return _lower_bounds.of_layers(gamma)
