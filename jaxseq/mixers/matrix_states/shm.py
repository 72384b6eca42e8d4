"""SHM, stable Hadamard memory: a matrix state with elementwise products.

  C_t = 1 + tanh(theta c_t^T)
  M_t = M_{t-1} * C_t + (eta_t v_t) k_t^T
  y_t = W_out (M_t q_t) + b_out

with keys and queries relu(W x) divided by their sums, and x standardized first.
Le et al., "Stable Hadamard memory: revitalizing memory-augmented agents for
reinforcement learning", arXiv:2410.10132, in the form of the authors' code.

The paper draws theta from a table at every step, which keeps the mean of C at 1
and long products bounded. The authors' agents read row 0 at every step, and so
does this mixer, unless `apply` and `step` get `rows`. With one row and nearly
constant inputs, numbers of M grow by up to a factor of 2 per element: float32
overflows after some 150 elements at C = 1.8.
"""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import _serialization
from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers import head_parts
from jaxseq.mixers import passes

TRAITS = contract.Traits(
  keeps="a matrix, each number with a factor of its own", memory=("M",)
)

_EPS = 1e-5
# Rows of the paper's table, which bound the initial numbers.
_ROWS = 128


@dataclasses.dataclass(frozen=True)
class Config(contract.Options):
  """Options of SHM.

  Attributes:
    d_memory: rows and columns of the memory.
    rows: rows of the table theta; the paper has 128. Rows after the first are
      for `rows` of `apply` and `step`.
  """

  d_memory: int = 16
  rows: int = 1


@_serialization.exported("jaxseq.mixers.shm.State")
class State(NamedTuple):
  """State of SHM: M, (*batch, d_memory, d_memory), values by keys."""

  M: jax.Array


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters, as PyTorch does for linear layers.

  Returns:
    A dict of float32 arrays, with m = d_memory:
      scale, shift: (d_model,), of the standardized inputs.
      W: (d_model, 4 m + 1), side by side to keys, queries, values, c and eta.
      theta: (rows, m).
      W_out, b_out: (m, d_model) and (d_model,).
  """
  names = "W", "theta", "W_out", "b_out"
  keys = dict(zip(names, jax.random.split(key, len(names))))
  width, size = config.d_model, config.d_memory
  bound = math.sqrt(6 / (_ROWS + size))
  shape = config.rows, size
  return {
    "scale": contract.ones(width),
    "shift": contract.zeros(width),
    "W": contract.uniform(keys["W"], (width, 4 * size + 1), width),
    "theta": jax.random.uniform(
      keys["theta"], shape, jnp.float32, -bound, bound
    ),
    "W_out": contract.uniform(keys["W_out"], (size, width), size),
    "b_out": contract.uniform(keys["b_out"], (width,), size),
  }


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence: zeros."""
  size = config.d_memory
  return State(jnp.zeros((*batch_shape, size, size), dtype))


@contract.apply(Config, init, initial_state)
def apply(config, params, x, state=None, reset=None, *, axis=None, rows=None):
  """Runs over a sequence.

  Options:
    rows: (*batch, time) integers, the row of theta that each element reads, as
      drawn by the caller; row 0 if None.
  """

  def over(scan, *arguments, **options):
    return passes.over_sequence(scan, *arguments, axis=axis, **options)

  return _run(over, config, params, x, state, reset, rows)


@contract.step(Config, init, initial_state)
def step(config, params, x, state, reset=None, *, rows=None):
  """Consumes one element; `apply` without the time axis.

  Options:
    rows: (*batch,) integers, as in `apply`.
  """
  return _run(passes.over_element, config, params, x, state, reset, rows)


def _run(over, config, params, x, state, reset, rows):
  params = contract.cast(params, contract.wide_dtype(x))
  size = config.d_memory
  theta = _theta(params["theta"], x, rows)

  def normed(x, scale, shift):
    return head_parts.standardized(x, _EPS) * scale + shift

  z = contract.pointwise(normed, x, params["scale"], params["shift"])
  projected = recurrence.dense(z, params["W"], wide=True)
  k, q, v, c, eta = jnp.split(
    projected, [size, 2 * size, 3 * size, 4 * size], axis=-1
  )
  k, q, v = _share(k), _share(q), jax.nn.sigmoid(eta) * v
  C = 1 + jnp.tanh(theta[..., :, None] * c[..., None, :])
  added = v[..., :, None] * k[..., None, :]
  flat = x.shape[:-1] + (size * size,)
  before = state.M.reshape(*state.M.shape[:-2], size * size)
  elements = C.reshape(flat), added.reshape(flat), before
  M, last = over(recurrence.linear_scan, *elements, reset=reset)
  read = jnp.sum(M.reshape(C.shape) * q[..., None, :], axis=-1)
  y = recurrence.dense(read.astype(x.dtype), params["W_out"], params["b_out"])
  return y, State(last.reshape(state.M.shape))


def _share(x):
  """Returns relu(x) over its sum."""
  x = jax.nn.relu(x)
  return x / (_EPS + jnp.sum(x, axis=-1, keepdims=True))


def _theta(table, x, rows):
  """Returns the row of the table for each element, (..., d_memory)."""
  if rows is None:
    return table[0]
  rows = jnp.asarray(rows)
  if rows.shape != x.shape[:-1] or not jnp.issubdtype(rows.dtype, jnp.integer):
    got = f"{rows.dtype} of shape {rows.shape}"
    expected = f"integers of shape {x.shape[:-1]}"
    raise contract.error("rows", got, expected)
  return jnp.asarray(table)[rows]
