"""NSA, native sparse attention: block means, selected blocks and a window.

  y = W_o (g_1 mean + g_2 chosen + g_3 window),  g = sigmoid(W_g x) per head

with terms of softmax attention that share rotary queries, keys and values: to
the means of blocks of elements, to the blocks with the largest weights in it,
and to the last elements: `recurrence.native_sparse_attention`. Yuan et al.,
arXiv:2502.11089, in the form of flash-linear-attention's layer; the paper
compresses overlapping blocks by a learned network, and has separate keys and
values for each term.

Up to `capacity` elements this is exact. In longer episodes a new block replaces
the oldest one: the state has a fixed size.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers import head_parts
from jaxseq.mixers import positions
from jaxseq.mixers.keys_and_values import _heads

State = recurrence.NativeSparseState

TRAITS = contract.Traits(
  keeps="keys and values of the last elements, 4096 by default, and means of "
  "blocks of these",
  block=contract.TRANSFORMER_BLOCK,
  splits_time=False,
)


@dataclasses.dataclass(frozen=True)
class Config(contract.Options):
  """Options of native sparse attention.

  Attributes:
    heads: number of heads of queries.
    kv_heads: number of heads of keys and values, a divisor of `heads`. Heads
      that share them select their blocks together.
    d_head: width of a head; d_model / heads, rounded up to an even number, if
      None.
    block_size: elements in a block.
    block_count: blocks that an element selects, at least 3: the first one, its
      own and the one before its own are among them.
    window: number of last elements that are always visible, including the
      element itself; 0 for no such term.
    capacity: elements that the state holds, a multiple of `block_size`.
    rotary_base: the slowest rotary frequency is about 1 / rotary_base.
    qkv_bias: whether queries, keys and values have biases.
  """

  heads: int = 4
  kv_heads: int = 1
  d_head: int | None = None
  block_size: int = 64
  block_count: int = 16
  window: contract.FromZero = 512
  capacity: int = 4096
  rotary_base: float = 10000.0
  qkv_bias: bool = False

  def __post_init__(self):
    super().__post_init__()
    contract.divisor("kv_heads", self.kv_heads, heads=self.heads)
    positions.check_rotary(self, "d_head", self.head_width)
    _ = self.sizes  # Checks the sizes.

  @property
  def positions(self) -> str:
    """Kind of positions."""
    return "rotary"

  @property
  def head_width(self) -> int:
    """Width of a head."""
    return _heads.width(self)

  @property
  def sizes(self) -> recurrence.NativeSparse:
    """Sizes of the recurrence."""
    names = "block_size", "block_count", "window", "capacity"
    return recurrence.NativeSparse(
      **{name: getattr(self, name) for name in names}
    )


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters: LeCun-normal matrices, biases 0.

  Returns:
    A dict of float32 arrays:
      W_q: (d_model, heads d_head).
      W_k, W_v: (d_model, kv_heads d_head).
      W_g: (d_model, heads 3), the gates of a head side by side.
      W_o: (heads d_head, d_model).
      W_q_bias, W_k_bias, W_v_bias: as many as the matrix has columns, if
        qkv_bias.
  """
  draw = contract.Draws(key, "q k v g o")
  inner = config.heads * config.head_width
  shared = config.kv_heads * config.head_width
  params = {
    "W_q": draw("q", config.d_model, inner),
    "W_k": draw("k", config.d_model, shared),
    "W_v": draw("v", config.d_model, shared),
    "W_g": draw("g", config.d_model, 3 * config.heads),
    "W_o": draw("o", inner, config.d_model),
  }
  names = ("W_q", "W_k", "W_v") if config.qkv_bias else ()
  return params | contract.biases(params, *names)


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence: no elements."""
  widths = config.head_width, config.head_width
  return recurrence.native_sparse_initial(
    config.sizes, tuple(batch_shape), config.kv_heads, widths, dtype
  )


@contract.apply(Config, init, initial_state, fresh=False)
def apply(config, params, x, state=None, reset=None):
  """Runs over a sequence; the work grows with time * block_count * block_size.

  The work for block means grows with time * capacity / block_size.
  """
  place = jnp.zeros(x.shape[:-2], contract.wide_dtype(x))
  if state is not None:
    place = state.count
  place, _ = positions.since_reset(place, reset, x.shape[-2])
  heads = _projected(config, params, x, place)
  o, state = recurrence.native_sparse_attention(
    *heads, config.sizes, state, reset=reset
  )
  return _output(params, x, o), state


@contract.step(Config, init, initial_state)
def step(config, params, x, state, reset=None):
  """Consumes one element; reads the block means and the visible elements."""
  place = state.count
  if reset is not None:
    place = jnp.where(reset, 0, place)
  heads = _projected(config, params, x, place)
  o, state = recurrence.native_sparse_step(
    *heads, config.sizes, state, reset=reset
  )
  return _output(params, x, o), state


def _projected(config, params, x, place):
  """Queries, keys, values and gates of heads, at places in the episode."""
  params = contract.cast(params, contract.wide_dtype(x))
  q, k, v = (
    head_parts.split(contract.project(params, f"W_{name}", x), count)
    for name, count in zip("qkv", (config.heads, *[config.kv_heads] * 2))
  )
  q, k = (
    positions.rotary(z, place[..., None], config.rotary_base) for z in (q, k)
  )
  logits = recurrence.dense(x, params["W_g"], wide=True)
  return q, k, v, jax.nn.sigmoid(head_parts.split(logits, config.heads))


def _output(params, x, o):
  params = contract.cast(params, contract.wide_dtype(x))
  return recurrence.dense(o.reshape(*x.shape[:-1], -1), params["W_o"])
