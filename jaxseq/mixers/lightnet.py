"""LightNet attention: linear attention with an additive recurrence.

  q = silu(W_q x),  g = W_k x,  v = W_v x                       per head
  Delta_t = Delta_0 + sum_{s<=t} exp(g_s)                       per key channel
  o_t = sum_d q_t[d] (sum_{s<=t} exp(g_s[d]) v_s) / Delta_t[d]
  y_t = W_o RMSNorm(o_t * sigmoid(W_u2 W_u1 x_t))

Qin et al., "You Only Scan Once: Efficient Multi-dimension Sequential Modeling
with LightNet", arXiv:2405.21022. The keys are the logits of a softmax over
time, and the state is a running average. Where there is no time order, in an
image, one average over all positions serves every query: `apply(..., shape=(h,
w))`.

Two public codes of this layer differ in details; all of them are options, see
`Config`.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq.mixers import _check
from jaxseq.mixers import _lightnet
from jaxseq.mixers import _places
from jaxseq.mixers import positions

Params = dict[str, jax.Array]
single_scan = _lightnet.single_scan

DECAYS = ("vector", "scalar")
GATES = ("sigmoid", "silu")
GATE_POSITIONS = ("pre", "post")
LRPES = ("none", "cosine", "cosine_half", "rotary")
NORM_EPS_ON = ("mean", "sum")


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of LightNet.

  The defaults are those of the paper's first author (Doraemonzzz/xmixers) but
  for the position embedding, where that code's own default, "rotary", is broken
  for vector decays, and "cosine" is the one that it means. For the layer of
  fla-org/flash-linear-attention:

    Config(d, delta_0=0, gate="silu", gate_position="post", gate_rank=128,
           norm_eps=1e-6, norm_eps_on="mean", scale_q=True, lrpe="none")

  Attributes:
    d_model: width of inputs and outputs.
    heads: number of heads; divides d_model. The largest divisor that leaves
      them at least 128 wide if None: 1024 and 2048 get the 8 and 16 of the two
      codes.
    d_key: key channels of a head; d_model / heads if None.
    gate_rank: rank of the gate's projection; d_model / heads if None.
    delta_0: 1: every sequence starts with an element of logit 0 and no value;
      0: with nothing, so that the first element has the weight 1.
    decay: "vector": the keys are logits, one for each channel. "scalar": one
      logit for each head from a projection of its own, W_f, and keys are
      silu(W_k x).
    input_gate: with "scalar", weigh a key by its share of Delta_t, as "vector"
      does; otherwise the key of element t enters with weight 1.
    gate: activation of the gate, "sigmoid" or "silu".
    gate_position: gate before ("pre") or after ("post") the norm.
    norm_eps: added in the norm.
    norm_eps_on: to the "mean" or to the "sum" of the squares.
    scale_q: multiply q by d_key^-0.5.
    lrpe: position embedding of q and keys: "none", "cosine" (twice the key
      channels in the state), "cosine_half" (the second half of the channels
      does not turn) or "rotary". Rotating the two channels of a pair together
      is no longer a rotation of the key once they decay differently: for vector
      decays "rotary" rotates the query against the weighted key, which takes
      twice the channels too. (The reference fails there.)
    lrpe_base: inverse of the smallest frequency, about.
  """

  d_model: int
  heads: int | None = None
  d_key: int | None = None
  gate_rank: int | None = None
  delta_0: int = 1
  decay: str = "vector"
  input_gate: bool = False
  gate: str = "sigmoid"
  gate_position: str = "pre"
  norm_eps: float = 1e-5
  norm_eps_on: str = "sum"
  scale_q: bool = False
  lrpe: str = "cosine"
  lrpe_base: float = 10000.0

  def __post_init__(self):
    _check.check_positive(self, "d_model")
    for name in ("heads", "d_key", "gate_rank"):
      if getattr(self, name) is not None:
        _check.check_positive(self, name)
    if self.d_model % self.num_heads:
      raise ValueError(
        f"heads must divide d_model = {self.d_model}; got {self.heads}."
      )
    choices = {
      "delta_0": (0, 1),
      "decay": DECAYS,
      "gate": GATES,
      "gate_position": GATE_POSITIONS,
      "norm_eps_on": NORM_EPS_ON,
      "lrpe": LRPES,
    }
    for name, values in choices.items():
      if getattr(self, name) not in values:
        raise ValueError(
          f"{name} must be one of {values}; got {getattr(self, name)!r}."
        )
    for name in ("norm_eps", "lrpe_base"):
      if not getattr(self, name) > 0:
        raise ValueError(f"{name} must be positive; got {getattr(self, name)}.")
    if self.input_gate and self.decay == "vector":
      raise ValueError(
        'input_gate is an option of decay="scalar"; a vector decay has it '
        "always."
      )
    if self.lrpe == "rotary" and self.key_width % 2:
      raise ValueError(
        'lrpe="rotary" needs an even number of key channels; got d_key = '
        f"{self.key_width}."
      )

  @property
  def num_heads(self) -> int:
    """H, the number of heads."""
    if self.heads is not None:
      return self.heads
    most = max(1, self.d_model // 128)
    return next(h for h in range(most, 0, -1) if self.d_model % h == 0)

  @property
  def key_width(self) -> int:
    """Key channels of a head."""
    return self.d_key or self.d_model // self.num_heads

  @property
  def state_width(self) -> int:
    """Rows of a head's matrix state: key channels after position embedding."""
    doubled = ("cosine", "cosine_half") + (
      ("rotary",) if self.decay == "vector" else ()
    )
    return self.key_width * (2 if self.lrpe in doubled else 1)

  @property
  def sink(self) -> float | None:
    """Logit of what every fresh sequence starts with; None for nothing."""
    return 0.0 if self.delta_0 else None


class State(NamedTuple):
  """State of LightNet.

  Attributes:
    m: (*batch, H, n) largest logit; n is 1 for scalar decays, and the rows of w
      otherwise.
    u: (*batch, H, n) sum of exp(logit - m).
    w: (*batch, H, rows, d_model / H) matrix state: sum of exp(logit - m) k v^T;
      for scalar decays it is divided by u.
    position: (*batch,) number of elements since the last reset, as a floating-
      point number, exact up to 2^24; None if lrpe is "none".
  """

  m: jax.Array
  u: jax.Array
  w: jax.Array
  position: jax.Array | None


def init(key: jax.Array, config: Config) -> Params:
  """Draws the parameters: LeCun-normal matrices, ones for the norm.

  (The first author's code starts with an output projection of zeros, and logits
  a hundredth as large.)

  Args:
    key: random key.
    config: options.

  Returns:
    A dict of float32 arrays, matrices input by output, d = d_model:
      W_q, W_k: (d, H * d_key); W_v, W_o: (d, d).
      W_u1: (d, gate_rank); W_u2: (gate_rank, d).
      norm: (d,).
      W_f: (d, H), only for scalar decays.
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
  lecun = jax.nn.initializers.lecun_normal()
  keys = jax.random.split(key, len(shapes))
  params = {
    name: lecun(one, shape, jnp.float32)
    for one, (name, shape) in zip(keys, shapes.items())
  }
  params["norm"] = jnp.ones((d,), jnp.float32)
  return params


def initial_state(
  config: Config, batch_shape: tuple[int, ...] = (), dtype=jnp.float32
) -> State:
  """Returns the state of a fresh sequence.

  Args:
    config: options.
    batch_shape: leading axes.
    dtype: dtype of the state; float32 if it is narrower.

  Returns:
    The state.

  Raises:
    ValueError: if batch_shape or dtype is not of that kind.
  """
  dtype = _check.state_dtype(batch_shape, dtype)
  heads, rows = config.num_heads, config.state_width
  average = recurrence.softmax_outer_initial(
    (*batch_shape, heads),
    1 if config.decay == "scalar" else rows,
    config.d_model // heads,
    dtype,
    sink=config.sink,
  )
  w = jnp.zeros((*batch_shape, heads, rows, config.d_model // heads), dtype)
  position = None
  if config.lrpe != "none":
    position = jnp.zeros(batch_shape, dtype)
  return State(average.m, average.u, w, position)


def apply(
  config: Config,
  params: Params,
  x: jax.Array,
  state: State | None = None,
  reset: jax.Array | None = None,
  *,
  axis: str | None = None,
  mask: jax.Array | None = None,
  shape: tuple[int, ...] | None = None,
  num_extra: int = 0,
) -> tuple[jax.Array, State | None]:
  """Runs over a sequence, or over an array of any number of axes.

  Args:
    config: options.
    params: from `init`.
    x: (*batch, time, d_model). With `shape`, time is the extra elements and
      then the array row by row.
    state: state before the first element; fresh if None.
    reset: (*batch, time) bool; where true the state is that of a fresh
      sequence before the element is consumed.
    mask: (*batch, time) bool; elements where it is false, padding say, are left
      out of all averages.
    shape: sizes of the axes of an array whose elements have no time order. Each
      sees all: keys are softmax(g) over the positions, with MD-LRPE where lrpe
      is "cosine" and without positions where it is "none"; delta_0 plays no
      part.
    num_extra: with `shape`, number of elements that stand before the array and
      have no place in it: class or condition tokens.
    axis: name of a mesh axis over which time is split, inside `jax.shard_map`
      only; see `registry`.

  Returns:
    y of x's shape and dtype, and the state after the last element, which is
    None with `shape`.

  Raises:
    ValueError: if an argument does not fit the above.
  """
  if shape is not None:
    if axis is not None:
      raise ValueError(f"axis must be None with shape; got {axis!r}.")
    return _run_array(
      config, params, x, state, reset, mask, tuple(shape), num_extra
    )
  if num_extra:
    raise ValueError(f"num_extra needs shape; got num_extra = {num_extra}.")
  return _run(config, params, x, state, reset, mask, axis)


def step(
  config: Config,
  params: Params,
  x: jax.Array,
  state: State,
  reset: jax.Array | None = None,
  *,
  mask: jax.Array | None = None,
) -> tuple[jax.Array, State]:
  """Consumes one element; `apply` without the time axis.

  Args:
    config: options.
    params: from `init`.
    x: (*batch, d_model).
    state: state before the element.
    reset: (*batch,) bool or None.
    mask: (*batch,) bool or None.

  Returns:
    y of x's shape and dtype, and the state after the element.

  Raises:
    ValueError: if an argument does not fit the above.
  """
  _check.check_params(Config, init, config, params)
  x = jnp.asarray(x)
  _check.check_inputs(
    config.d_model,
    x,
    state,
    lambda shape: initial_state(config, shape),
    reset,
    step=True,
  )
  _check.check_mask(mask, x)
  reset, mask = (
    None if flag is None else flag[..., None] for flag in (reset, mask)
  )
  y, state = _run(config, params, x[..., None, :], state, reset, mask)
  return y[..., 0, :], state


def _run(config, params, x, state, reset, mask, axis=None):
  _check.check_params(Config, init, config, params)
  x = jnp.asarray(x)
  batch = _check.check_inputs(
    config.d_model,
    x,
    state,
    lambda shape: initial_state(config, shape),
    reset,
  )
  _check.check_mask(mask, x)
  state = jax.tree.map(jnp.asarray, state)
  dtype = jnp.result_type(x, jnp.float32, *jax.tree.leaves(state))
  if state is None:
    state = initial_state(config, batch, dtype)
  m, u, w, position = jax.tree.map(lambda leaf: leaf.astype(dtype), state)
  place = None
  if position is not None:
    place, position = _places.since_reset(position, reset, x.shape[-2], axis)
    place = place[..., None]
  run = _lightnet.scalar if config.decay == "scalar" else _lightnet.vector
  wide = x.astype(dtype)
  o, average = run(
    config,
    params,
    wide,
    recurrence.SoftmaxState(m, u, w),
    reset,
    mask,
    place,
    axis,
  )
  y = _lightnet.output(config, params, o.reshape(x.shape), wide)
  return y.astype(x.dtype), State(*average, position)


def _run_array(config, params, x, state, reset, mask, shape, num_extra):
  """`apply` without time order."""
  _check.check_params(Config, init, config, params)
  x = jnp.asarray(x)
  _check.check_inputs(config.d_model, x, None, lambda _: None, None)
  _check.check_mask(mask, x)
  positions.check_grid("x", x.shape[-2], shape, num_extra)
  if state is not None or reset is not None:
    raise ValueError(
      "with shape there is no time: state and reset must be None."
    )
  if config.decay != "vector" or config.lrpe not in ("none", "cosine"):
    raise ValueError(
      'shape needs decay="vector" and lrpe "none" or "cosine"; got decay = '
      f"{config.decay!r} and lrpe = {config.lrpe!r}."
    )
  wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  o = _lightnet.array(config, params, wide, mask, shape, num_extra)
  y = _lightnet.output(config, params, o.reshape(x.shape), wide)
  return y.astype(x.dtype), None
