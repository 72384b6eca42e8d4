"""S5: one multi-input, multi-output diagonal state space model.

  x'(t) = Lambda x(t) + B u(t),   y(t) = Re(C x(t)) + D u(t)

discretised with one learned step size per state. Smith, Warrington, Linderman,
"Simplified State Space Layers for Sequence Modeling", arXiv:2208.04933; with
resets inside a sequence: Lu et al., "Structured State Space Models for
In-Context Reinforcement Learning", arXiv:2303.03982.

Only the state space model itself is here; the activation, gate and residual of
the paper's layer are in `jaxseq.nn`.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import recurrence
from jaxseq.mixers import _check
from jaxseq.mixers import discretize
from jaxseq.mixers import hippo

Params = dict[str, jax.Array]

C_INITS = ("trunc_standard_normal", "lecun_normal", "complex_normal")

# The parameters that the paper trains with the smaller learning rate.
SSM_PARAMETERS = ("Lambda_re", "Lambda_im", "B", "log_step")

# Largest real part of an eigenvalue under `clip_eigs`.
_CLIP = -1e-4


@dataclasses.dataclass(frozen=True)
class Config:
  """Options of S5; the defaults are those of the paper's code.

  Attributes:
    d_model: width of inputs and outputs, H.
    ssm_size: number of states, conjugates counted.
    blocks: diagonal blocks of the HiPPO initialisation.
    conj_sym: states come in conjugate pairs and one of each is kept: P =
      ssm_size / 2 and y = 2 Re(C x) + D u.
    discretization: "zoh" or "bilinear".
    c_init: "trunc_standard_normal", "lecun_normal" or "complex_normal".
    dt_min: smallest initial step size.
    dt_max: largest initial step size; steps are drawn log-uniformly.
    clip_eigs: keep real parts of eigenvalues at or below -1e-4.
    step_rescale: factor on all step sizes; 2 runs a model on every second
      sample of the signal that it was trained on.
    bidirectional: a second pass from the end of the sequence; not causal, so
      it has no `step` and takes no state.
  """

  d_model: int
  ssm_size: int = 256
  blocks: int = 8
  conj_sym: bool = True
  discretization: str = "zoh"
  c_init: str = "trunc_standard_normal"
  dt_min: float = 0.001
  dt_max: float = 0.1
  clip_eigs: bool = False
  step_rescale: float = 1.0
  bidirectional: bool = False

  def __post_init__(self):
    _check.check_positive(self, "d_model", "ssm_size", "blocks")
    if self.ssm_size % self.blocks:
      raise ValueError(
        "ssm_size must be a positive multiple of blocks; got ssm_size = "
        f"{self.ssm_size} and blocks = {self.blocks}."
      )
    if self.conj_sym and (self.ssm_size // self.blocks) % 2:
      raise ValueError(
        "with conj_sym, ssm_size / blocks must be even; got ssm_size = "
        f"{self.ssm_size} and blocks = {self.blocks}."
      )
    discretize.get(self.discretization)
    if self.c_init not in C_INITS:
      raise ValueError(f"c_init must be one of {C_INITS}; got {self.c_init!r}.")
    if not 0 < self.dt_min <= self.dt_max:
      raise ValueError(
        "dt_min and dt_max must satisfy 0 < dt_min <= dt_max; got "
        f"{self.dt_min} and {self.dt_max}."
      )
    if not self.step_rescale > 0:
      raise ValueError(
        f"step_rescale must be positive; got {self.step_rescale}."
      )

  @property
  def num_states(self) -> int:
    """P, the number of complex states that are kept."""
    return self.ssm_size // 2 if self.conj_sym else self.ssm_size


def init(key: jax.Array, config: Config) -> Params:
  """Draws the parameters (arXiv:2208.04933, appendix B.1, and its code).

  Args:
    key: random key.
    config: options.

  Returns:
    A dict of float32 arrays, where a last axis of 2 holds real and imaginary
    part:
      Lambda_re, Lambda_im: (P,), continuous eigenvalues.
      B: (P, H, 2).
      C: (H, P, 2); if bidirectional, C1 and C2 (H, P, 2), or one C of (H, 2P,
        2) under c_init = "complex_normal".
      D: (H,).
      log_step: (P, 1), logarithm of the step sizes.
  """
  H, size, P = config.d_model, config.ssm_size, config.num_states
  Lambda, V, V_inv = hippo.block_legs(size, config.blocks, config.conj_sym)
  key_B, key_C, key_C2, key_D, key_step = jax.random.split(key, 5)
  scale = 1 / math.sqrt(size)
  # B and C are drawn for all states and then brought into the eigenbasis, so
  # that the kept half has the phases and the variance of the whole.
  B = scale * _lecun(key_B, (size, H))
  params = {
    "Lambda_re": jnp.asarray(Lambda.real, jnp.float32),
    "Lambda_im": jnp.asarray(Lambda.imag, jnp.float32),
    "B": jnp.stack(
      [jnp.asarray(part, jnp.float32) @ B for part in (V_inv.real, V_inv.imag)],
      axis=-1,
    ),
    "D": jax.random.normal(key_D, (H,), jnp.float32),
    "log_step": jax.random.uniform(
      key_step,
      (P, 1),
      jnp.float32,
      minval=math.log(config.dt_min),
      maxval=math.log(config.dt_max),
    ),
  }
  if config.c_init == "complex_normal":
    width = 2 * P if config.bidirectional else P
    C = jax.random.normal(key_C, (H, width, 2), jnp.float32)
    params["C"] = math.sqrt(0.5) * C
  elif config.bidirectional:
    params["C1"] = _init_C(key_C, config, V)
    params["C2"] = _init_C(key_C2, config, V)
  else:
    params["C"] = _init_C(key_C, config, V)
  return params


def _lecun(key, shape):
  """Unit variance, drawn from a normal cut at two standard deviations."""
  # 0.8796... is the standard deviation of the cut unit normal.
  cut = jax.random.truncated_normal(key, -2.0, 2.0, shape, jnp.float32)
  return cut / 0.87962566103423978


def _init_C(key, config, V):
  """C in the eigenbasis, (H, P, 2)."""
  H, size = config.d_model, config.ssm_size
  # The fan-in that the code's initialisers see: the states for one row drawn
  # at a time, the states times the rows for all rows drawn at once.
  rows = H if config.c_init == "lecun_normal" else 1
  C = _lecun(key, (H, size, 2)) / math.sqrt(rows * size)
  V_re, V_im = (np.asarray(part, np.float32) for part in (V.real, V.imag))
  re, im = C[..., 0], C[..., 1]
  return jnp.stack([re @ V_re - im @ V_im, re @ V_im + im @ V_re], axis=-1)


def initial_state(
  config: Config, batch_shape: tuple[int, ...] = (), dtype=jnp.float32
) -> jax.Array:
  """Returns the state of a fresh sequence: zeros.

  Args:
    config: options.
    batch_shape: leading axes.
    dtype: real dtype whose complex counterpart is used; float32 if it is
      narrower.

  Returns:
    (*batch, P), complex64 for float32.

  Raises:
    ValueError: if batch_shape or dtype is not of that kind.
  """
  dtype = _check.state_dtype(batch_shape, dtype)
  shape = (*batch_shape, config.num_states)
  return jnp.zeros(shape, jnp.result_type(dtype, jnp.complex64))


def apply(
  config: Config,
  params: Params,
  x: jax.Array,
  state: jax.Array | None = None,
  reset: jax.Array | None = None,
  *,
  axis: str | None = None,
  gaps: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
  """Runs over a sequence.

  Args:
    config: options.
    params: from `init`.
    x: (*batch, time, H).
    state: (*batch, P) complex state before the first element; fresh if None.
    reset: (*batch, time) bool; where true the state is that of a fresh
      sequence before the element is consumed. A bidirectional model keeps the
      elements on the two sides of a reset apart in both directions.
    gaps: (*batch, time) time since the element before, in units of the step
      size, for irregularly sampled sequences (appendix G.3 of the paper); 1
      everywhere if None. The first gap of a fresh sequence is 1 by convention.
    axis: name of a mesh axis over which time is split, inside `jax.shard_map`
      only; see `registry`.

  Returns:
    y (*batch, time, H) in the dtype of x, and the state (*batch, P) after the
    last element.

  Raises:
    ValueError: if an argument does not fit the above, or a bidirectional model
      is given a state or an axis.
  """
  _check.check_params(Config, init, config, params)
  x = jnp.asarray(x)
  batch = _check.check_inputs(
    config.d_model,
    x,
    state,
    lambda shape: initial_state(config, shape),
    reset,
  )
  if state is None:
    state = initial_state(config, batch, _real_dtype(x))
  elif config.bidirectional:
    raise ValueError("state must be None for a bidirectional S5.")
  if config.bidirectional and axis is not None:
    raise ValueError("axis must be None for a bidirectional S5.")
  if gaps is not None and jnp.shape(gaps) != x.shape[:-1]:
    raise ValueError(
      f"gaps must have shape {x.shape[:-1]}, that of x without its features; "
      f"got {jnp.shape(gaps)}."
    )
  run = _regular if gaps is None else _irregular
  if not config.bidirectional:
    return run(config, params, params["C"], x, state, reset, gaps, False, axis)
  C1, C2 = _directions(config, params)
  y1, state = run(config, params, C1, x, state, reset, gaps, False)
  fresh = jnp.zeros_like(state)
  # Going backwards, element t meets what follows it: the flag and the gap
  # between t and t + 1 belong to t.
  if reset is not None:
    reset = jnp.roll(reset, -1, axis=-1).at[..., -1].set(False)
  if gaps is not None:
    gaps = jnp.roll(gaps, -1, axis=-1).at[..., -1].set(1)
  without_D = {**params, "D": None}
  y2, _ = run(config, without_D, C2, x, fresh, reset, gaps, True)
  return y1 + y2, state


def step(
  config: Config,
  params: Params,
  x: jax.Array,
  state: jax.Array,
  reset: jax.Array | None = None,
  *,
  gaps: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
  """Consumes one element.

  Args:
    config: options.
    params: from `init`.
    x: (*batch, H).
    state: (*batch, P) complex.
    reset: (*batch,) bool or None.
    gaps: (*batch,) or None, as in `apply`.

  Returns:
    y (*batch, H) and the state (*batch, P).

  Raises:
    ValueError: if an argument does not fit the above, or the model is
      bidirectional.
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
  if config.bidirectional:
    raise ValueError("a bidirectional S5 has no step: it needs the future.")
  dtype = _real_dtype(x)
  u = x.astype(dtype)
  Lambda_bar, factor = _discretise(config, params, dtype, gaps)
  B, C = _step_matrices(config, params, dtype)
  re, im = jnp.split(u @ B, 2, axis=-1)
  Bu = factor * jax.lax.complex(re, im)
  state = recurrence.linear_step(Lambda_bar, Bu, state, reset=reset)
  parts = jnp.concatenate([jnp.real(state), -jnp.imag(state)], axis=-1)
  y = parts @ C + params["D"] * u
  return y.astype(x.dtype), state


def _step_matrices(config, params, dtype):
  """B and C as matrices (H, 2 P) and (2 P, H) of real and imaginary parts.

  The barrier keeps XLA from putting the transpositions into the products of a
  single row, which are several times slower so on a CPU. A loop over steps
  makes the matrices once.
  """
  B = params["B"].astype(dtype)
  C = _factor(config) * params["C"].astype(dtype)
  B = jnp.concatenate([B[..., 0], B[..., 1]]).T
  C = jnp.concatenate([C[..., 0], C[..., 1]], axis=-1).T
  return jax.lax.optimization_barrier((B, C))


def _real_dtype(x):
  return jnp.promote_types(x.dtype, jnp.float32)


def _discretise(config, params, dtype, gaps=None):
  """Decays and input factors, (P,) or, with gaps, (*gaps.shape, P)."""
  re = params["Lambda_re"].astype(dtype)
  if config.clip_eigs:
    re = jnp.minimum(re, _CLIP)
  Lambda = jax.lax.complex(re, params["Lambda_im"].astype(dtype))
  dt = config.step_rescale * jnp.exp(params["log_step"].astype(dtype)[:, 0])
  if gaps is not None:
    dt = dt * jnp.asarray(gaps, dtype)[..., None]
  return discretize.get(config.discretization)(Lambda, dt)


def _regular(config, params, C, x, state, reset, gaps, reverse, axis=None):
  """The fused scan over a sequence with equal steps."""
  del gaps
  dtype = _real_dtype(x)
  Lambda_bar, factor = _discretise(config, params, dtype)
  B = params["B"].astype(dtype)
  B_bar = factor[:, None] * jax.lax.complex(B[..., 0], B[..., 1])
  C = _factor(config) * C.astype(dtype)
  return recurrence.lti_scan(
    Lambda_bar,
    B_bar,
    jax.lax.complex(C[..., 0], C[..., 1]),
    x,
    state,
    D=params["D"],
    axis=axis,
    reset=reset,
    reverse=reverse,
  )


def _irregular(config, params, C, x, state, reset, gaps, reverse, axis=None):
  """As `_regular` with a step size per element; the states are stored."""
  u = x.astype(_real_dtype(x))
  Lambda_bar, factor = _discretise(config, params, u.dtype, gaps)
  Bu = factor * _project(params["B"], u)
  states, state = recurrence.linear_scan(
    Lambda_bar, Bu, state, axis=axis, reset=reset, reverse=reverse
  )
  y = _read_out(config, C, states)
  if params["D"] is not None:
    y = y + params["D"] * u
  return y.astype(x.dtype), state


def _factor(config):
  """Each kept state stands for itself and its conjugate."""
  return 2 if config.conj_sym else 1


def _project(B, u):
  """B u for real u (..., H): (..., P) complex."""
  B = B.astype(u.dtype)
  return jax.lax.complex(u @ B[..., 0].T, u @ B[..., 1].T)


def _read_out(config, C, states):
  """Re(C x), both of a conjugate pair counted: (..., H) real."""
  re, im = jnp.real(states), jnp.imag(states)
  C = _factor(config) * C.astype(re.dtype)
  return re @ C[..., 0].T - im @ C[..., 1].T


def _directions(config, params):
  """Output matrices of the forward and the backward pass, (H, P, 2) each."""
  if "C1" in params:
    return params["C1"], params["C2"]
  P = config.num_states
  return params["C"][:, :P], params["C"][:, P:]
