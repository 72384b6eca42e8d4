"""LightNet attention: linear attention with an additive recurrence.

  q = silu(W_q x),  g = W_k x,  v = W_v x                       per head
  Delta_t = Delta_0 + sum_{s<=t} exp(g_s)                       per key channel
  o_t = sum_d q_t[d] (sum_{s<=t} exp(g_s[d]) v_s) / Delta_t[d]
  y_t = W_o RMSNorm(o_t * sigmoid(W_u2 W_u1 x_t))

Qin et al., "You Only Scan Once: Efficient Multi-dimension Sequential Modeling
with LightNet", arXiv:2405.21022. The keys are the logits of a softmax over
time, and the state is a running average. Without a time order, in an image, one
average over all positions serves every query: `apply(..., shape=(h, w))`.

Two public implementations of this layer differ in details; all of them are
options, see `Config`.
"""

import dataclasses
import math
from typing import Literal
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import _serialization
from jaxseq import recurrence
from jaxseq import validate
from jaxseq.mixers import contract
from jaxseq.mixers import positions
from jaxseq.mixers.averages import _lightnet
from jaxseq.mixers.averages import _tpe

single_scan = _lightnet.single_scan

TRAITS = contract.Traits(
  keeps="a matrix per head, divided by a running sum of exponentials",
  block=contract.TRANSFORMER_BLOCK,
  memory=("w",),
  norms=("u",),
  exponents=("m",),
)


@dataclasses.dataclass(frozen=True)
class Config(contract.Options):
  """Options of LightNet.

  The defaults are those of the paper's first author (Doraemonzzz/xmixers)
  except for the position embedding: that code's default, "rotary", is broken
  for vector decays, and "cosine" is the intended one. For the layer of
  fla-org/flash-linear-attention:

    Config(d, delta_0=0, gate="silu", gate_position="post", gate_rank=128,
           norm_eps=1e-6, norm_eps_on="mean", scale_q=True, lrpe="none")

  Attributes:
    heads: number of heads; divides d_model. If None, the largest divisor with a
      width of at least 128: 8 and 16 heads for 1024 and 2048, as in both
      implementations.
    d_key: key channels of a head; d_model / heads if None.
    gate_rank: rank of the gate's projection; d_model / heads if None.
    delta_0: 1: every sequence starts with an element of logit 0 without a
      value; 0: it starts empty, so that the first element has the weight 1.
    decay: "vector": the keys are logits, one for each channel. "scalar": one
      logit for each head from a separate projection, W_f, and keys are silu(W_k
      x).
    input_gate: with "scalar", weight a key by its share of Delta_t, as in
      "vector"; otherwise the key of element t enters with weight 1.
    gate: activation of the gate, "sigmoid" or "silu".
    gate_position: gate before ("pre") or after ("post") the norm.
    norm_eps: added in the norm.
    norm_eps_on: whether to add it to the "mean" or to the "sum" of the squares.
    scale_q: multiply q by d_key^-0.5.
    positions: source of positions: "lrpe" rotates q and keys, see `lrpe`; "tpe"
      replaces x by decaying sums of earlier elements, W_o RMSNorm(gain
      sum_{s<=t} decay^(t-s) x_s), with a decay for each head; "md_tpe" by the
      sum of such sums along the axes of an array, for elements that are its
      places row by row; "none" has no positions. (The paper's models have one
      such layer, after the embedding, and LRPE in all.)
    grid: sizes of the array's axes, with "md_tpe": (28, 28) for the pixels of
      an image. Elements after the last one start another array.
    lrpe: position embedding of q and keys, with "lrpe": "none", "cosine" (twice
      the key channels in the state) or "rotary". Rotating the two channels of a
      pair together is no longer a rotation of the key if they decay
      differently: for vector decays "rotary" rotates the query against the
      weighted key, which also doubles the channels. (The reference fails
      there.)
    lrpe_base: approximate inverse of the smallest frequency.
  """

  heads: int | None = None
  d_key: int | None = None
  gate_rank: int | None = None
  delta_0: Literal[0, 1] = 1
  decay: Literal["vector", "scalar"] = "vector"
  input_gate: bool = False
  gate: Literal["sigmoid", "silu"] = "sigmoid"
  gate_position: Literal["pre", "post"] = "pre"
  norm_eps: float = 1e-5
  norm_eps_on: Literal["mean", "sum"] = "sum"
  scale_q: bool = False
  positions: Literal["lrpe", "tpe", "md_tpe", "none"] = "lrpe"
  grid: tuple[int, ...] = ()
  lrpe: Literal["none", "cosine", "rotary"] = "cosine"
  lrpe_base: float = 10000.0

  def __post_init__(self):
    super().__post_init__()
    contract.divisor("heads", self.num_heads, d_model=self.d_model)
    if self.input_gate and self.decay == "vector":
      raise contract.error(
        "input_gate", True, "False: a vector decay has it always"
      )
    object.__setattr__(self, "grid", tuple(self.grid))
    for size in self.grid:
      validate.positive("grid", size)
    if (self.positions == "md_tpe") != bool(self.grid):
      expected = "sizes of axes with positions = 'md_tpe', () otherwise"
      raise contract.error("grid", self.grid, expected)
    if self.turning == "rotary" and self.key_width % 2:
      raise contract.error(
        "d_key", self.key_width, "an even number under lrpe = 'rotary'"
      )

  @property
  def num_heads(self) -> int:
    """H, the number of heads."""
    most = max(1, self.d_model // 128)
    return self.heads or contract.largest_divisor(self.d_model, most)

  @property
  def key_width(self) -> int:
    """Key channels of a head."""
    return self.d_key or self.d_model // self.num_heads

  @property
  def state_width(self) -> int:
    """Rows of a head's matrix state: key channels after position embedding."""
    turned = self.turning == "rotary" and self.decay == "vector"
    return self.key_width * (1 + (turned or self.turning == "cosine"))

  @property
  def turning(self) -> str:
    """Kind of LRPE on q and keys; "none" with other positions."""
    return self.lrpe if self.positions == "lrpe" else "none"

  @property
  def sums(self) -> bool:
    """True if sums of the elements before take the place of the inputs."""
    return self.positions in ("tpe", "md_tpe")

  @property
  def sink(self) -> float | None:
    """Logit of the first element of every fresh sequence; None without one."""
    return 0.0 if self.delta_0 else None


@_serialization.exported("jaxseq.mixers.lightnet.State")
class State(NamedTuple):
  """State of LightNet.

  Attributes:
    m: (*batch, H, n) largest logit; n is 1 for scalar decays, else the number
      of rows of w.
    u: (*batch, H, n) sum of exp(logit - m).
    w: (*batch, H, rows, d_model / H) matrix state: sum of exp(logit - m) k v^T;
      for scalar decays it is divided by u.
    position: (*batch,) number of elements since the last reset, in floating
      point, exact up to 2^24; None if q and keys are not rotated and there is
      no grid.
  """

  m: jax.Array
  u: jax.Array
  w: jax.Array
  position: jax.Array | None


@_serialization.exported("jaxseq.mixers.lightnet.TpeState")
class TpeState(NamedTuple):
  """State of LightNet with "tpe" or "md_tpe" positions.

  Attributes:
    average: state without positions.
    sums: (*batch, n, d_model) for each axis, the last n decaying sums: n is 1
      for "tpe", and the distance of neighbors along the axis for "md_tpe".
  """

  average: State
  sums: tuple[jax.Array, ...]


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters: LeCun-normal matrices, ones for the norm.

  (The first author's code starts with an output projection of zeros, and logits
  a hundredth as large.)

  Returns:
    A dict of float32 arrays, matrices input by output, d = d_model:
      W_q, W_k: (d, H * d_key); W_v, W_o: (d, d).
      W_u1: (d, gate_rank); W_u2: (gate_rank, d).
      norm: (d,).
      W_f: (d, H), only for scalar decays.
      tpe_q, tpe_k, tpe_norm: (axes, d), ones; tpe_decay: (axes, H), logits of
        decays, zeros; tpe_W_o: (axes, d, d), only for "tpe" (one axis) and
        "md_tpe".
  """
  d, heads = config.d_model, config.num_heads
  rank = config.gate_rank or d // heads
  shapes = {
    "W_q": (d, heads * config.key_width),
    "W_k": (d, heads * config.key_width),
    "W_v": (d, d),
    "W_u1": (d, rank),
    "W_u2": (rank, d),
    "W_o": (d, d),
  }
  if config.decay == "scalar":
    shapes["W_f"] = (d, heads)
  draw = contract.Draws(key, " ".join(shapes))
  params = {name: draw(name, *shape) for name, shape in shapes.items()}
  params |= {"norm": contract.ones(d)}
  if config.sums:
    # From a separate key: other parameters do not depend on the positions.
    params |= _tpe.init(jax.random.fold_in(key, len(shapes)), config)
  return params


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence."""
  heads, rows = config.num_heads, config.state_width
  width, n = config.d_model // heads, 1 if config.decay == "scalar" else rows
  average = recurrence.softmax_outer_initial(
    (*batch_shape, heads), n, width, dtype, sink=config.sink
  )
  w = jnp.zeros((*batch_shape, heads, rows, width), dtype)
  counts = config.turning != "none" or config.grid
  position = jnp.zeros(batch_shape, dtype) if counts else None
  state = State(average.m, average.u, w, position)
  if config.sums:
    return TpeState(state, _tpe.initial(config, batch_shape, dtype))
  return state


@contract.apply(Config, init, initial_state, fresh=False)
def apply(
  config,
  params,
  x,
  state=None,
  reset=None,
  *,
  axis=None,
  mask=None,
  shape=None,
  num_extra=0,
):
  """Runs over a sequence, or over an array of any number of axes.

  Options:
    mask: (*batch, time) bool; elements with False, such as padding, are left
      out of all averages.
    shape: sizes of the axes of an array whose elements have no time order: x is
      the extra elements and then the array row by row. Each sees all: keys are
      softmax(g) over the positions, with MD-LRPE if lrpe is "cosine", MD-TPE
      with "md_tpe", whose sums see earlier elements along each axis, and
      otherwise without positions; delta_0 has no effect. The returned state is
      None.
    num_extra: with `shape`, number of elements before the array that have no
      place in it: class or condition tokens.
  """
  contract.check_mask(mask, x)
  if shape is not None:
    if axis is not None:
      raise contract.error("axis", axis, "None with shape")
    past = {"state": state, "reset": reset}
    return _run_array(config, params, x, past, mask, tuple(shape), num_extra)
  if num_extra:
    raise contract.error("num_extra", num_extra, "0 without shape")
  dtype = contract.wide_dtype(x, state)
  if state is None:
    state = initial_state(config, x.shape[:-2], dtype)
    if axis is None:
      state = contract.varying_as(x, state)
  state = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), state)
  sums = None
  if config.sums:
    state, sums = state
  m, u, w, position = state
  place = None
  if position is not None:
    place, position = positions.since_reset(position, reset, x.shape[-2], axis)
  if sums is not None:
    past = sums, config.grid, place, position, reset, axis
    x, sums = _tpe.run(config, params, _valid(x, mask), *past)
  if place is not None:
    place = place[..., None]
  average = recurrence.SoftmaxState(m, u, w)
  x = x.astype(contract.product_dtype(x, state))
  run = _lightnet.scalar if config.decay == "scalar" else _lightnet.vector
  o, average = run(config, params, x, average, reset, mask, place, axis)
  y = _lightnet.output(config, params, o.reshape(x.shape), x)
  state = State(*average, position)
  return y, state if sums is None else TpeState(state, sums)


@contract.step(Config, init, initial_state)
def step(config, params, x, state, reset=None, *, mask=None):
  """Consumes one element; `apply` without the time axis.

  Options:
    mask: (*batch,) bool or None.
  """
  contract.check_mask(mask, x)
  return contract.one_element(apply, config, params, x, state, reset, mask=mask)


def _run_array(config, params, x, past, mask, shape, num_extra):
  """Runs `apply` without time order."""
  positions.check_grid("x", x.shape[-2], shape, num_extra)
  for name, value in past.items():
    if value is not None:
      raise contract.error(
        name, type(value).__name__, "None with shape: there is no time"
      )
  if config.decay != "vector":
    raise contract.error("decay", config.decay, "'vector' with shape")
  if config.turning not in ("none", "cosine"):
    raise contract.error("lrpe", config.lrpe, "'none' or 'cosine' with shape")
  if config.sums:
    if not config.grid:
      expected = "'lrpe', 'md_tpe' or 'none' with shape"
      raise contract.error("positions", config.positions, expected)
    if len(shape) != len(config.grid):
      expected = f"{len(config.grid)} axes, as those of grid"
      raise contract.error("shape", shape, expected)
    sums = [
      jnp.zeros((*x.shape[:-2], n, x.shape[-1])) for n in _tpe.strides(shape)
    ]
    # Each extra element is a separate array.
    place = jnp.pad(jnp.arange(math.prod(shape)), (num_extra, 0))
    past = tuple(sums), shape, place, None, None
    x, _ = _tpe.run(config, params, _valid(x, mask), *past)
  o = _lightnet.array(config, params, x, mask, shape, num_extra)
  y = _lightnet.output(config, params, o.reshape(x.shape), x)
  return y, None


def _valid(x, mask):
  """Replaces masked elements by zeros."""
  return x if mask is None else jnp.where(mask[..., None], x, 0)
