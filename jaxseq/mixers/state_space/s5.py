"""S5: one multi-input, multi-output diagonal state space model.

  x'(t) = Lambda x(t) + B u(t),   y(t) = Re(C x(t)) + D u(t)

discretized with one learned step size per state. Smith, Warrington, Linderman,
"Simplified State Space Layers for Sequence Modeling", arXiv:2208.04933; with
resets inside a sequence: Lu et al., "Structured State Space Models for
In-Context Reinforcement Learning", arXiv:2303.03982.

Only the state space model itself is here; the activation, gate and residual of
the paper's layer are in `jaxseq.nn`.
"""

import dataclasses
import functools
import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers.state_space import discretize
from jaxseq.mixers.state_space import hippo

TRAITS = contract.Traits(
  keeps="one diagonal system for all channels",
  # Parameters with the smaller learning rate in the paper.
  ssm_parameters=("Lambda_re", "Lambda_im", "B", "log_step"),
  memory=("",),
  traced=dict.fromkeys(("Lambda_re", "Lambda_im", "B", "log_step"), (0,)),
)

# Largest real part of an eigenvalue under `clip_eigs`.
_CLIP = -1e-4


@dataclasses.dataclass(frozen=True)
class Config(discretize.StepSizes):
  """Options of S5; the defaults are those of the paper's code.

  Attributes:
    ssm_size: number of states, including conjugates.
    blocks: diagonal blocks of the HiPPO initialization.
    conj_sym: whether states come in conjugate pairs, of which one is stored: P
      = ssm_size / 2 and y = 2 Re(C x) + D u.
    discretization: "zoh" or "bilinear".
    c_init: "trunc_standard_normal", "lecun_normal" or "complex_normal".
    clip_eigs: whether to keep real parts of eigenvalues at or below -1e-4.
    step_rescale: factor on all step sizes; 2 runs a model on every second
      sample of the signal that it was trained on.
    bidirectional: whether there is a second pass from the end of the sequence;
      not causal, so it has no `step` and no state.
  """

  ssm_size: int = 256
  blocks: int = 8
  conj_sym: bool = True
  discretization: Literal["zoh", "bilinear"] = "zoh"
  c_init: Literal["trunc_standard_normal", "lecun_normal", "complex_normal"] = (
    "trunc_standard_normal"
  )
  clip_eigs: bool = False
  step_rescale: float = 1.0
  bidirectional: bool = False

  def __post_init__(self):
    super().__post_init__()
    block = self.blocks * (2 if self.conj_sym else 1)
    if self.ssm_size % block:
      factors = "2 * blocks with conj_sym" if self.conj_sym else "blocks"
      raise contract.error(
        "ssm_size", self.ssm_size, f"a multiple of {factors}, {block}"
      )

  @property
  def num_states(self) -> int:
    """P, the number of complex states that are kept."""
    return self.ssm_size // 2 if self.conj_sym else self.ssm_size


@contract.init
def init(key: jax.Array, config: Config) -> contract.Params:
  """Draws the parameters (arXiv:2208.04933, appendix B.1, and its code).

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
  # B and C are drawn for all states and then transformed into the eigenbasis,
  # so that the stored half has the phases and the variance of the whole.
  B = scale * _lecun(key_B, (size, H))
  params = {
    "Lambda_re": jnp.asarray(Lambda.real, jnp.float32),
    "Lambda_im": jnp.asarray(Lambda.imag, jnp.float32),
    "B": jnp.stack(
      [jnp.asarray(part, jnp.float32) @ B for part in (V_inv.real, V_inv.imag)],
      axis=-1,
    ),
    "D": jax.random.normal(key_D, (H,), jnp.float32),
    "log_step": discretize.log_step_sizes(key_step, (P, 1), config),
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
  # The fan-in that the code's initializers see: the states for one row drawn at
  # a time, the states times the rows for all rows drawn together.
  rows = H if config.c_init == "lecun_normal" else 1
  C = _lecun(key, (H, size, 2)) / math.sqrt(rows * size)
  V_re, V_im = (np.asarray(part, np.float32) for part in (V.real, V.imag))
  re, im = C[..., 0], C[..., 1]
  return jnp.stack([re @ V_re - im @ V_im, re @ V_im + im @ V_re], axis=-1)


@contract.initial_state
def initial_state(config, batch_shape=(), dtype=jnp.float32):
  """Returns the state of a fresh sequence: complex zeros (*batch, P)."""
  shape = (*batch_shape, config.num_states)
  return jnp.zeros(shape, jnp.result_type(dtype, jnp.complex64))


@contract.apply(Config, init, initial_state)
def apply(
  config,
  params,
  x,
  state=None,
  reset=None,
  *,
  axis=None,
  gaps=None,
  mask=None,
):
  """Runs over a sequence.

  In a bidirectional model, elements on one side of a reset do not see those on
  the other side, in both directions.

  Options:
    gaps: (*batch, time) time since the previous element, in units of the step
      size, for irregularly sampled sequences (appendix G.3 of the paper); 1
      everywhere if None. The first gap of a fresh sequence is 1 by convention.
    mask: (*batch, time) bool, False in the padding at the end of a row, which a
      bidirectional model reads as zeros, with gaps of 1; a causal one never
      sees it.
  """
  contract.check_mask(mask, x)
  if gaps is not None and jnp.shape(gaps) != x.shape[:-1]:
    expected = f"{x.shape[:-1]}, that of x without features"
    raise contract.error("gaps", f"shape {jnp.shape(gaps)}", expected)
  run = _regular if gaps is None else _irregular
  if not config.bidirectional:
    return run(config, params, params["C"], x, state, reset, gaps, False, axis)
  if mask is not None:
    x = jnp.where(mask[..., None], x, 0)
    gaps = None if gaps is None else jnp.where(mask, gaps, 1)
  C1, C2 = _directions(config, params)
  y1, state = run(config, params, C1, x, state, reset, gaps, False)
  fresh = jnp.zeros_like(state)
  # Backward, element t is processed after t + 1: the flag and the gap between t
  # and t + 1 belong to t.
  if reset is not None:
    reset = jnp.roll(reset, -1, axis=-1).at[..., -1].set(False)
  if gaps is not None:
    gaps = jnp.roll(gaps, -1, axis=-1).at[..., -1].set(1)
  without_D = {**params, "D": None}
  y2, _ = run(config, without_D, C2, x, fresh, reset, gaps, True)
  return y1 + y2, state


@contract.step(Config, init, initial_state)
def step(config, params, x, state, reset=None, *, gaps=None):
  """Consumes one element; `apply` without the time axis.

  Options:
    gaps: (*batch,) or None, as in `apply`.
  """
  dtype = contract.wide_dtype(x)
  Lambda_bar, factor = _discretize(config, params, dtype, gaps)
  # Of narrow products the matrix is rounded with its factors, as in a scan.
  folded = gaps is None and x.dtype != dtype
  B, C = _step_matrices(config, params, dtype, factor if folded else None)
  re, im = jnp.split(_product(x, B), 2, axis=-1)
  Bu = jax.lax.complex(re, im) if folded else factor * jax.lax.complex(re, im)
  state = recurrence.linear_step(Lambda_bar, Bu, state, reset=reset)
  parts = jnp.concatenate([jnp.real(state), -jnp.imag(state)], axis=-1)
  y = _product(parts.astype(x.dtype), C)
  return y + params["D"] * x.astype(dtype), state


def tree(
  config: Config,
  params: contract.Params,
  x: jax.Array,
  state: jax.Array,
  nodes: recurrence.Tree,
) -> tuple[jax.Array, jax.Array]:
  """Consumes a tree of elements, x (*batch, nodes, H).

  Returns:
    y of x's shape, and the states after all nodes, for `commit`.
  """

  def scan(a, b, state):
    states = recurrence.tree_linear_scan(a, b, state, nodes)
    return states, states

  y, states = _stored(config, params, params["C"], x, state, None, scan)
  return y.astype(x.dtype), states


def commit(
  config: Config,
  residue: jax.Array,
  state: jax.Array,
  nodes: recurrence.Tree,
  node: jax.Array,
) -> jax.Array:
  """Returns the state after one node (*batch,) of each row of a tree."""
  del config, state, nodes
  return recurrence.after_node(residue, node, node.ndim)


def _step_matrices(config, params, dtype, factor=None):
  """Real matrices (H, 2 P) and (2 P, H) of B and C for single steps."""
  # With factors (P,) those of the inputs are in B. The barrier keeps XLA from
  # putting the transpositions into the products of a single row, which are
  # several times slower so on a CPU. A loop over steps makes the matrices once.
  B = params["B"].astype(dtype)
  C = _factor(config) * params["C"].astype(dtype)
  parts = B[..., 0], B[..., 1]
  if factor is not None:
    B_bar = factor[:, None] * jax.lax.complex(*parts)
    parts = jnp.real(B_bar), jnp.imag(B_bar)
  B = jnp.concatenate(parts).T
  C = jnp.concatenate([C[..., 0], C[..., 1]], axis=-1).T
  return jax.lax.optimization_barrier((B, C))


def _discretize(config, params, dtype, gaps=None):
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
  dtype = contract.wide_dtype(x)
  Lambda_bar, factor = _discretize(config, params, dtype)
  B = params["B"].astype(dtype)
  B_bar = factor[:, None] * jax.lax.complex(B[..., 0], B[..., 1])
  C = _factor(config) * C.astype(dtype)
  C = jax.lax.complex(C[..., 0], C[..., 1])
  options = {"D": params["D"], "axis": axis, "reset": reset, "reverse": reverse}
  return recurrence.lti_scan(Lambda_bar, B_bar, C, x, state, **options)


def _irregular(config, params, C, x, state, reset, gaps, reverse, axis=None):
  """Result of `_regular` with a step size per element; states are stored."""
  scan = functools.partial(
    recurrence.linear_scan, axis=axis, reset=reset, reverse=reverse
  )
  return _stored(config, params, C, x, state, gaps, scan)


def _stored(config, params, C, x, state, gaps, scan):
  """Any scan with stored states, and its read-out."""
  dtype = contract.wide_dtype(x)
  Lambda_bar, factor = _discretize(config, params, dtype, gaps)
  Bu = factor * _project(params["B"], x)
  states, state = scan(Lambda_bar, Bu, state)
  y = _read_out(config, C, states, x.dtype)
  if params["D"] is not None:
    y = y + params["D"] * x.astype(dtype)
  return y, state


def _factor(config):
  """Each kept state stands for itself and its conjugate."""
  return 2 if config.conj_sym else 1


def _project(B, u):
  """Products B u for real u (..., H): (..., P) complex."""
  B = B.astype(contract.wide_dtype(u))
  return jax.lax.complex(*(_product(u, B[..., i].T) for i in (0, 1)))


def _product(x, w):
  """The matrix product, at least float32."""
  if x.dtype == contract.wide_dtype(x):
    return x @ w
  return recurrence.dense(x, w, wide=True)


def _read_out(config, C, states, dtype):
  """Real parts of C x by products in `dtype`, of both of a pair: (..., H)."""
  re, im = jnp.real(states), jnp.imag(states)
  C = _factor(config) * C.astype(re.dtype)
  re, im = (
    _product(part.astype(dtype), C[..., i].T) for i, part in enumerate((re, im))
  )
  return re - im


def _directions(config, params):
  """Output matrices of the forward and the backward pass, (H, P, 2) each."""
  if "C1" in params:
    return params["C1"], params["C2"]
  P = config.num_states
  return params["C"][:, :P], params["C"][:, P:]
