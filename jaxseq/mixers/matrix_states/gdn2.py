"""Gated DeltaNet-2: a delta rule with separate rates for erasing and writing.

  q, k, v = silu(conv(W x))            causal, depthwise; q and k of length 1
  D_t = diag(alpha_t) S_{t-1}                   per head and channel of the keys
  S_t = D_t + k_t (w_t v_t - D_t^T (e_t k_t))^T
  y_t = W_o (norm(S_t^T q_t / sqrt(d_key)) * sigmoid(W_g2 W_g x_t + b_g))

with rates e = sigmoid(W_b x) for each channel of the keys and w = sigmoid(W_w
x) for each of the values, in the form of flash-linear-attention's layer. This
is `gated_deltanet` with such rates, a decay per channel and ranks of the
values' width, except for its groups: here neighboring heads share decays, too.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jaxseq.mixers import contract
from jaxseq.mixers import passes
from jaxseq.mixers.matrix_states import _outer
from jaxseq.mixers.matrix_states import gated_deltanet
from jaxseq.mixers.state_space import discretize

TRAITS = dataclasses.replace(
  gated_deltanet.TRAITS,
  keeps="a matrix per head, with a decay per channel of the keys, whose values "
  "are replaced; 3 inputs of a convolution",
)


@dataclasses.dataclass(frozen=True)
class Config(_outer.HeadWidths, discretize.FlooredSteps):
  """Options of Gated DeltaNet-2.

  Attributes:
    key_heads: number of heads of queries, keys, decays and rates of erasing,
      each for heads / key_heads neighboring heads; `heads` if None.
    d_conv: width of the convolution, including the present element; 1 for none.
    negative_eigenvalues: whether rates of erasing are in (0, 2) instead of (0,
      1).
    eps: added to the mean square in the norm of a head's output.
  """

  key_heads: int | None = None
  d_conv: int = 4
  negative_eigenvalues: bool = False
  eps: float = 1e-5

  def __post_init__(self):
    super().__post_init__()
    contract.divisor("key_heads", self.groups, heads=self.heads)

  @property
  def groups(self) -> int:
    """Number of heads of queries and keys."""
    return self.key_heads or self.heads

  @property
  def general(self) -> gated_deltanet.Config:
    """Options of `gated_deltanet` for the same."""
    shared = {
      field.name: getattr(self, field.name)
      for field in dataclasses.fields(self)
    }
    return gated_deltanet.Config(
      **shared,
      decay="channel",
      decay_rank=self.value_width,
      rates="channel",
      gate="sigmoid",
      gate_rank=self.value_width,
    )


State = _outer.ConvState
# Parameters of decays, which neighboring heads share.
_SHARED = ("A_log", "dt_bias", "W_a2")


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters.

  Returns:
    A dict of float32 arrays, as in `gated_deltanet` with rates and decays per
    channel, except for these:
      A_log: (key_heads,), logarithms of numbers from 1 to 16.
      dt_bias: (key_heads * d_key,).
      W_a2: (d_value, key_heads * d_key).
  """
  key_A, key_rest = jax.random.split(key)
  params = gated_deltanet.init(key_rest, config.general)
  decays = config.groups * config.key_width
  A = jax.random.uniform(key_A, (config.groups,), jnp.float32, 1, 16)
  return params | {
    "A_log": jnp.log(A),
    "dt_bias": params["dt_bias"][:decays],
    "W_a2": params["W_a2"][:, :decays],
  }


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence: zeros."""
  return gated_deltanet.initial_state(config.general, batch_shape, dtype)


def _of_heads(config, params):
  """Repeats decays for every head, as `gated_deltanet` has them."""
  shared = config.heads // config.groups

  def repeated(x):
    heads = x.reshape(*x.shape[:-1], config.groups, -1)
    return jnp.repeat(heads, shared, axis=-2).reshape(*x.shape[:-1], -1)

  return params | {name: repeated(params[name]) for name in _SHARED}


@contract.apply(Config, init, initial_state)
def apply(config, params, x, state=None, reset=None, *, axis=None):
  """Runs over a sequence; a reset empties the convolution's window too."""
  params = _of_heads(config, params)
  return gated_deltanet.apply(
    config.general, params, x, state, reset, axis=axis
  )


step = passes.step_by(Config, init, initial_state, apply)
