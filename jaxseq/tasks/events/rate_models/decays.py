"""Hidden units that decay between events, and the intensities of them.

  c(t) = cbar + (c - cbar) exp(-delta (t - t_i));   h(t) = o tanh(c(t))
  lambda_k(t) = softplus_k(w_k . h(t) + b_k)

after event i, where softplus_k(x) = log(1 + exp(beta_k x)) / beta_k. Mei and
Eisner, "The neural Hawkes process", arXiv:1612.09328.
"""

from collections.abc import Callable
import dataclasses
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.types import PyTree

Array = jax.Array
Params = dict


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of all intensities.

  Attributes:
    num_marks: number of marks.
    d_model: width of the vectors that the intensities are read out of.
  """

  num_marks: int = 1
  d_model: int = 32

  def __post_init__(self):
    validate.literals(self)
    validate.at_least(self, num_marks=1, d_model=1)


class Decay(NamedTuple):
  """Units after an event, (..., d_model) each; see the module."""

  c: Array
  cbar: Array
  delta: Array
  o: Array


def decode(values: Array) -> Decay:
  """Decodes units from four values each, (..., 4 d_model)."""
  c, cbar, delta, o = jnp.split(values, 4, axis=-1)
  return Decay(c, cbar, jax.nn.softplus(delta), jax.nn.sigmoid(o))


def hidden(state: Decay, elapsed: Array) -> Array:
  """Returns h (..., n, d_model) at times (..., n) since the last event."""
  c, cbar, delta, o = (x[..., None, :] for x in state)
  return o * jnp.tanh(cbar + (c - cbar) * jnp.exp(-delta * elapsed[..., None]))


def init_read_out(key: Array, num_marks: int, width: int) -> Params:
  """Draws w (num_marks, width), and b and log_beta, (num_marks,) each.

  At first the intensities have a sum of about 1.
  """
  w = jax.random.normal(key, (num_marks, width), jnp.float32) / width**0.5
  base = jnp.log(jnp.expm1(jnp.full(num_marks, 1 / num_marks, jnp.float32)))
  return {"w": w, "b": base, "log_beta": jnp.zeros(num_marks, jnp.float32)}


def softplus(x: Array, log_beta: Array) -> Array:
  """Returns log(1 + exp(beta x)) / beta."""
  beta = jnp.exp(log_beta)
  return jax.nn.softplus(beta * x) / beta


def read_out(params: Params, h: Array) -> Array:
  """Returns the intensities (..., num_marks) of h (..., width)."""
  return softplus(h @ params["w"].T + params["b"], params["log_beta"])


def intensity(params: Params, state: Decay, elapsed: Array) -> Array:
  """Returns intensities (..., n, marks) at times (..., n) since an event."""
  return read_out(params, hidden(state, elapsed))


def bound(params: Params, state: Decay, elapsed: Array) -> Array:
  """Returns an upper bound of the sum of intensities from a time on.

  Each unit moves monotonically from its present value to its limit.

  Args:
    params: parameters of the read-out.
    state: (..., d_model) each.
    elapsed: (...), time since the last event.
  """
  start = hidden(state, elapsed[..., None])[..., 0, :]
  ends = start, state.o * jnp.tanh(state.cbar)
  low, high = (each[..., None, :] * params["w"] for each in ends)
  top = jnp.maximum(low, high).sum(axis=-1) + params["b"]
  return softplus(top, params["log_beta"]).sum(axis=-1)


def normed_bound(params: Params, scale: Array, shift: Array) -> Array:
  """Returns an upper bound of the sum of intensities of a normed vector.

  Before scale and shift, (width,) each, the length of a layer-normed vector is
  at most the square root of its width.
  """
  length = jnp.linalg.norm(params["w"] * scale, axis=-1)
  top = scale.shape[-1] ** 0.5 * length + params["w"] @ shift + params["b"]
  return softplus(top, params["log_beta"]).sum()


def init_norm(width: int) -> Params:
  """Returns the parameters of a layer norm."""
  return {"scale": jnp.ones(width), "shift": jnp.zeros(width)}


def norm(params: Params, x: Array) -> Array:
  """Returns the layer norm of (..., width)."""
  x = x - x.mean(axis=-1, keepdims=True)
  x = x * jax.lax.rsqrt((x * x).mean(axis=-1, keepdims=True) + 1e-5)
  return params["scale"] * x + params["shift"]


def glorot(key: Array, *shape: int) -> Array:
  """Draws a matrix by Glorot-uniform, from its numbers of rows and columns."""
  return jax.nn.initializers.glorot_uniform()(key, shape, jnp.float32)


def step_by(apply: Callable[..., tuple[Any, Any]]) -> Callable[..., Any]:
  """Returns the `step` of a model, its `apply` on one event."""

  def step(
    config: Config,
    params: Params,
    mark: Array,
    gap: Array,
    state: PyTree,
    reset: Array | None = None,
  ) -> Any:
    """Consumes one event (*batch,); `apply` without the time axis."""
    reset = None if reset is None else reset[..., None]
    one = mark[..., None], gap[..., None]
    return apply(config, params, *one, state, reset)[1]

  return step
