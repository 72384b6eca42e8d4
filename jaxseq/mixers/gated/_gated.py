"""Gated recurrent mixers: sizes, parameters, array layouts."""

from collections.abc import Callable
import dataclasses

import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.recurrence.gated import gated
from jaxseq.types import PyTree

# Declarations that all gated networks share.
TRAITS = contract.Traits(schemes=gated.SCHEMES)


@dataclasses.dataclass(frozen=True)
class Config(contract.Hidden):
  """Options of a gated network.

  Attributes:
    d_hidden: width of the hidden state; d_model if None. Any other width adds
      an output projection.
    heads: number of diagonal blocks of the recurrent matrices.
  """

  heads: int = 1

  def __post_init__(self):
    super().__post_init__()
    contract.multiple("d_hidden", self.width, heads=self.heads)


def sigmoid(x: jax.Array) -> jax.Array:
  """Sigmoid by tanh: one transcendental that compilers vectorize."""
  return 0.5 * jnp.tanh(0.5 * x) + 0.5


def weights(params: contract.Params) -> recurrence.GatedParams:
  """Returns the weights of a recurrence with its biases at the inputs."""
  return recurrence.GatedParams(params["W"], params["b"], params["R"])


def init(
  key: jax.Array,
  config: Config,
  *,
  input_gates: int,
  recurrent_gates: int,
  biases: int,
) -> contract.Params:
  """Weights W, R, b and, for hidden width other than d_model, W_out, b_out."""
  # The input feeds `input_gates`, the hidden state `recurrent_gates`, and there
  # are `biases` bias vectors; the mixers' own `init` documents their layouts.
  key_w, key_r, key_out = jax.random.split(key, 3)
  width, heads = config.width, config.heads
  lecun = jax.nn.initializers.lecun_normal()
  # One orthogonal matrix per head and gate.
  blocks = jax.random.orthogonal(
    key_r, width // heads, (heads, recurrent_gates), jnp.float32
  )
  params = {
    # Drawn as one matrix: the fan-in of every gate is d_model.
    "W": lecun(
      key_w, (config.d_model, input_gates * width), jnp.float32
    ).reshape(config.d_model, input_gates, width),
    "R": jnp.moveaxis(blocks, 1, 2),
    "b": contract.zeros(biases, width),
  }
  if width != config.d_model:
    params["W_out"] = lecun(key_out, (width, config.d_model), jnp.float32)
    params["b_out"] = contract.zeros(config.d_model)
  return params


def bind(
  config_type: type,
  state_type: type,
  init: Callable[..., contract.Params],
  cell: recurrence.GatedCell,
  weights: Callable[[contract.Params], recurrence.GatedParams] = weights,
) -> tuple[Callable[..., PyTree], contract.Apply, contract.Step]:
  """Functions `initial_state`, `apply` and `step` of a gated network."""
  # The state has a vector for each field of `state_type`; `weights` maps the
  # mixer's parameters to those of the recurrence.

  @contract.initial_state
  def initial_state(config, batch_shape=(), dtype=jnp.float32):
    """Returns the state of a fresh sequence: zeros."""
    shape = (*batch_shape, config.width)
    return state_type(*(jnp.zeros(shape, dtype) for _ in state_type._fields))

  @contract.apply(config_type, init, initial_state)
  def apply(
    config, params, x, state=None, reset=None, *, axis=None, scheme="auto"
  ):
    """Runs the network over a sequence.

    Options:
      scheme: how the devices share the work: "batch", "heads", "relay", or
        "auto" for the first of them that fits (`recurrence.gated_scan`).
    """
    contract.choice("scheme", scheme, gated.SCHEMES)
    # Time-major with one batch axis, so that each step is one matrix product.
    *batch, time, width = x.shape
    params, state, before, dtype = _prepare(config, params, x, state)
    rows = x.reshape(-1, time, width).swapaxes(0, 1).astype(dtype)
    reset = None if reset is None else reset.reshape(-1, time).T
    hidden, after = recurrence.gated_scan(
      cell, weights(params), before, rows, reset=reset, axis=axis, scheme=scheme
    )
    y = recurrence.from_heads(hidden).swapaxes(0, 1)
    return _output(params, y.astype(dtype), x), _state(state, after, batch)

  @contract.step(config_type, init, initial_state)
  def step(config, params, x, state, reset=None):
    """Runs the network over one element; `apply` without the time axis."""
    *batch, width = x.shape
    params, state, before, dtype = _prepare(config, params, x, state)
    rows = x.reshape(-1, width).astype(dtype)
    reset = None if reset is None else reset.reshape(-1)
    after = recurrence.gated_step(
      cell, weights(params), before, rows, reset=reset
    )
    y = recurrence.from_heads(after[0])
    return _output(params, y.astype(dtype), x), _state(state, after, batch)

  functions = {"initial_state": initial_state, "apply": apply, "step": step}
  return contract.of_module(config_type, **functions)


def _prepare(config, params, x, state):
  """Returns parameters and state in one dtype, by heads, and a dtype."""
  # The state by heads has one batch axis; the dtype is that of products.
  dtype = contract.wide_dtype(x, state)
  rows = (leaf.astype(dtype).reshape(-1, leaf.shape[-1]) for leaf in state)
  before = tuple(recurrence.to_heads(leaf, config.heads) for leaf in rows)
  params, products = (
    contract.cast(params, dtype),
    contract.product_dtype(x, state),
  )
  return params, state, before, products


def _output(params, y, x):
  if "W_out" in params:
    y = recurrence.dense(y, params["W_out"], params["b_out"])
  return y.reshape(x.shape)


def _state(state, after, batch):
  after = (recurrence.from_heads(leaf) for leaf in after)
  return state._make(leaf.reshape(*batch, -1) for leaf in after)
