"""Multi-head latent attention: keys and values are low-rank projections.

  c_t = RMSNorm(W_kv x_t),  p_t = turned(W_kv' x_t)              what is kept
  k_t = [W_k c_t, p_t],  v_t = W_v c_t                           of each head
  o_t = sum_j softmax_j(q_t . k_j / sqrt(d_key + d_rotary)) v_j

with t - window <= j <= t, over the elements j of t's own episode. The state
holds c and p, which all heads share. DeepSeek-AI, "DeepSeek-V2",
arXiv:2405.04434, section 2.1; without positions as in Kimi Linear,
arXiv:2510.26692.

With many queries, keys and values are computed from the latents; with few, W_k
and W_v are applied to the queries and the outputs, which are multiplied with
the latents themselves, as in section 2.1.2.
"""

import dataclasses
import functools
import math
from typing import Literal
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import _serialization
from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers import head_parts
from jaxseq.mixers import passes
from jaxseq.mixers import positions

TRAITS = contract.Traits(
  keeps="latents of keys and values of the last elements, 1024 by default",
  block=contract.TRANSFORMER_BLOCK,
)


@dataclasses.dataclass(frozen=True)
class Config(contract.Options):
  """Options of latent attention.

  Attributes:
    heads: number of heads.
    d_key: width of the part of a head's queries and keys that is not rotated;
      d_model / heads, rounded up to an even number, if None.
    d_rotary: width of the part of queries and keys that has positions; heads
      share that of the keys; d_key / 2, rounded up to an even number, if None.
    d_value: width of a head's values; d_key if None.
    d_latent: width of the latents; 4 d_key, as in the paper, if None.
    query_rank: rank of the queries' matrix, with an RMS norm in between; full
      if None.
    bias: whether the matrices to the latents, to the low rank of the queries
      and to the output have biases.
    window: number of elements that an element sees beside itself. The state
      holds that many latents: 4 * window * (d_latent + d_rotary) bytes in
      float32.
    positions: "rotary", or "none" for no positions.
    rotary_base: the slowest rotary frequency is about 1 / rotary_base.
    eps: added to the mean square in the norms.
  """

  heads: int = 4
  d_key: int | None = None
  d_rotary: contract.FromZero | None = None
  d_value: int | None = None
  d_latent: int | None = None
  query_rank: int | None = None
  bias: bool = False
  window: int = 1024
  positions: Literal["rotary", "none"] = "rotary"
  rotary_base: float = 10000.0
  eps: float = 1e-6

  def __post_init__(self):
    super().__post_init__()
    positions.check_rotary(self, "d_rotary", self.rotary_width or 2)

  @property
  def key_width(self) -> int:
    """Width of the part of queries and keys that is not rotated."""
    return self.d_key or 2 * math.ceil(self.d_model / self.heads / 2)

  @property
  def rotary_width(self) -> int:
    """Width of the rotated part."""
    if self.d_rotary is not None:
      return self.d_rotary
    return 2 * math.ceil(self.key_width / 4)

  @property
  def value_width(self) -> int:
    """Width of a head's values."""
    return self.d_value or self.key_width

  @property
  def latent_width(self) -> int:
    """Width of the latents."""
    return self.d_latent or 4 * self.key_width


@_serialization.exported("jaxseq.mixers.latent_attention.State")
class State(NamedTuple):
  """The last elements, oldest first; those before the episode are zeros.

  Attributes:
    latents: (*batch, window, d_latent + d_rotary), latents and unrotated keys.
    length: (*batch,) number of elements since the state was fresh, in floating
      point.
  """

  latents: jax.Array
  length: jax.Array


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters: LeCun-normal matrices, biases 0.

  Returns:
    A dict of float32 arrays:
      W_q: (d_model, heads * (d_key + d_rotary)), or (d_model, query_rank),
        q_norm (query_rank,), ones, and W_q2 (query_rank, as above) after it.
      W_kv: (d_model, d_latent + d_rotary).
      kv_norm: (d_latent,), ones.
      W_kv2: (d_latent, heads * (d_key + d_value)), keys and values of a head
        concatenated.
      W_o: (heads * d_value, d_model).
      W_q_bias, with a query_rank, W_kv_bias and W_o_bias: as many entries as
        the columns of the matrix, if there are biases.
  """
  draw = contract.Draws(key, "W_q W_kv W_kv2 W_o W_q2")
  latent, rotary = config.latent_width, config.rotary_width
  queries = config.heads * (config.key_width + rotary)
  values = config.heads * config.value_width
  shapes = {
    "W_q": (config.d_model, config.query_rank or queries),
    "W_kv": (config.d_model, latent + rotary),
    "W_kv2": (latent, config.heads * config.key_width + values),
    "W_o": (values, config.d_model),
  }
  if config.query_rank is not None:
    shapes["W_q2"] = config.query_rank, queries
  params = {name: draw(name, *shape) for name, shape in shapes.items()}
  params["kv_norm"] = contract.ones(latent)
  biased = ["W_kv", "W_o"]
  if config.query_rank is not None:
    params["q_norm"] = contract.ones(config.query_rank)
    biased.append("W_q")
  return params | (contract.biases(params, *biased) if config.bias else {})


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence: no elements."""
  width = config.latent_width + config.rotary_width
  return State(
    jnp.zeros((*batch_shape, config.window, width), dtype),
    jnp.zeros(batch_shape, dtype),
  )


@contract.apply(Config, init, initial_state, fresh=False)
def apply(config, params, x, state=None, reset=None, *, axis=None):
  """Runs over a sequence; the work grows with time * window."""
  q, cache = _queries(config, params, x), None
  # A `Weight` supports only products by `dense`, and no absorption.
  absorbed = not isinstance(params["W_kv2"], recurrence.Weight) and (
    _absorbs(config, x.shape[-2], state is not None)
  )
  expand = _latents if absorbed else _make
  if state is not None:
    latents = state.latents[..., None, :]
    cache = recurrence.WindowState(latents, None, state.length)
  o, last = recurrence.window_attention(
    _absorb(config, params, q) if absorbed else q,
    _kept(config, params, x),
    None,
    config.window,
    cache,
    reset=reset,
    embed=_turning(config),
    expand=functools.partial(expand, config, params),
    axis=axis,
  )
  o = _release(config, params, o) if absorbed else o
  state = State(last.keys[..., 0, :], last.length)
  state = contract.cast(state, contract.wide_dtype(x))
  return contract.project(params, "W_o", o.reshape(*x.shape[:-1], -1)), state


step = passes.step_by(Config, init, initial_state, apply)


def _absorbs(config, time, continued):
  """True if queries of latents need fewer products than keys and values."""
  keys = time + config.window * continued
  latent, rotary = config.latent_width, config.rotary_width
  expansion = latent * (config.key_width + config.value_width)
  heads = config.key_width + rotary + config.value_width
  expanded = keys * expansion + time * keys * heads
  absorbed = time * expansion + time * keys * (2 * latent + rotary)
  return absorbed < expanded


def _queries(config, params, x):
  """Returns queries (*batch, time, heads, d_key + d_rotary)."""
  q = contract.project(params, "W_q", x)
  if config.query_rank is not None:
    q = head_parts.normed(q, params["q_norm"], config.eps)
    q = recurrence.dense(q, params["W_q2"])
  return q.reshape(*x.shape[:-1], config.heads, -1)


def _kept(config, params, x):
  """Latents and unrotated keys, (*batch, time, 1, d_latent + d_rotary)."""
  projected = contract.project(params, "W_kv", x)
  latents, keys = jnp.split(projected, (config.latent_width,), axis=-1)
  latents = head_parts.normed(latents, params["kv_norm"], config.eps)
  return jnp.concatenate([latents, keys], axis=-1)[..., None, :]


def _turning(config):
  """Returns the function that rotates the last channels, or None."""
  if config.positions == "none" or not config.rotary_width:
    return None

  def turn(x, index):
    rest, turned = jnp.split(x, (x.shape[-1] - config.rotary_width,), axis=-1)
    turned = positions.rotary(turned, index[:, None], config.rotary_base)
    return jnp.concatenate([rest, turned], axis=-1)

  return turn


def _make(config, params, state):
  """Computes keys and values of all heads."""
  # Zero times an infinite number is not zero, in the gradient of the matrix.
  finite = jnp.all(jnp.isfinite(state), axis=-1, keepdims=True)
  clean = jnp.where(finite, state, 0)
  latents, shared = jnp.split(clean, (config.latent_width,), axis=-1)
  projected = recurrence.dense(latents[..., 0, :], params["W_kv2"])
  projected = projected.reshape(*projected.shape[:-1], config.heads, -1)
  keys, values = jnp.split(projected, (config.key_width,), axis=-1)
  shared = jnp.broadcast_to(shared, (*keys.shape[:-1], shared.shape[-1]))
  keys = jnp.concatenate([keys, shared], axis=-1)
  return jnp.where(finite, keys, jnp.nan), values


def _latents(config, params, state):
  """Returns latents and unrotated keys as keys, and latents as values."""
  del params
  return state, state[..., : config.latent_width]


def _absorb(config, params, q):
  """Applies W_k to queries instead of keys: queries of latents."""
  content, turned = jnp.split(q, (config.key_width,), axis=-1)
  W_k = _by_head(config, params)[..., : config.key_width]
  q = jnp.concatenate(
    [recurrence.dense_heads(content, W_k.swapaxes(1, 2)), turned], axis=-1
  )
  # `window_attention` divides by the square root of their width.
  factor = math.sqrt(q.shape[-1] / (config.key_width + config.rotary_width))
  return contract.pointwise(lambda q: factor * q, q)


def _release(config, params, o):
  """Converts averages of latents to averages of values."""
  return recurrence.dense_heads(
    o, _by_head(config, params)[..., config.key_width :]
  )


def _by_head(config, params):
  """Returns the matrix by heads, (heads, d_latent, d_key + d_value)."""
  W = params["W_kv2"]
  return W.reshape(len(W), config.heads, -1).swapaxes(0, 1)
