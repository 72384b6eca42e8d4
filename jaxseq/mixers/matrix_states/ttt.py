"""TTT: the state is a network that is trained on the sequence.

Each head has a network f of one layer (TTT-Linear) or two (TTT-MLP), which
learns LN(f(k_s)) = v_s - k_s by gradient descent over mini-batches, and outputs
o_t = q_t + LN(f_t(q_t)), f_t after the elements up to t. Sun et al., "Learning
to (learn at test time): RNNs with expressive hidden states", arXiv:2407.04620,
in the form of the authors' JAX code.

The mini-batch size is an option of the model: gradients of its elements are
computed at the same weights. Mini-batches are counted from the first element of
an episode. The fresh network is learned; the state has the changes of weights.
"""

import dataclasses
import itertools
from typing import Literal
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import _serialization
from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers import head_parts
from jaxseq.mixers import passes
from jaxseq.mixers.keys_and_values import _heads
from jaxseq.mixers.matrix_states import _ttt

TRAITS = contract.Traits(
  keeps="a network per head, which learns; sums of its gradients; 3 inputs of "
  "a convolution",
  block=contract.TRANSFORMER_BLOCK,
  splits_time=False,
)

_BASE_RATES = {"linear": 1.0, "mlp": 0.1}


@dataclasses.dataclass(frozen=True)
class Config(contract.Options):
  """Options of TTT.

  Attributes:
    heads: number of heads.
    d_head: width of a head, even; d_model / heads, rounded up to an even
      number, if None.
    network: "linear", one layer, or "mlp", two with 4 d_head numbers between.
    mini_batch: elements of a step of gradient descent.
    base_rate: learning rate that scales all others; 1 for "linear" and 0.1 for
      "mlp" if None.
    d_conv: width of the convolutions of queries and keys, which share one
      projection, including the present element; 1 for separate projections.
    gate: whether outputs are multiplied by gelu(W_g x).
  """

  heads: int = 4
  d_head: int | None = None
  network: Literal["linear", "mlp"] = "linear"
  mini_batch: int = 16
  base_rate: float | None = None
  d_conv: int = 4
  gate: bool = True

  def __post_init__(self):
    super().__post_init__()
    if self.head_width % 2:
      raise contract.error("d_head", self.head_width, "an even number")

  @property
  def head_width(self) -> int:
    """Width of a head."""
    return _heads.width(self)

  @property
  def rate(self) -> float:
    """Learning rate that all others are factors of."""
    return self.base_rate or _BASE_RATES[self.network]


@_serialization.exported("jaxseq.mixers.ttt.State")
class State(NamedTuple):
  """State of TTT.

  Attributes:
    conv: (*batch, d_conv - 1, heads d_head), the last inputs of the
      convolutions, oldest first; or None.
    W: weights of the layers at the start of the mini-batch, minus those of the
      fresh network, (*batch, heads, inputs, outputs) each.
    b: biases, (*batch, heads, outputs).
    W_sum: sums of the gradients of W in this mini-batch, times rates.
    b_sum: the same sums for b.
    place: (*batch, 1), number of elements of the mini-batch so far.
  """

  conv: jax.Array | None
  W: tuple[jax.Array, ...]
  b: tuple[jax.Array, ...]
  W_sum: tuple[jax.Array, ...]
  b_sum: tuple[jax.Array, ...]
  place: jax.Array


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters: normal weights of size 0.02, as in the original.

  Returns:
    A dict of float32 arrays, n = heads d_head:
      W_q, W_v: (d_model, n); W_k likewise, with a d_conv of 1.
      conv_q, conv_k: (d_conv, n), the last row for the present element, and
        conv_q_bias, conv_k_bias: (n,), with convolutions.
      W_0, b_0: (heads, d_head, outputs) and (heads, outputs), the fresh
        network; with two layers W_1 and b_1 after it.
      norm_scale, norm_bias: (heads, d_head), of the norm after the network.
      W_rate, b_rate: (d_model, heads) and (heads,), of the rates of elements.
      place_rate: (mini_batch,), added to rates 1 / (i + 1) by place.
      out_scale, out_bias: (n,), of the norm of all heads.
      W_g: (d_model, n), with a gate.
      W_o: (n, d_model).
  """
  width, heads, head = config.d_model, config.heads, config.head_width
  inner, taps = heads * head, config.d_conv
  hidden = head if config.network == "linear" else 4 * head
  shapes = {
    "W_q": (width, inner),
    "W_v": (width, inner),
    "W_o": (inner, width),
    "W_rate": (width, heads),
    "W_0": (heads, head, hidden),
  }
  if config.network == "mlp":
    shapes["W_1"] = heads, hidden, head
  if config.gate:
    shapes["W_g"] = width, inner
  if taps == 1:
    shapes["W_k"] = width, inner
  draw = contract.Draws(key, " ".join([*shapes, "conv_q", "conv_k"]))

  def normal(name):
    return 0.02 * jax.random.normal(draw.keys[name], shapes[name], jnp.float32)

  params = {name: normal(name) for name in shapes} | {
    "b_0": contract.zeros(heads, hidden),
    "norm_scale": contract.ones(heads, head),
    "norm_bias": contract.zeros(heads, head),
    "b_rate": contract.zeros(heads),
    "place_rate": contract.zeros(config.mini_batch),
    "out_scale": contract.ones(inner),
    "out_bias": contract.zeros(inner),
  }
  if config.network == "mlp":
    params["b_1"] = contract.zeros(heads, head)
  if taps > 1:
    for name in ("conv_q", "conv_k"):
      shape = taps, inner
      params[name] = contract.uniform(draw.keys[name], shape, taps)
      params[f"{name}_bias"] = contract.zeros(inner)
  return params


def _layers(config, params):
  count = 1 if config.network == "linear" else 2
  return tuple(
    _ttt.Layer(params[f"W_{i}"], params[f"b_{i}"]) for i in range(count)
  )


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence, whose network has not moved."""
  batch, head = tuple(batch_shape), config.head_width
  widths = (
    [head, head] if config.network == "linear" else [head, 4 * head, head]
  )

  def zeros(*shape):
    return jnp.zeros((*batch, config.heads, *shape), dtype)

  layers = tuple(
    _ttt.Layer(zeros(n, m), zeros(m)) for n, m in itertools.pairwise(widths)
  )
  sums = jax.tree.map(jnp.zeros_like, layers)
  carried = _ttt.Carried(layers, sums, jnp.zeros((*batch, 1), dtype))
  if config.d_conv == 1:
    return _state(None, carried)
  inner = config.heads * config.head_width
  conv = jnp.zeros((*batch, config.d_conv - 1, inner), dtype)
  return _state(conv, carried)


def _state(conv, carried):
  """Returns the state of the mixer from the state between chunks."""
  (W, b), (W_sum, b_sum) = (zip(*x) for x in carried[:2])
  return State(conv, W, b, W_sum, b_sum, carried.place)


def _carried(state):
  """Returns the state between chunks."""
  layers = tuple(map(_ttt.Layer, state.W, state.b))
  sums = tuple(map(_ttt.Layer, state.W_sum, state.b_sum))
  return _ttt.Carried(layers, sums, state.place)


@contract.apply(Config, init, initial_state)
def apply(config, params, x, state=None, reset=None):
  """Runs over a sequence; a reset puts the learned network back."""
  dtype = contract.wide_dtype(x)
  params = contract.cast(params, dtype)
  q, k, conv = _queries_and_keys(config, params, x, state.conv, reset)
  v = recurrence.dense(x, params["W_v"]).astype(dtype)
  q, k, v = (head_parts.split(part, config.heads) for part in (q, k, v))
  rate = recurrence.dense(x, params["W_rate"], params["b_rate"], wide=True)
  place = 1 / jnp.arange(1, config.mini_batch + 1, dtype=dtype)
  rates = config.rate / config.head_width
  rates = rates * jnp.maximum(0, place + params["place_rate"])
  norm = params["norm_scale"], params["norm_bias"]
  o, carried = recurrence.chunked(
    _ttt.chunk,
    jax.tree.map(lambda leaf: leaf.astype(dtype), _carried(state)),
    (q, k, v, jax.nn.sigmoid(rate)),
    reset,
    size=config.mini_batch,
    weights=_ttt.Shared(_layers(config, params), *norm, rates),
  )
  o = o.reshape(*x.shape[:-1], -1)

  def finish(o, scale, bias, gate=None):
    o = scale * head_parts.standardized(o, _ttt.EPS) + bias
    return o if gate is None else o * jax.nn.gelu(gate)

  gate = (recurrence.dense(x, params["W_g"]),) if config.gate else ()
  factors = params["out_scale"], params["out_bias"]
  o = contract.pointwise(finish, o.astype(x.dtype), *factors, *gate)
  return recurrence.dense(o, params["W_o"]), _state(conv, carried)


def _queries_and_keys(config, params, x, window, reset):
  """Queries, keys and the last inputs of their convolutions."""
  q, dtype = recurrence.dense(x, params["W_q"]), contract.wide_dtype(x)
  if config.d_conv == 1:
    k = recurrence.dense(x, params["W_k"])
    return q.astype(dtype), k.astype(dtype), window
  parts = []
  for name in ("conv_q", "conv_k"):
    weight, bias = params[name], params[f"{name}_bias"]
    y, last = recurrence.causal_conv(q, weight, bias, window, reset)
    parts.append(y.astype(dtype))
  return *parts, last


step = passes.step_by(Config, init, initial_state, apply)
