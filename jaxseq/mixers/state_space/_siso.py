"""Parameters and passes of S4 and S4D, with one system per channel."""

from collections.abc import Callable
import dataclasses
import functools
from typing import Literal
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers.state_space import discretize

_DType = jax.typing.DTypeLike

# Smallest distance of an initial eigenvalue from the imaginary axis.
_FLOOR = 1e-4


def _softplus_inverse(x):
  # Also if exp(x) would round to 1.
  return x + np.log(-np.expm1(-x))


# Maps between a parameter and the positive number that it stores.
TRANSFORMS = {
  "exp": (jnp.exp, np.log),
  "softplus": (jax.nn.softplus, _softplus_inverse),
  "relu": (lambda x: jax.nn.relu(x) + _FLOOR, lambda x: x - _FLOOR),
  "none": (lambda x: x, lambda x: x),
}


class System(NamedTuple):
  """Systems in discrete time, as arguments of `recurrence.siso_scan`."""

  A: jax.Array  # (H, N) or (H, N, N)
  B: jax.Array  # (H, N)
  C: jax.Array  # (directions, H, N), where y = Re(C x)
  kernel: Callable[[int], jax.Array]  # length to (directions, H, length)


@dataclasses.dataclass(frozen=True)
class Config(discretize.StepSizes):
  """Options of both S4 and S4D.

  Attributes:
    d_state: states per channel, including conjugates, N; even.
    n_ssm: number of different systems except for C, D and step size; channel h
      has system h modulo n_ssm. One per channel if None.
    real_transform: function from the parameter to -Re(Lambda): "exp",
      "softplus", "relu" (plus 1e-4) or "none".
    dt_transform: function from the parameter to the step size: "exp" or
      "softplus".
    step_rescale: factor on all step sizes; 2 runs a model on every second
      sample of the signal that it was trained on.
    bidirectional: whether there is a second kernel for later elements; not
      causal, so it has no `step` and no state.
    method: how a sequence without resets is run: "convolution" (by FFT),
      "chunks" (matrix products, with the state carried from chunk to chunk) or
      "auto". With resets it is always "chunks". They agree to rounding.
  """

  d_state: int = 64
  n_ssm: int | None = None
  init: str = ""
  real_transform: Literal["exp", "softplus", "relu", "none"] = "exp"
  dt_transform: Literal["exp", "softplus"] = "exp"
  step_rescale: float = 1.0
  bidirectional: bool = False
  method: Literal["auto", "convolution", "chunks"] = "auto"

  def __post_init__(self):
    super().__post_init__()
    if self.d_state % 2:
      raise contract.error("d_state", self.d_state, "an even number")
    contract.divisor("n_ssm", self.copies, d_model=self.d_model)

  @property
  def copies(self) -> int:
    """Number of different systems in a layer."""
    return self.d_model if self.n_ssm is None else self.n_ssm


def to_channels(config: Config, x: jax.Array) -> jax.Array:
  """(..., n_ssm, N) -> (..., H, N): channel h has copy h modulo n_ssm."""
  repeats = config.d_model // config.copies
  return jnp.tile(x, (1,) * (x.ndim - 2) + (repeats, 1))


def to_pair(z: np.ndarray, shape: tuple[int, ...]) -> jax.Array:
  """Complex numpy array -> float32 real and imaginary part, (*shape, 2)."""
  z = np.broadcast_to(z, shape)
  return jnp.asarray(np.stack([z.real, z.imag], -1), jnp.float32)


def from_pair(x: jax.Array, dtype: _DType) -> jax.Array:
  """(..., 2) -> (...) complex with parts of that dtype."""
  x = x.astype(dtype)
  return lax.complex(x[..., 0], x[..., 1])


def init_Lambda(config: Config, Lambda: np.ndarray) -> dict[str, jax.Array]:
  """Parameters of the eigenvalues (N,), (n_ssm, N) each."""
  _, store = TRANSFORMS[config.real_transform]
  shape = config.copies, Lambda.size
  re = store(np.maximum(-Lambda.real, _FLOOR))
  return {
    "Lambda_re": jnp.asarray(np.broadcast_to(re, shape), jnp.float32),
    "Lambda_im": jnp.asarray(np.broadcast_to(Lambda.imag, shape), jnp.float32),
  }


def real_part(
  config: Config, params: contract.Params, dtype: _DType
) -> jax.Array:
  """Real part of Lambda, (n_ssm, N)."""
  load, _ = TRANSFORMS[config.real_transform]
  return -load(params["Lambda_re"].astype(dtype))


def complex_Lambda(
  config: Config, params: contract.Params, dtype: _DType
) -> jax.Array:
  """Lambda, (n_ssm, N) complex."""
  re = real_part(config, params, dtype)
  return lax.complex(re, params["Lambda_im"].astype(dtype))


def init_step(
  key: jax.Array, config: Config, shape: tuple[int, ...]
) -> jax.Array:
  """Step sizes as they are stored, log-uniform in [dt_min, dt_max]."""
  log_step = discretize.log_step_sizes(key, shape, config)
  if config.dt_transform == "exp":
    return log_step
  return discretize.inverse_softplus(jnp.exp(log_step))


def step_sizes(
  config: Config, params: contract.Params, dtype: _DType
) -> jax.Array:
  """Step sizes at the current sampling rate, in the shape of the parameter."""
  load, _ = TRANSFORMS[config.dt_transform]
  return config.step_rescale * load(params["log_step"].astype(dtype))


def bind(
  config_type: type,
  init: Callable[..., contract.Params],
  initial_state: Callable[..., jax.Array],
  discrete: Callable[..., System],
  join: Callable[[jax.Array], jax.Array] = lambda state: state,
  split: Callable[[jax.Array], jax.Array] = lambda state: state,
) -> contract.Apply:
  """Function `apply`, by systems in discrete time on joined states."""

  @contract.apply(config_type, init, initial_state, fresh=False)
  def apply(config, params, x, state=None, reset=None, *, axis=None, mask=None):
    """Runs over a sequence.

    In a bidirectional model, elements on one side of a reset do not see those
    on the other side, in both directions.

    Options:
      mask: (*batch, time) bool; elements with False, such as padding, are read
        as zeros.
    """
    contract.check_mask(mask, x)
    if mask is not None:
      x = jnp.where(mask[..., None], x, 0)
    if state is not None:
      state = join(state)
    system = discrete(config, params, contract.wide_dtype(x))
    y, state = run(config, system, x, state, reset, axis)
    y = contract.pointwise(_with_input, x, y, params["D"])
    return y, split(state)

  return contract.of_module(config_type, apply=apply)[0]


def put_back(reset: jax.Array | None, state: jax.Array) -> jax.Array:
  """Zeros if `reset` is set, else `state` (*reset.shape, H, N)."""
  if reset is None:
    return state
  # A select: an infinite or undefined state must not survive.
  return jnp.where(reset[..., None, None], jnp.zeros_like(state), state)


def _with_input(u, y, D):
  """Returns y + D u: the feed-through of every channel."""
  return y + D.astype(u.dtype) * u


def choose_method(time: int, init: str, *, carried: bool) -> str:
  """Method that "auto" means for sequences without resets."""
  # `benchmarks/s4.py` prints the timings of both for the machine it runs on. On
  # a CPU the convolution took half the time of the chunks for the gradient at
  # 1024 elements. With a given state it would have to add the response to that,
  # which the chunks compute anyway. For accelerators there are no timings.
  # The eigenvalues of LegT's normal part are on the imaginary axis, where the
  # low-rank correction of S4's kernel cancels a part of the diagonal: errors of
  # 2e-3 in float32 at 16384 elements, against 4e-6 by chunks.
  if carried or init == "legt":
    return "chunks"
  # A sequence that fits one chunk is one matrix product there.
  return "chunks" if time <= 64 else "convolution"


def run(
  config: Config,
  system: System,
  u: jax.Array,
  state: jax.Array | None,
  reset: jax.Array | None,
  axis: str | None = None,
) -> tuple[jax.Array, jax.Array]:
  """Runs `recurrence.siso_scan` in one or both directions."""
  # The second direction runs backward and excludes the present element, as in
  # the code of S4. The configuration's `method` is used only without resets;
  # with resets or a split of time (in one direction only) the pass is by
  # chunks.
  A, B, C, _ = system
  scan = functools.partial(recurrence.siso_scan, reset=reset, axis=axis)
  if axis is not None:
    return scan(A, B, C[0], u, state)
  method = config.method
  if method == "auto":
    method = choose_method(u.shape[-2], config.init, carried=state is not None)
  if reset is None and method == "convolution":
    return _convolve(system, u, state)
  y, final = scan(A, B, C[0], u, state)
  if len(C) == 2:
    y = y + _backwards(A, B, C[1], u, reset)
  return y, final


def _convolve(system, u, state):
  A, B, C, kernel = system
  time = u.shape[-2]
  K = kernel(time)
  y = recurrence.fft_convolution(u, K[0], K[1] if len(K) == 2 else None)
  if state is not None:
    flat = state.reshape(-1, *state.shape[-2:])
    seen = jax.vmap(lambda x: recurrence.siso_kernel(A, x, C[0], time))(
      _after(A, flat)
    )
    y = y + jnp.swapaxes(seen, 1, 2).reshape(u.shape)
  # If only the state is used, the outputs are never computed, and vice versa.
  _, final = recurrence.siso_scan(A, B, C[0], u, state)
  return y, final


def _after(A, x):
  """Products A x for x (rows, H, N)."""
  if A.ndim == 2:
    return A * x
  return jnp.einsum("hij,bhj->bhi", A, x, precision="highest")


def _backwards(A, B, C, u, reset):
  """Sums y_t over s > t in t's episode of Re(C A^(s-t-1) B) u_s."""
  if reset is not None:
    # The elements after t are another episode if t + 1 starts one.
    ends = jnp.roll(reset, -1, axis=-1).at[..., -1].set(True)
    reset = jnp.flip(ends, -1)
  y, _ = recurrence.siso_scan(A, B, C, jnp.flip(u, -2), reset=reset)
  y = jnp.roll(jnp.flip(y, -2), -1, axis=-2).at[..., -1, :].set(0)
  return y if reset is None else jnp.where(ends[..., None], 0, y)
