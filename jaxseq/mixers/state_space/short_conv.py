"""Gated short convolution: a few elements, with two gates and no decay.

  B_t, C_t, u_t = W_in x_t + b_in                  three parts of d_model each
  y_t = W_out (C_t * conv(B * u)_t) + b_out        causal, depthwise over time

The block of most LFM2 layers (Liquid AI's technical report, arXiv:2511.23404,
section 2), as in transformers: no activation between the gates and the
convolution, and one option for all three biases.
"""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers import passes

TRAITS = contract.Traits(
  keeps="2 inputs of a gated convolution", block=contract.TRANSFORMER_BLOCK
)


@dataclasses.dataclass(frozen=True)
class Config(contract.Options):
  """Options of the block.

  Attributes:
    d_conv: width of the convolution, including the present element; at least 2.
    bias: whether both projections and the convolution have biases.
  """

  d_conv: Annotated[int, 2] = 3
  bias: bool = False


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters: LeCun-normal matrices, zero biases.

  Returns:
    A dict of float32 arrays:
      W_in: (d_model, 3 * d_model), to B, C and u side by side.
      conv_weight: (d_conv, d_model), the last row for the present element.
      W_out: (d_model, d_model).
      W_in_bias, conv_bias, W_out_bias: as many as the output channels, if there
        are biases.
  """
  keys = jax.random.split(key, 3)
  lecun = jax.nn.initializers.lecun_normal()
  width, taps = config.d_model, config.d_conv
  params = {
    "W_in": lecun(keys[0], (width, 3 * width), jnp.float32),
    "conv_weight": contract.uniform(keys[1], (taps, width), taps),
    "W_out": lecun(keys[2], (width, width), jnp.float32),
  }
  if config.bias:
    for name, size in (("W_in", 3 * width), ("conv", width), ("W_out", width)):
      params[f"{name}_bias"] = jnp.zeros((size,), jnp.float32)
  return params


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence: zeros.

  The convolution's last inputs (*batch, d_conv - 1, d_model), oldest first.
  """
  return jnp.zeros((*batch_shape, config.d_conv - 1, config.d_model), dtype)


def _run(over, config, params, x, window, reset):
  """Runs over a sequence."""
  del config
  B, C, u = jnp.split(contract.project(params, "W_in", x), 3, axis=-1)
  weight, bias = params["conv_weight"], params.get("conv_bias")
  u = contract.pointwise(jnp.multiply, B, u)
  u, window = over(recurrence.causal_conv, u, weight, bias, window, reset)
  u = contract.pointwise(jnp.multiply, C, u.astype(x.dtype))
  return contract.project(params, "W_out", u), window


apply, step = passes.make(Config, init, initial_state, _run)
