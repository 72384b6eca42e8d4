"""Zamba-2's shared block: attention and feed-forward that several layers use.

    h = W_o attention(norm(v)),  v = [x, e]
    z = W_out (gelu(a) * b),     [a, b] = W_in norm(h)
    y = L_turn z

x is a layer's input and e the stack's; y is added to the input of the layer's
own norm and mixer, but not to its residual sum. Each layer that uses the block
has its own matrix L, and low-rank matrices added to W_in and, optionally, to
the block's other matrices that read v. Glorioso et al., "The Zamba2 suite",
arXiv:2411.15242, section 2.

Pure functions with the contract of a mixer (`jaxseq.mixers.registry`), except
for the width of y; the state is the attention's.
"""

from collections.abc import Mapping
import dataclasses
import functools
import math
from typing import Any
from typing import Literal
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import _serialization
from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers import head_parts
from jaxseq.mixers import positions
from jaxseq.mixers.keys_and_values import _heads
from jaxseq.types import PyTree


@dataclasses.dataclass(frozen=True)
class Config(contract.Options):
  """Options of a shared block.

  Attributes:
    d_model: width of [x, e], twice that of the layers.
    turns: number of layers that use the block; each has a turn number.
    heads: number of heads.
    kv_heads: number of heads of keys and values; `heads` if None.
    d_head: width of a head; d_model / heads if None.
    window: number of elements that an element sees besides itself.
    positions: "rotary", or "none" for no positions.
    rotary_base: the slowest rotary frequency is about 1 / rotary_base.
    width: hidden width of the feed-forward; 2 d_model if None.
    rank: rank of the matrices that are separate for each layer.
    attention_rank: whether queries, keys and values also have such matrices.
    bias: whether the feed-forward has biases.
    eps: added to the mean square in the norms.
  """

  turns: int = 1
  heads: int = 4
  kv_heads: int | None = None
  d_head: int | None = None
  window: int = 1024
  positions: Literal["rotary", "none"] = "none"
  rotary_base: float = 10000.0
  width: int | None = None
  rank: int = 8
  attention_rank: bool = False
  bias: bool = False
  eps: float = 1e-5

  def __post_init__(self):
    super().__post_init__()
    if self.d_model % 2:
      raise contract.error("d_model", self.d_model, "an even number")
    contract.divisor("kv_heads", self.groups, heads=self.heads)
    if self.d_head is None:
      contract.divisor("heads", self.heads, d_model=self.d_model)
    positions.check_rotary(self, "d_head", self.head_width)

  @property
  def groups(self) -> int:
    """Number of heads of keys and values."""
    return self.kv_heads or self.heads

  @property
  def head_width(self) -> int:
    """Width of a head."""
    return self.d_head or self.d_model // self.heads

  @property
  def hidden(self) -> int:
    """Hidden width of the feed-forward."""
    return self.width or 2 * self.d_model


@_serialization.exported("jaxseq.nn.zamba_block.LayerState")
class LayerState(NamedTuple):
  """State of a layer with a shared block.

  Attributes:
    layer: state of the layer itself.
    block: state of the block's attention, for this layer.
  """

  layer: PyTree
  block: recurrence.WindowState


class Use(NamedTuple):
  """A layer's use of a block: the block's number, and the layer's turn."""

  block: int
  turn: int


def plan(
  options: Mapping[str, Any], d_model: int, num_layers: int
) -> tuple[tuple[Config, ...], dict[int, Use]]:
  """Plans which layers of a stack use which blocks.

  Args:
    options: `layers`, the numbers of the layers that use one; `blocks`, the
      number of blocks, which these layers use in turn; other fields of Config.
      Empty for no blocks.
    d_model: width of the layers.
    num_layers: number of layers.

  Returns:
    The Configs of the blocks, and the uses by the numbers of the layers.

  Raises:
    ValueError: if an option is unknown or out of range.
  """
  if not options:
    return (), {}
  rest = dict(options)
  layers, blocks = rest.pop("layers", ()), rest.pop("blocks", 1)
  reserved = {"d_model", "turns"}
  names = [f.name for f in dataclasses.fields(Config) if f.name not in reserved]
  for name in rest:
    contract.choice(
      "option of shared_block", name, ["layers", "blocks", *names]
    )
  if (
    not isinstance(layers, tuple | list)
    or not all(type(i) is int and 0 <= i < num_layers for i in layers)
    or list(layers) != sorted(set(layers))
    or not layers
  ):
    expected = f"numbers of layers below {num_layers}, in order"
    raise contract.error("shared_block.layers", layers, expected)
  if type(blocks) is not int or not 1 <= blocks <= len(layers):
    expected = f"an integer from 1 to {len(layers)}, the number of layers"
    raise contract.error("shared_block.blocks", blocks, expected)
  uses = {i: Use(n % blocks, n // blocks) for n, i in enumerate(layers)}
  turns = [sum(use.block == b for use in uses.values()) for b in range(blocks)]
  return tuple(Config(2 * d_model, turns=n, **rest) for n in turns), uses


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters: LeCun-normal matrices, zeros after a low rank.

  Returns:
    A dict of float32 arrays, with d = d_model / 2:
      norm, feedforward_norm: (d_model,) and (d,), ones.
      W_q: (d_model, heads * d_head).
      W_k, W_v: (d_model, kv_heads * d_head).
      W_o: (heads * d_head, d).
      W_in: (d, 2 width), the activated half and its gate concatenated.
      W_out: (width, d).
      W_in_bias, W_out_bias: (2 width,) and (d,), zeros, if bias.
      L: (turns, d, d).
      W_in_down, W_in_up: (turns, d, rank) and (turns, rank, 2 width); also for
        W_q, W_k and W_v, if attention_rank.
  """
  keys = iter(jax.random.split(key, 12))
  lecun = jax.nn.initializers.lecun_normal()
  each = jax.nn.initializers.lecun_normal(batch_axis=0)
  d, inner = config.d_model // 2, config.heads * config.head_width
  shared, hidden = config.groups * config.head_width, 2 * config.hidden
  shapes = {
    "W_q": (config.d_model, inner),
    "W_k": (config.d_model, shared),
    "W_v": (config.d_model, shared),
    "W_o": (inner, d),
    "W_in": (d, hidden),
    "W_out": (config.hidden, d),
  }
  params = {
    name: lecun(next(keys), shape, jnp.float32)
    for name, shape in shapes.items()
  }
  params["L"] = each(next(keys), (config.turns, d, d), jnp.float32)
  for name in ("W_in", "W_q", "W_k", "W_v")[: 1 + 3 * config.attention_rank]:
    rows, columns = shapes[name]
    down = config.turns, rows, config.rank
    params[f"{name}_down"] = each(next(keys), down, jnp.float32)
    params[f"{name}_up"] = contract.zeros(config.turns, config.rank, columns)
  if config.bias:
    params |= contract.biases(params, "W_in", "W_out")
  params["norm"] = contract.ones(config.d_model)
  params["feedforward_norm"] = contract.ones(d)
  return params


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence: no keys and values."""
  return _heads.window(config, config.groups, config.window, batch_shape, dtype)


@contract.apply(Config, init, initial_state, fresh=False)
def apply(config, params, x, state=None, reset=None, *, axis=None, turn=0):
  """Runs over a sequence of [x, e]; y has half its width.

  Options:
    turn: number of the layer among those that use the block.
  """
  project = functools.partial(_project, params, turn)
  v = head_parts.normed(x, params["norm"], config.eps)
  q, k, v = (
    project(name, v).reshape(*x.shape[:-1], -1, config.head_width)
    for name in ("W_q", "W_k", "W_v")
  )
  # Products of heads of twice the usual width are divided as usual.
  q = contract.pointwise(lambda q: math.sqrt(2) * q, q)

  o, state = recurrence.window_attention(
    q,
    k,
    v,
    config.window,
    state,
    embed=_heads.turning(config),
    reset=reset,
    axis=axis,
  )
  state = contract.cast(state, contract.wide_dtype(x))
  h = project("W_o", o.reshape(*x.shape[:-1], -1))
  h = head_parts.normed(h, params["feedforward_norm"], config.eps)
  z = contract.pointwise(_gated, project("W_in", h))
  # A weight that is not an array contains arrays with the same axis of turns.
  lora = jax.tree.map(lambda leaf: leaf[turn], params["L"])
  return recurrence.dense(project("W_out", z), lora), state


@contract.step(Config, init, initial_state)
def step(config, params, x, state, reset=None, *, turn=0):
  """Consumes one element; `apply` without the time axis."""
  run = functools.partial(apply, turn=turn)
  return contract.one_element(run, config, params, x, state, reset)


def _project(params, turn, name, x):
  """Returns W x + b plus the layer's own low-rank product."""
  y = contract.project(params, name, x)
  if f"{name}_down" in params:
    low = recurrence.dense(x, params[f"{name}_down"][turn])
    y = y + recurrence.dense(low, params[f"{name}_up"][turn])
  return y


def _gated(x):
  """Multiplies the activated half of x by the other half."""
  a, b = jnp.split(x, 2, axis=-1)
  return jax.nn.gelu(a, approximate=False) * b
