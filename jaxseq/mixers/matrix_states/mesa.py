"""MesaNet: the best linear map from keys to values so far, at every element.

  H_t = exp(g_t) H_{t-1} + beta_t k_t k_t^T      per head
  G_t = exp(g_t) G_{t-1} + beta_t k_t v_t^T
  y_t = W_o norm(G_t^T (H_t + diag(lambda))^{-1} q_t)

so that linear attention's query is multiplied by the inverse of H. von Oswald
et al., "MesaNet: sequence modeling by locally optimal test-time training",
arXiv:2506.05233, in the form of flash-linear-attention's layer: q and k are
silu(conv(W x)) of length 1, beta and exp(g) sigmoids.

The original solves by conjugate gradients, 30 steps from 0 in training, from
another initial value in decoding, which differ by some 3e-4. Here both `apply`
and `step` start from 0.
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
from jaxseq.mixers.matrix_states import _outer

TRAITS = contract.Traits(
  keeps="two matrices per head, by which queries are solved; 3 inputs of a "
  "convolution",
  ssm_parameters=("lambda",),
  block=contract.TRANSFORMER_BLOCK,
  memory=("H", "G"),
)

# Added to the sum of squares of queries and keys, and to the divisors of
# conjugate gradients, whose convergence it limits to 2e-4.
_LENGTH_EPS, _CG_EPS = 1e-6, 1e-5


@dataclasses.dataclass(frozen=True)
class Config(_outer.HeadWidths):
  """Options of MesaNet.

  Attributes:
    d_conv: width of the convolution, including the present element; 1 for none.
    method: "solve", which factors H for every element, for keys of up to some
      32 numbers; or "cg", conjugate gradients, without a stored H.
    steps: number of steps of "cg".
    lower_bound: lower bound of lambda; it bounds the condition of the systems.
    gate: whether outputs are multiplied by silu(W_g x).
    eps: added to the mean square in the norm of a head's output.
  """

  d_conv: int = 4
  method: Literal["solve", "cg"] = "solve"
  steps: int = 30
  lower_bound: float = 0.25
  gate: bool = False
  eps: float = 1e-5


@_serialization.exported("jaxseq.mixers.mesa.State")
class State(NamedTuple):
  """State of MesaNet.

  Attributes:
    conv: (*batch, d_conv - 1, 2 heads d_key), the last inputs of the
      convolution, oldest first, of queries and keys concatenated; or None.
    H: (*batch, heads, d_key, d_key).
    G: (*batch, heads, d_key, d_value).
  """

  conv: jax.Array | None
  H: jax.Array
  G: jax.Array


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters: LeCun-normal matrices, lambda of 1.

  Returns:
    A dict of float32 arrays:
      W_qk: (d_model, 2 heads d_key), to queries and keys side by side.
      W_v: (d_model, heads d_value).
      conv_weight: (d_conv, 2 heads d_key), the last row for the present
        element, if d_conv > 1.
      W_b, b_b, W_a, b_a: (d_model, heads) and (heads,), of beta and g.
      lambda: (heads, d_key), before softplus and the addition of lower_bound.
      W_g: (d_model, heads d_value), with a gate.
      norm_scale: (d_value,), ones.
      W_o: (heads d_value, d_model).
  """
  draw = contract.Draws(key, "qk v conv b a g o")
  width, heads = config.d_model, config.heads
  keys, values = heads * config.key_width, heads * config.value_width
  # Such that its softplus plus the bound is 1.
  above = max(1 - config.lower_bound, 1e-3)
  start = math.log(math.expm1(above))
  params = {
    "W_qk": draw("qk", width, 2 * keys),
    "W_v": draw("v", width, values),
    "W_b": draw("b", width, heads),
    "b_b": contract.zeros(heads),
    "W_a": draw("a", width, heads),
    "b_a": contract.zeros(heads),
    "lambda": jnp.full((heads, config.key_width), start, jnp.float32),
    "norm_scale": contract.ones(config.value_width),
    "W_o": draw("o", values, width),
    **draw.conv(config.d_conv, 2 * keys),
  }
  if config.gate:
    params["W_g"] = draw("g", width, values)
  return params


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence: zeros."""
  heads, keys = config.heads, config.key_width
  window = *batch_shape, config.d_conv - 1, 2 * heads * keys
  return State(
    jnp.zeros(window, dtype) if config.d_conv > 1 else None,
    jnp.zeros((*batch_shape, heads, keys, keys), dtype),
    jnp.zeros((*batch_shape, heads, keys, config.value_width), dtype),
  )


def _run(over, config, params, x, state, reset):
  """Runs over a sequence; a reset empties the convolution's window too."""
  # Solutions amplify the rounding errors of keys, which are thus wide.
  qk, window = recurrence.dense(x, params["W_qk"], wide=True), state.conv
  if config.d_conv > 1:
    qk, window = passes.convolved(over, params, qk, window, reset)
  else:
    qk = contract.pointwise(jax.nn.silu, qk)
  q, k = jnp.split(qk, 2, axis=-1)
  v = recurrence.dense(x, params["W_v"], wide=True)
  q, k, v = (head_parts.split(part, config.heads) for part in (q, k, v))
  q, k = (head_parts.unit(part, _LENGTH_EPS) for part in (q, k))
  beta = recurrence.dense(x, params["W_b"], params["b_b"], wide=True)
  g = recurrence.dense(x, params["W_a"], params["b_a"], wide=True)
  weighted = jax.nn.sigmoid(beta)[..., None] * k
  decay = jax.nn.log_sigmoid(g)[..., None]
  ridge = jax.nn.softplus(params["lambda"]) + config.lower_bound
  o, H, G = over(
    functools.partial(_scan, config),
    *(q, weighted, k, v, decay, ridge, state.H, state.G),
    reset=reset,
    step=functools.partial(_step, config),
  )
  o = head_parts.normed(o.astype(x.dtype), params["norm_scale"], config.eps)
  o = o.reshape(*x.shape[:-1], -1)
  if config.gate:
    projected = recurrence.dense(x, params["W_g"])
    o = contract.pointwise(lambda o, g: o * jax.nn.silu(g), o, projected)
  return recurrence.dense(o, params["W_o"]), State(window, H, G)


def _scan(config, q, weighted, k, v, decay, ridge, H, G, *, reset, axis=None):
  """Runs over a sequence (*batch, time, heads, n); outputs and states."""
  more = {"reset": reset, "axis": axis}
  if config.method == "cg":

    def product(x):
      y, _ = recurrence.outer_scan_heads(x, weighted, k, decay, H, **more)
      return y + ridge * x

    x = _conjugate_gradients(product, q, config.steps)
    _, last = recurrence.outer_scan_heads(q, weighted, k, decay, H, **more)
  else:
    shape = (*k.shape, k.shape[-1])
    factors = jnp.broadcast_to(jnp.exp(decay)[..., None], shape)
    added = weighted[..., :, None] * k[..., None, :]
    flat = (*k.shape[:-2], -1)
    before = H.reshape(*H.shape[:-3], -1)
    elements = factors.reshape(flat), added.reshape(flat), before
    scanned, last = recurrence.linear_scan(*elements, **more)
    x = _solve(scanned.reshape(shape), ridge, q)
    last = last.reshape(H.shape)
  o, G = recurrence.outer_scan_heads(x, weighted, v, decay, G, **more)
  return o, last, G


def _step(config, q, weighted, k, v, decay, ridge, H, G, *, reset=None):
  """Runs over one element, (*batch, heads, n)."""
  decay = decay[..., None]
  if reset is not None:
    reset = reset[..., None, None, None]
    H, G = jnp.where(reset, 0, H), jnp.where(reset, 0, G)
  H = jnp.exp(decay) * H + weighted[..., :, None] * k[..., None, :]
  G = jnp.exp(decay) * G + weighted[..., :, None] * v[..., None, :]
  if config.method == "cg":

    def product(x):
      return jnp.einsum("...kl,...l->...k", H, x) + ridge * x

    x = _conjugate_gradients(product, q, config.steps)
  else:
    x = _solve(H, ridge, q)
  return jnp.einsum("...kv,...k->...v", G, x), H, G


def _solve(H, ridge, q):
  """Returns (H + diag(ridge))^{-1} q; ridge is (heads, d_key)."""
  A = H + ridge[..., None] * jnp.eye(q.shape[-1], dtype=H.dtype)
  return jnp.linalg.solve(A, q[..., None])[..., 0]


def _conjugate_gradients(product, q, steps):
  """Solutions of product(x) = q along the last axis, from zeros."""

  def step(_, carry):
    x, r, p, square = carry
    turned = product(p)
    divisor = jnp.sum(p * turned, axis=-1, keepdims=True)
    alpha = square / (divisor + _CG_EPS)
    x, r = x + alpha * p, r - alpha * turned
    after = jnp.sum(r * r, axis=-1, keepdims=True)
    p = r + after / (square + _CG_EPS) * p
    return x, r, p, after

  square = jnp.sum(q * q, axis=-1, keepdims=True)
  carry = jnp.zeros_like(q), q, q, square
  x, *_ = jax.lax.fori_loop(0, steps, step, carry)
  return x


apply, step = passes.make(Config, init, initial_state, _run, sections=True)
