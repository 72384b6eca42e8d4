"""Gated DeltaNet: multi-head linear attention with a gated delta rule.

  q, k, v = silu(conv(W x))            causal, depthwise; q and k of length 1
  D_t = alpha_t S_{t-1}                per head
  S_t = D_t + beta_t k_t (v_t - D_t^T k_t)^T
  y_t = W_o (norm(S_t^T q_t / sqrt(d_key)) * gate(x_t))

Yang, Kautz and Hatamizadeh, "Gated Delta Networks", arXiv:2412.06464, in the
form of flash-linear-attention's layer. The options have the others of the
family:

  DeltaNet (Yang et al., arXiv:2406.06484): no decay and no gate.
    Config(d, decay="none", gate="none")

  Kimi Delta Attention (arXiv:2510.26692): a decay per channel of the keys, and
  a gate by sigmoid, both by low-rank projections.
    Config(d, decay="channel", decay_rank=r, gate="sigmoid", gate_rank=r)

  DeltaProduct (arXiv:2502.10297): several writes for each element.
    Config(d, writes=2)

  Eigenvalues down to -1 (arXiv:2411.12537), for state tracking: beta in (0, 2).
    Config(d, negative_eigenvalues=True)

With rates="channel" erasing has a rate for each channel of the keys, and
writing one for each of the values, as in Gated DeltaNet-2.
"""

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers import head_parts
from jaxseq.mixers import passes
from jaxseq.mixers.matrix_states import _outer
from jaxseq.mixers.state_space import discretize

# Added to the sum of squares of queries and keys.
_LENGTH_EPS = 1e-6

TRAITS = contract.Traits(
  keeps="a matrix per head, with a decay, whose values are replaced; 3 inputs "
  "of a convolution",
  # Parameters without weight decay in the papers' code.
  ssm_parameters=("A_log", "dt_bias"),
  block=contract.TRANSFORMER_BLOCK,
  memory=("S",),
)


@dataclasses.dataclass(frozen=True)
class Config(_outer.HeadWidths, discretize.FlooredSteps):
  """Options of Gated DeltaNet.

  Attributes:
    key_heads: number of heads of queries and keys, each for heads / key_heads
      neighboring heads; `heads` if None.
    d_key: width of a head's queries and keys; d_model / heads, rounded up, if
      None. The paper has 0.75 times that.
    d_value: width of a head's values; d_key's default if None. The paper has
      1.5 times that.
    d_conv: width of the convolution, including the present element; 1 for none.
    decay: alpha, "none" (1), "head" (exp(-exp(A_log) softplus(W_a x +
      dt_bias))) or "channel" (the same for every channel of the keys).
    decay_rank: rank of the "channel" decay's projection; full if None.
    decay_bound: lower bound of log alpha, which is then decay_bound
      sigmoid(exp(A_log) (W_a x + dt_bias)); None for no bound.
    rates: whether beta is one number per "head", or one per "channel", with
      separate rates for erasing and writing.
    negative_eigenvalues: whether beta for erasing is in (0, 2) instead of (0,
      1).
    writes: number of keys and values that an element writes, one after the
      other; the state decays before the first, and is read after the last.
    gate: factor on the heads' outputs, "none" (1), "silu" or
      "sigmoid" (of W_g x).
    gate_rank: rank of the gate's projection; full if None.
    gate_bias: whether a projection of that rank has a bias.
    eps: added to the mean square in the norm of a head's output.
  """

  key_heads: int | None = None
  d_conv: int = 4
  decay: Literal["none", "head", "channel"] = "head"
  decay_rank: int | None = None
  decay_bound: contract.Number | None = None
  rates: Literal["head", "channel"] = "head"
  negative_eigenvalues: bool = False
  writes: int = 1
  gate: Literal["none", "silu", "sigmoid"] = "silu"
  gate_rank: int | None = None
  gate_bias: bool = True
  eps: float = 1e-5

  def __post_init__(self):
    super().__post_init__()
    contract.divisor("key_heads", self.groups, heads=self.heads)
    if self.decay_bound is not None and not self.decay_bound < 0:
      expected = "a number below 0, or None"
      raise contract.error("decay_bound", self.decay_bound, expected)

  @property
  def groups(self) -> int:
    """Number of heads of queries and keys."""
    return self.key_heads or self.heads

  @property
  def channels(self) -> tuple[int, int, int]:
    """Channels of queries, keys and values, the inputs of the convolution."""
    keys = self.groups * self.key_width
    return keys, keys * self.writes, self.values * self.writes

  @property
  def values(self) -> int:
    """Channels of all heads' outputs."""
    return self.heads * self.value_width


State = _outer.ConvState


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters.

  Returns:
    A dict of float32 arrays, LeCun-normal matrices unless noted:
      W_qkv: (d_model, sum of channels), to queries, keys and values side by
        side; keys and values with their writes before their heads.
      conv_weight: (d_conv, sum of channels), the last row for the present
        element, if d_conv > 1.
      W_b: (d_model, writes * heads), or (d_model, writes * key_heads * d_key)
        with rates "channel".
      W_w: (d_model, writes * heads * d_value), with rates "channel".
      W_a: (d_model, heads), under a "head" decay; to heads * d_key under a
        "channel" decay, or (d_model, decay_rank) and W_a2 after it.
      A_log: (heads,), logarithms of numbers from 0.01 to 16, or zeros with a
        decay_bound.
      dt_bias: as many as decays, inverse softplus of the initial step sizes.
      W_g: (d_model, heads * d_value), or (d_model, gate_rank), W_g2 and, with a
        gate_bias, W_g2_bias after it, if there is a gate.
      norm_scale: (d_value,), ones.
      W_o: (heads * d_value, d_model).
  """
  draw = contract.Draws(key, "qkv conv b w a a2 A dt g g2 o")
  width, inner = config.d_model, sum(config.channels)
  rates = config.writes * config.heads
  if config.rates == "channel":
    rates = config.writes * config.groups * config.key_width

  def projection(name, columns, rank):
    if rank is None:
      return {f"W_{name}": draw(name, width, columns)}
    low = {f"W_{name}": draw(name, width, rank)}
    return low | {f"W_{name}2": draw(f"{name}2", rank, columns)}

  params = {
    "W_qkv": draw("qkv", width, inner),
    "W_b": draw("b", width, rates),
    "norm_scale": contract.ones(config.value_width),
    "W_o": draw("o", config.values, width),
    **draw.conv(config.d_conv, inner),
  }
  if config.rates == "channel":
    params["W_w"] = draw("w", width, config.writes * config.values)
  if config.decay != "none":
    by_channel = config.decay == "channel"
    decays = config.heads * (config.key_width if by_channel else 1)
    params |= projection("a", decays, config.decay_rank if by_channel else None)
    params |= _outer.rates(draw, config.heads, decays, config)
    if config.decay_bound is not None:
      params["A_log"] = contract.zeros(config.heads)
  if config.gate != "none":
    params |= projection("g", config.values, config.gate_rank)
    if config.gate_rank is not None and config.gate_bias:
      params["W_g2_bias"] = contract.zeros(config.values)
  return params


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence: zeros."""
  return _outer.fresh(config, config.heads, batch_shape, dtype)


def _run(over, config, params, x, state, reset):
  """Runs over a sequence; a reset empties the convolution's window too."""
  qkv, window = recurrence.dense(x, params["W_qkv"]), state.conv
  if config.d_conv > 1:
    qkv, window = passes.convolved(over, params, qkv, window, reset)
  else:
    qkv = contract.pointwise(jax.nn.silu, qkv)
  q, k, v = _split(config, qkv)
  erase, write = _rates(config, params, x)
  read = contract.pointwise(jnp.multiply, k, erase)
  v = contract.pointwise(jnp.multiply, v, write)
  decay = _log_decay(config, params, x)
  o, S = _scan(over, q, k, v, read, decay, state.S, reset)
  o = head_parts.normed(o, params["norm_scale"], config.eps)
  o = o.reshape(*x.shape[:-1], config.values)
  if config.gate != "none":
    gate = getattr(jax.nn, config.gate)
    projected = _projected(params, "g", x)
    o = contract.pointwise(lambda o, x: o * gate(x), o, projected)
  return recurrence.dense(o, params["W_o"]), State(window, S)


def _projected(params, name, x, bias=None, wide=False):
  """Returns W x, or W2 (W x) if the projection has a low rank."""
  if f"W_{name}2" in params:
    x = recurrence.dense(x, params[f"W_{name}"])
    name = f"{name}2"
  bias = params.get(f"W_{name}_bias", bias)
  return recurrence.dense(x, params[f"W_{name}"], bias, wide=wide)


def _split(config, qkv):
  """Queries (..., heads, d_key); keys, values (..., writes, heads, width)."""
  queries, keys, _ = config.channels
  q, k, v = jnp.split(qkv, (queries, queries + keys), axis=-1)
  lead, writes = qkv.shape[:-1], config.writes
  q = q.reshape(*lead, config.groups, config.key_width)
  k = k.reshape(*lead, writes, config.groups, config.key_width)
  v = v.reshape(*lead, writes, config.heads, config.value_width)

  unit = functools.partial(head_parts.unit, eps=_LENGTH_EPS)
  scaled = functools.partial(unit, scale=config.key_width**-0.5)
  q = contract.pointwise(scaled, q)
  k, shared = contract.pointwise(unit, k), config.heads // config.groups
  return jnp.repeat(q, shared, axis=-2), jnp.repeat(k, shared, axis=-2), v


def _rates(config, params, x):
  """Rates of erasing and writing, (..., writes, heads, width | 1)."""
  lead = *x.shape[:-1], config.writes
  largest = 2.0 if config.negative_eigenvalues else 1.0
  b = jax.nn.sigmoid(recurrence.dense(x, params["W_b"], wide=True))
  if config.rates == "head":
    b = b.reshape(*lead, config.heads, 1)
    return largest * b, largest * b
  b = b.reshape(*lead, config.groups, config.key_width)
  w = jax.nn.sigmoid(recurrence.dense(x, params["W_w"], wide=True))
  w = w.reshape(*lead, config.heads, config.value_width)
  b = jnp.repeat(b, config.heads // config.groups, axis=-2)
  return largest * b, w


def _log_decay(config, params, x):
  """Logarithms (..., heads, d_key | 1) of alpha, at least float32, or None."""
  if config.decay == "none":
    return None
  bias = params["dt_bias"]
  logits = _projected(params, "a", x, bias, wide=True)
  logits = logits.reshape(*x.shape[:-1], config.heads, -1)
  rate = jnp.exp(params["A_log"])[:, None]
  if config.decay_bound is not None:
    return config.decay_bound * jax.nn.sigmoid(rate * logits)
  return -rate * jax.nn.softplus(logits)


def _scan(over, q, k, v, read, decay, state, reset):
  """Runs the recurrence of arrays with time before writes and heads."""
  writes = k.shape[-3]

  def as_writes(x, place):
    """(..., time, heads, n) with zeros at the other writes of an element."""
    if writes == 1 or x is None:
      return x
    x, rest = x[..., None, :, :], [(0, 0)] * (x.ndim + 1)
    rest[-3] = place, writes - 1 - place
    return flat(jnp.pad(x, rest))

  def flat(x):
    """(..., time, writes, heads, n) as a longer sequence."""
    if writes == 1:
      return x[..., 0, :, :]
    return x.reshape(*x.shape[:-4], -1, *x.shape[-2:])

  q, decay = as_writes(q, writes - 1), as_writes(decay, 0)
  if reset is not None and writes > 1:
    flags = jnp.zeros((*reset.shape, writes), bool)
    reset = flags.at[..., 0].set(reset).reshape(*reset.shape[:-1], -1)
  elements = q, flat(k), flat(v), flat(read), decay, state
  o, state = over(recurrence.delta_scan_heads, *elements, reset=reset)
  return (o if writes == 1 else o[..., writes - 1 :: writes, :, :]), state


apply, _step = passes.make(Config, init, initial_state, _run, sections=True)
tree, commit = passes.trees(
  Config, _run, lambda config: config.writes == 1 and config.decay != "channel"
)


@contract.step(Config, init, initial_state)
def step(config, params, x, state, reset=None):
  """Consumes one element; `apply` without the time axis."""
  if config.writes > 1:
    return contract.one_element(apply, config, params, x, state, reset)
  return _step(config, params, x, state, reset)
