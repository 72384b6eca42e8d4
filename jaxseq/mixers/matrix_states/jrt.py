"""Prefix linear attention: a prefix of the sequence is read bidirectionally.

  y_n = phi(q_n) S_n / (phi(q_n) z_n),      q, k, v, k', v' = W x      per head
  S_n = sum_{j <= n} phi(k_j) v_j^T + sum_{j < prefix} phi(k'_j) v'_j^T
  z_n = sum_{j <= n} phi(k_j)       + sum_{j < prefix} phi(k'_j)

for all n, including those of the prefix, which see all of it. phi is the Taylor
series of the exponential to second order, so that phi(q) phi(k) = 1 + s + s^2 /
2 with s = q k / sqrt(d_feature). Arora et al., "Just read twice: closing the
recall gap for recurrent language models", arXiv:2407.05483, section 4 and
equation 4; the feature map is that of Based (arXiv:2402.18668).

`apply` has the length of the prefix as an option. After it, and without it,
this is causal linear attention: the state after `apply` with a prefix is
continued by `apply` without, or by `step`. With a prefix the contract holds
except for its fourth point: elements of the prefix depend on later ones of it.

The original masks padding before the feature map, whose first feature is still
1; here masked elements add nothing.
"""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import _serialization
from jaxseq import recurrence
from jaxseq import validate
from jaxseq.mixers import contract
from jaxseq.mixers import head_parts
from jaxseq.mixers import passes
from jaxseq.mixers import positions

# Added to the divisor, as in the original code.
_EPS = 1e-12
# Elements whose features are in memory together, unless time is split.
_PIECE = 256

TRAITS = contract.Traits(
  keeps="a matrix per head of products up to second order, divided by a sum",
  block=contract.TRANSFORMER_BLOCK,
  memory=("S", "z"),
)


@dataclasses.dataclass(frozen=True)
class Config(contract.Options):
  """Options of prefix linear attention.

  Attributes:
    heads: number of heads.
    d_feature: width of a head's queries and keys, before the feature map, whose
      output has 1 + d_feature + d_feature^2 features.
    d_value: width of a head's values; d_model / heads, rounded up, if None.
  """

  heads: int = 4
  d_feature: int = 16
  d_value: int | None = None

  @property
  def features(self) -> int:
    """Number of features of a head's queries and keys."""
    return 1 + self.d_feature + self.d_feature**2

  @property
  def value_width(self) -> int:
    """Width of a head's values."""
    return self.d_value or math.ceil(self.d_model / self.heads)


@_serialization.exported("jaxseq.mixers.jrt.State")
class State(NamedTuple):
  """State of prefix linear attention.

  Attributes:
    S: (*batch, heads, features, d_value), sum of phi(k) v^T.
    z: (*batch, heads, features), sum of phi(k).
  """

  S: jax.Array
  z: jax.Array


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters: LeCun-normal matrices.

  Returns:
    A dict of float32 arrays:
      W_q, W_k: (d_model, heads * d_feature).
      W_v: (d_model, heads * d_value).
      W_k_prefix: like W_k, and W_v_prefix like W_v, for the additional term of
        the prefix; used only with the option `prefix` of `apply`.
      W_o: (heads * d_value, d_model).
  """
  draw = contract.Draws(key, "q k v k_prefix v_prefix o")
  width, values = config.d_model, config.heads * config.value_width
  inner = config.heads * config.d_feature
  return {
    "W_q": draw("q", width, inner),
    "W_k": draw("k", width, inner),
    "W_v": draw("v", width, values),
    "W_k_prefix": draw("k_prefix", width, inner),
    "W_v_prefix": draw("v_prefix", width, values),
    "W_o": draw("o", values, width),
  }


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence: zeros."""
  shape = *batch_shape, config.heads, config.features
  return State(
    jnp.zeros((*shape, config.value_width), dtype), jnp.zeros(shape, dtype)
  )


@contract.apply(Config, init, initial_state)
def apply(
  config,
  params,
  x,
  state=None,
  reset=None,
  *,
  axis=None,
  prefix=None,
  mask=None,
):
  """Runs over a sequence; the work grows with time.

  Options:
    prefix: number of the first elements of x, or of the whole sequence if time
      is split over devices, that are read bidirectionally: an integer, or
      integers (*batch,); all of x if there are fewer. Elements after a reset
      after the first element do not belong to it.
    mask: (*batch, time) bool, False for padding, which adds nothing to the
      state but counts for `prefix`; or None.
  """
  contract.check_mask(mask, x)
  params = contract.cast(params, contract.wide_dtype(x))
  _check_prefix(prefix, x, axis)
  dtype = contract.wide_dtype(x, state)
  S = jnp.concatenate([state.S, state.z[..., None]], axis=-1).astype(dtype)
  if prefix is not None:
    S, reset = _with_prefix(config, params, x, S, reset, axis, prefix, mask)

  def run(S, x, reset, mask):
    q = head_parts.split(recurrence.dense(x, params["W_q"]), config.heads)
    q = taylor_features(q)
    k, v = _keys_and_values(config, params, x, mask)
    o, S = recurrence.outer_scan_heads(q, k, v, None, S, reset=reset, axis=axis)
    o = contract.pointwise(lambda o: o[..., :-1] / (o[..., -1:] + _EPS), o)
    o = o.reshape(*x.shape[:-1], -1)
    return S, recurrence.dense(o, params["W_o"])

  size = _PIECE if axis is None else None
  S, y = recurrence.in_chunks(run, S, (x, reset, mask), x.ndim - 2, size)
  return y, State(S[..., :-1], S[..., -1])


step = passes.step_by(Config, init, initial_state, apply)


def taylor_features(x: jax.Array) -> jax.Array:
  """Returns features whose products are 1 + s + s^2 / 2, s = x y / sqrt(d).

  Args:
    x: (..., d), floating.

  Returns:
    (..., 1 + d + d^2) of its dtype: 1, then x / d^(1/4), then all products of
    two entries over sqrt(2 d). Computed in float32 or wider.
  """

  def features(x):
    d = x.shape[-1]
    squares = x[..., :, None] * x[..., None, :] / math.sqrt(2 * d)
    squares = squares.reshape(*x.shape[:-1], d * d)
    one = jnp.ones_like(x[..., :1])
    return jnp.concatenate([one, x / d**0.25, squares], axis=-1)

  return contract.pointwise(features, x)


def _keys_and_values(config, params, x, mask, suffix=""):
  """Features of keys, 0 if masked, and values with a column of ones."""
  k, v = (
    head_parts.split(y, config.heads)
    for y in (recurrence.dense(x, params[f"W_{n}{suffix}"]) for n in "kv")
  )
  k = taylor_features(k)
  v = jnp.concatenate([v, jnp.ones_like(v[..., :1])], axis=-1)
  if mask is not None:
    # Values too: 0 times an undefined one is undefined.
    k, v = (jnp.where(mask[..., None, None], y, 0) for y in (k, v))
  return k, v


def _check_prefix(prefix, x, axis):
  """Raises a ValueError unless it is None, a number, or (*batch,) integers."""
  if prefix is None:
    return
  if not jnp.issubdtype(jnp.result_type(prefix), jnp.integer):
    kind = f"dtype {jnp.result_type(prefix)}"
    raise contract.error("prefix", kind, "integers")
  if jnp.ndim(prefix):
    validate.shape("prefix", prefix, x.shape[:-2])
  time = x.shape[-2]
  # With time split, a device does not know the length of the sequence.
  if isinstance(prefix, int) and axis is None and not 0 <= prefix <= time:
    expected = f"a number from 0 to {time}, the elements of x"
    raise contract.error("prefix", prefix, expected)


def _with_prefix(config, params, x, S, reset, axis, prefix, mask):
  """Returns the state with the prefix's term, and the resets after it."""
  # A reset at the first element is dropped: it precedes the prefix.
  time = x.shape[-2]
  index = jnp.arange(time)
  if axis is not None:
    index = index + jax.lax.axis_index(axis) * time
  in_prefix = jnp.broadcast_to(
    index < jnp.asarray(prefix)[..., None], x.shape[:-1]
  )
  first = None
  if reset is not None:
    first = reset & (index == 0)
    reset = reset & (index > 0)
    # In the prefix if no reset has occurred: the place is the index.
    place, _ = positions.since_reset(
      jnp.zeros_like(S[..., 0, 0, 0]), reset, time, axis
    )
    in_prefix = in_prefix & (place == index)
    first = jnp.any(first, axis=-1)
  if mask is not None:
    in_prefix = in_prefix & mask

  def run(total, x, in_prefix):
    k, v = _keys_and_values(config, params, x, in_prefix, "_prefix")
    wide = {"preferred_element_type": total.dtype}
    return total + jnp.einsum("...thk,...thv->...hkv", k, v, **wide), None

  zeros = contract.varying_as(x, jnp.zeros_like(S))
  added, _ = recurrence.in_chunks(
    run, zeros, (x, in_prefix), x.ndim - 2, _PIECE
  )
  if axis is not None:
    added = jax.lax.psum(added, axis)
    if first is not None:
      first = jax.lax.psum(first.astype(S.dtype), axis) > 0
  if first is not None:
    S = jnp.where(first[..., None, None, None], 0, S)
  return S + added, reset
