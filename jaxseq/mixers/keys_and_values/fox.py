"""FoX (Pro): softmax attention with a forget gate, and no positions.

  o_t = sum_j softmax_j(q_t . k_j / sqrt(d_head) + f_{j+1} + ... + f_t) v_j
  y_t = W_o (norm(o_t) * sigmoid(W_g x_t)),   f = logsigmoid(W_f x + b_f)

per head; keys and values are mixed with those of the previous element, queries
and keys have norms. Lin et al., "Forgetting Transformer: Softmax attention with
a forget gate", arXiv:2503.02130. This is `attention` with the options of the
paper's Pro block, whose feed-forward part is narrower by the parameters of the
gate.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from jaxseq.mixers import contract
from jaxseq.mixers import passes
from jaxseq.mixers.keys_and_values import attention

TRAITS = contract.Traits(
  keeps="keys and values of the last elements, 1024 by default, and how far "
  "they have faded; the last key and value before their shifts",
  block=contract.TRANSFORMER_BLOCK,
)


@dataclasses.dataclass(frozen=True)
class Config(attention.Config):
  """Options of FoX: those of attention, with other defaults."""

  positions: Literal["rotary", "relative", "none"] = "none"
  rotary_base: float = 500000.0
  qk_norm: Literal["none", "head", "width", "each_head"] = "each_head"
  eps: float = 1e-5
  gate: Literal["none", "sigmoid", "silu"] = "sigmoid"
  output_norm: bool = True
  forget_gate: Literal["none", "full", "bias_only", "fixed"] = "full"
  key_shift: bool = True
  value_shift: bool = True


State = attention.ShiftState


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters: LeCun-normal matrices, biases 0.

  Returns:
    A dict of float32 arrays, as `attention.init`.
  """
  return attention.init(key, config)


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence, as `attention.initial_state`."""
  return attention.initial_state(config, batch_shape, dtype)


@contract.apply(Config, init, initial_state, fresh=False)
def apply(config, params, x, state=None, reset=None, *, axis=None):
  """Runs over a sequence; the work grows with time * window."""
  return attention.apply(config, params, x, state, reset, axis=axis)


step = passes.step_by(Config, init, initial_state, apply)
