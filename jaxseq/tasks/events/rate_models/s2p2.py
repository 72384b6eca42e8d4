"""S2P2: a stack of latent linear Hawkes layers, events in closed form.

  between events   x(t-) = a x(t_i+) + (a - 1) B v,  a = exp(s Lambda (t - t_i))
  at event i       x(t_i+) = x(t_i-) + E alpha(k_i)    ( + B N(u(t_i+)) )
  output           y = 2 Re(C x) + D N(u);   u' = act(y) + u, and its layer norm

with v = N(u(t-)) in the backward form, N(u(t_i+)) in the forward form, and 0 in
the impulse form, which has the term in parentheses. The first layer has no u.
The left limits at an event pass through the layers together, and so do the
right limits. Chang et al., arXiv:2412.19634, in the form of
EasyTemporalPointProcess. A layer runs over all events as one linear scan.
"""

import dataclasses
from typing import Literal
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import recurrence
from jaxseq import validate
from jaxseq.mixers.state_space import hippo
from jaxseq.tasks.events.rate_models import decays

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Config(decays.Config):
  """Options of S2P2, in addition to those of `decays.Config`.

  Attributes:
    num_layers: number of layers.
    num_states: states of a layer, all stored, without conjugate pairs.
    form: the input that drives the states between events; see the module.
    relative_time: whether the pace of a gap depends on the right limit at the
      previous event: s = softplus(W N(u) + b); otherwise s = 1.
    activation: "gelu", "half_glu" (y sigmoid(W gelu(y))) or "full_glu".
    norm: "post" norms a layer's output; "pre" norms its input, and gives no
      bound of the intensities.
    complex_values: whether states are complex; if not, y = 2 C x of real ones.
    released_shift: whether D uses the previous event instead of this one, as in
      the published code of the forward form.
  """

  num_layers: int = 2
  num_states: int = 16
  form: Literal["impulse", "forward", "backward"] = "backward"
  relative_time: bool = True
  activation: Literal["gelu", "half_glu", "full_glu"] = "gelu"
  norm: Literal["post", "pre"] = "post"
  complex_values: bool = True
  released_shift: bool = False

  def __post_init__(self):
    super().__post_init__()
    validate.at_least(self, num_layers=1, num_states=1)


class State(NamedTuple):
  """State after an event.

  Attributes:
    x: (..., num_layers, num_states), states of the layers.
    u: (..., num_layers, d_model), the layers' inputs at the event; zeros in the
      first.
    begun: (...) bool, whether there was an event.
  """

  x: Array
  u: Array
  begun: Array


def init(key: Array, config: Config) -> decays.Params:
  """Draws the parameters; Lambda is that of the normal part of HiPPO-LegS.

  Returns:
    marks (num_marks + 1, H), the read-out, and layers_0, ...: each has x0 (P,),
    E and B (P, H), C (H, P), with a last axis of 2 if complex, log_decay and
    frequency (P,), D (H,), the norm, and parameters of the options.
  """
  keys = jax.random.split(key, config.num_layers + 2)
  H = config.d_model
  marks = jax.random.normal(keys[0], (config.num_marks + 1, H), jnp.float32)
  params = {
    "marks": marks,
    "read_out": decays.init_read_out(keys[1], config.num_marks, H),
  }
  for i, key in enumerate(keys[2:]):
    params[f"layers_{i}"] = _init_layer(key, config, i == 0)
  return params


def _init_layer(key, config, first):
  """Draws the parameters of one layer."""
  keys = jax.random.split(key, 7)
  H, P = config.d_model, config.num_states
  Lambda, V, V_inv = hippo.block_legs(P, 1, conj_sym=False)

  def kept(real, imag):
    if not config.complex_values:
      return jnp.asarray(real, jnp.float32)
    return jnp.stack([real, imag], axis=-1).astype(jnp.float32)

  def of_inputs(key):
    matrix = decays.glorot(key, P, H)
    return kept(V_inv.real @ matrix, V_inv.imag @ matrix)

  C = decays.glorot(keys[2], H, P)
  params = {
    "x0": kept(*(1e-3 * jax.random.normal(keys[0], (2, P)))),
    "E": of_inputs(keys[1]),
    "C": kept(C @ V.real, C @ V.imag),
    "log_decay": jnp.asarray(np.log(-Lambda.real), jnp.float32),
    "frequency": jnp.asarray(Lambda.imag, jnp.float32),
    "norm": decays.init_norm(H),
  }
  if not first:
    params["B"] = of_inputs(keys[3])
    params["D"] = jax.random.normal(keys[4], (H,), jnp.float32)
  if config.relative_time:
    one = jnp.full(P, np.log(np.expm1(1.0)), jnp.float32)
    params["pace"] = {"W": decays.glorot(keys[5], P, H), "b": one}
  if config.activation != "gelu":
    width = H if config.activation == "half_glu" else 2 * H
    params["act"] = {
      "W": decays.glorot(keys[6], width, H),
      "b": jnp.zeros(width),
    }
  return params


def initial_state(
  config: Config, params: decays.Params, batch_shape: tuple[int, ...] = ()
) -> State:
  """Returns the state before a sequence: x0, which decays from time 0 on."""
  layers = _layers(config, params)
  x = jnp.stack([_matrix(config, layer["x0"]) for layer in layers])
  shape = (*batch_shape, config.num_layers, config.d_model)
  return State(
    jnp.broadcast_to(x, (*batch_shape, *x.shape)),
    jnp.zeros(shape, params["marks"].dtype),
    jnp.zeros(batch_shape, bool),
  )


def apply(
  config: Config,
  params: decays.Params,
  marks: Array,
  gaps: Array,
  state: State | None = None,
  reset: Array | None = None,
) -> tuple[State, State]:
  """Runs over events: marks, gaps and resets (*batch, time).

  Returns:
    The states after each event, and the state after the last.
  """
  fresh = initial_state(config, params, gaps.shape[:-1])
  state = fresh if state is None else state
  started = jnp.ones(gaps.shape, bool)
  before = _shift(started[..., None], state.begun[..., None])[..., 0]
  if reset is not None:
    before &= ~reset
  alpha = params["marks"][marks]
  right = left = None
  xs, us = [], []
  for i, layer in enumerate(_layers(config, params)):
    last = jnp.zeros_like(alpha)
    if i:
      last = jnp.where(before[..., None], _shift(right, state.u[..., i, :]), 0)
    a = _decay(config, layer, _pace(config, layer, last, before, i), gaps)
    jump = alpha @ _matrix(config, layer["E"]).T
    if i and config.form == "impulse":
      jump += _normed(config, layer, right) @ _matrix(config, layer["B"]).T
    drive = _drive(config, layer, a, last, left, before) if i else 0
    start = drive
    if reset is not None:
      x0 = _matrix(config, layer["x0"])
      start = start + jnp.where(reset[..., None], a * x0, 0)
    init_x = state.x[..., i, :]
    x, _ = recurrence.linear_scan(a, start + jump, init_x, reset=reset)
    us.append(jnp.zeros_like(alpha) if right is None else right)
    xs.append(x)
    skip = last if i and config.released_shift else right
    if config.form == "backward":
      left = _output(config, layer, x - jump, left, left)
    right = _output(config, layer, x, right, skip)
  states = State(jnp.stack(xs, -2), jnp.stack(us, -2), started)
  axis = gaps.ndim - 1
  return states, jax.tree.map(lambda x: jnp.take(x, -1, axis), states)


step = decays.step_by(apply)


def intensity(
  config: Config, params: decays.Params, state: State, elapsed: Array
) -> Array:
  """Returns intensities (..., n, marks) at times (..., n) since an event."""
  started = state.begun[..., None]
  left = None
  for i, layer in enumerate(_layers(config, params)):
    last = state.u[..., i, :][..., None, :]
    pace = _pace(config, layer, last, started, i)
    a = _decay(config, layer, pace, elapsed)
    x = a * state.x[..., i, :][..., None, :]
    if i:
      x = x + _drive(config, layer, a, last, left, started)
    left = _output(config, layer, x, left, left)
  return decays.read_out(params["read_out"], left)


def bound(
  config: Config, params: decays.Params, state: State, elapsed: Array
) -> Array:
  """Returns an upper bound (...) of the sum of intensities.

  Raises:
    ValueError: if the norm is "pre", which has no bound.
  """
  del state
  if config.norm != "post":
    raise validate.error("norm", config.norm, "'post', to have a bound")
  last = _layers(config, params)[-1]["norm"]
  top = decays.normed_bound(params["read_out"], **last)
  return jnp.broadcast_to(top, elapsed.shape)


def _layers(config, params):
  return [params[f"layers_{i}"] for i in range(config.num_layers)]


def _matrix(config, array):
  """Returns a parameter array as a matrix that may be complex."""
  if not config.complex_values:
    return array
  return jax.lax.complex(array[..., 0], array[..., 1])


def _shift(x, first):
  """Returns the previous elements (*batch, time, n)."""
  return jnp.concatenate([first[..., None, :], x[..., :-1, :]], axis=-2)


def _normed(config, layer, u):
  return decays.norm(layer["norm"], u) if config.norm == "pre" else u


def _pace(config, layer, last, started, index):
  """Returns the pace s (..., P) of gaps after events with inputs `last`."""
  if not config.relative_time:
    return jnp.ones_like(layer["log_decay"])
  pace = layer["pace"]
  if not index:
    return jax.nn.softplus(pace["b"])
  seen = _normed(config, layer, last) @ pace["W"].T
  return jax.nn.softplus(jnp.where(started[..., None], seen, 0) + pace["b"])


def _decay(config, layer, pace, gaps):
  """Returns the factor a (..., P) of gaps (...)."""
  Lambda = -jnp.exp(layer["log_decay"])
  if config.complex_values:
    Lambda = jax.lax.complex(Lambda, layer["frequency"])
  return jnp.exp(pace * gaps[..., None] * Lambda)


def _drive(config, layer, a, last, left, started):
  """Returns the input's contribution to the states during a gap."""
  if config.form == "impulse":
    return 0
  if config.form == "backward":
    v = _normed(config, layer, left)
  else:
    v = jnp.where(started[..., None], _normed(config, layer, last), 0)
  return (a - 1) * (v @ _matrix(config, layer["B"]).T)


def _gelu(x):
  return jax.nn.gelu(x, approximate=False)


def _output(config, layer, x, u, skip):
  """Returns a layer's output from its states x, its input u and D's `skip`."""
  C = _matrix(config, layer["C"])
  y = 2 * jnp.real(x @ C.T)
  if u is not None:
    y = y + layer["D"] * _normed(config, layer, skip)
  if config.activation == "gelu":
    y = _gelu(y)
  else:
    act = layer["act"]
    half = config.activation == "half_glu"
    z = (_gelu(y) if half else y) @ act["W"].T + act["b"]
    y = y * jax.nn.sigmoid(z) if half else jax.nn.glu(z)
  y = y if u is None else y + u
  return decays.norm(layer["norm"], y) if config.norm == "post" else y
