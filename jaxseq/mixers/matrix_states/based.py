"""Based: causal linear attention by the Taylor series of the exponential.

  y_n = W_o (phi(q_n) S_n / (phi(q_n) z_n)),        q, k, v = W x     per head
  S_n = S_{n-1} + phi(k_n) v_n^T,  z_n = z_{n-1} + phi(k_n)

with phi(q) phi(k) = 1 + s + s^2 / 2, s = q k / sqrt(d_feature). Arora et al.,
"Simple linear attention language models balance the recall-throughput
tradeoff", arXiv:2402.18668. This is `jrt` without a prefix, and without its
parameters. There is no decay: the sums grow with time. The paper's network
alternates it with attention over short windows and short convolutions, as in
`nn.StackConfig(hybrid=...)`.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jaxseq.mixers import contract
from jaxseq.mixers import passes
from jaxseq.mixers.matrix_states import jrt

TRAITS = jrt.TRAITS
# Parameters of `jrt` that only a prefix needs.
_PREFIX = "W_k_prefix", "W_v_prefix"


@dataclasses.dataclass(frozen=True)
class Config(jrt.Config):
  """Options of Based.

  Attributes:
    heads: number of heads.
  """

  heads: int = 12


State = jrt.State


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters: LeCun-normal matrices.

  Returns:
    A dict of float32 arrays:
      W_q, W_k: (d_model, heads * d_feature).
      W_v: (d_model, heads * d_value).
      W_o: (heads * d_value, d_model).
  """
  params = jrt.init(key, config)
  return {name: x for name, x in params.items() if name not in _PREFIX}


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence: zeros."""
  return jrt.initial_state(config, batch_shape, dtype)


@contract.apply(Config, init, initial_state)
def apply(config, params, x, state=None, reset=None, *, axis=None):
  """Runs over a sequence; the work grows with time."""
  # Without a prefix they are not used.
  unused = {
    name: jnp.zeros_like(params[name.removesuffix("_prefix")])
    for name in _PREFIX
  }
  return jrt.apply(config, params | unused, x, state, reset, axis=axis)


step = passes.step_by(Config, init, initial_state, apply)
