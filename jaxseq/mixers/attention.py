"""Causal multi-head softmax attention over a window, with a KV cache as state.

  o_t = sum_j softmax_j(q_t . k_j / sqrt(d_head)) v_j,   t - window <= j <= t

over the elements j of t's own episode. Vaswani et al., "Attention is all you
need", arXiv:1706.03762; rotary positions: Su et al., "RoFormer",
arXiv:2104.09864; heads that share keys and values: Ainslie et al., "GQA",
arXiv:2305.13245.

Up to `window` + 1 elements this is plain causal attention. Beyond, the oldest
are forgotten: the state has a fixed size.
"""

import dataclasses
import math
from typing import Literal

import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers import positions
from jaxseq.recurrence import window

Params = contract.Params
State = recurrence.WindowState

TRAITS = contract.Traits(
  keeps="keys and values of the last elements, 1024 by default",
  schemes=window.SCHEMES,
  block=contract.TRANSFORMER_BLOCK,
  cases=({"kv_heads": 2, "window": 3, "positions": "none"},),
  collectives={"ppermute": None, "psum": 1},
  temporary={"tpu": (6.1, 20), "cuda": (9.7, 20)},
)


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of attention.

  Attributes:
    d_model: width of inputs and outputs.
    heads: number of heads.
    kv_heads: number of heads of keys and values, a divisor of `heads`; `heads`
      if None. Neighbouring heads share them.
    d_head: width of a head; d_model / heads, rounded up to an even number, if
      None.
    window: number of elements that an element sees beside itself. The state
      holds that many keys and values: 8 * window * kv_heads * d_head bytes in
      float32, half a megabyte at the default and d_model = 64.
    positions: "rotary", or "none" for no positions at all.
    rotary_base: the slowest rotary frequency is about 1 / rotary_base.
  """

  d_model: int
  heads: int = 4
  kv_heads: int | None = None
  d_head: int | None = None
  window: int = 1024
  positions: Literal["rotary", "none"] = "rotary"
  rotary_base: float = 10000.0

  def __post_init__(self):
    contract.literals(self)
    contract.fields(
      self,
      positive=("d_model", "heads", "window"),
      optional=("kv_heads", "d_head"),
    )
    if self.heads % self.groups:
      raise contract.error(
        "kv_heads", self.kv_heads, f"a divisor of heads = {self.heads}"
      )
    positions.check_rotary(self, "d_head", self.head_width)

  @property
  def groups(self) -> int:
    """Number of heads of keys and values."""
    return self.heads if self.kv_heads is None else self.kv_heads

  @property
  def head_width(self) -> int:
    """Width of a head."""
    if self.d_head is not None:
      return self.d_head
    return 2 * math.ceil(self.d_model / self.heads / 2)


@contract.init
def init(key: jax.Array, config: Config) -> Params:
  """Draws the parameters: LeCun-normal matrices, no biases.

  Returns:
    A dict of float32 arrays:
      W_q: (d_model, heads * d_head).
      W_k, W_v: (d_model, kv_heads * d_head).
      W_o: (heads * d_head, d_model).
  """
  keys = jax.random.split(key, 4)
  lecun = jax.nn.initializers.lecun_normal()
  inner = config.heads * config.head_width
  shared = config.groups * config.head_width
  return {
    "W_q": lecun(keys[0], (config.d_model, inner), jnp.float32),
    "W_k": lecun(keys[1], (config.d_model, shared), jnp.float32),
    "W_v": lecun(keys[2], (config.d_model, shared), jnp.float32),
    "W_o": lecun(keys[3], (inner, config.d_model), jnp.float32),
  }


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence: no elements.

  Keys and values (*batch, window, kv_heads, d_head), and how many they are.
  """
  shape = (*batch_shape, config.window, config.groups, config.head_width)
  shapes = shape, shape, shape[:-3]
  return State(*(jnp.zeros(one, dtype) for one in shapes))


@contract.apply(Config, init, initial_state, fresh=False)
def apply(
  config, params, x, state=None, reset=None, *, axis=None, scheme="halo"
):
  """Runs attention over a sequence; the work grows with time * window.

  Options:
    scheme: how devices exchange what they need: "halo", where each receives the
      `window` keys and values before its own; or, if all elements together are
      at most `window` + 1, one of those of `recurrence.softmax_attention`.
  """

  def project(name):
    y = recurrence.dense(x, params[name])
    return y.reshape(*x.shape[:-1], -1, config.head_width)

  def rotate(x, index):
    return positions.rotary(x, index[:, None], config.rotary_base)

  q, k, v = map(project, ("W_q", "W_k", "W_v"))
  options = {"reset": reset, "axis": axis, "scheme": scheme}
  embed = rotate if config.positions == "rotary" else None
  o, state = recurrence.window_attention(
    q, k, v, config.window, state, embed=embed, **options
  )
  state = contract.cast(state, contract.wide_dtype(x))
  o = o.reshape(*x.shape[:-1], -1)
  return recurrence.dense(o, params["W_o"]), state


@contract.step(Config, init, initial_state)
def step(config, params, x, state, reset=None):
  """Runs attention over one element; the cache moves on by one."""
  return contract.one_element(apply, config, params, x, state, reset)
