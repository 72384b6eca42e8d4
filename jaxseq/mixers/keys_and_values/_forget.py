"""Parts of the Forgetting Transformer's attention: forget gates and shifts.

  f = logsigmoid(W_f x + b_f)                         per head, added to scores
  k_t = a_t W_k x_{t-1} + (1 - a_t) W_k x_t,  a = sigmoid(W_s x)     v likewise

Lin et al., "Forgetting Transformer: Softmax attention with a forget gate",
arXiv:2503.02130, and its code for the shifts, which come before the norm of
keys. The code does not shift from a state if several elements follow; this
module always does.
"""

import math
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import _serialization
from jaxseq import recurrence
from jaxseq.mixers import contract


@_serialization.exported("jaxseq.mixers.attention.ShiftState")
class ShiftState(NamedTuple):
  """State of attention with shifted keys or values.

  Attributes:
    window: the state without shifts.
    key: (*batch, kv_heads d_head), the last key before shift and norm; or None.
    value: (*batch, kv_heads d_head), the last value before its shift; or None.
  """

  window: recurrence.WindowState | recurrence.FadingWindowState
  key: jax.Array | None
  value: jax.Array | None


def check(config: Any) -> None:
  """Checks the options of gates and shifts."""
  gate, times = config.forget_gate, config.decay_times
  if times is not None:
    times = tuple(times)  # Hashable, for any sequence.
    if len(times) != 2 or not 0 < times[0] <= times[1] < math.inf:
      expected = "(shortest, longest), 0 < shortest <= longest"
      raise contract.error("decay_times", times, expected)
    object.__setattr__(config, "decay_times", times)
  elif gate in ("bias_only", "fixed"):
    expected = f"(shortest, longest) with forget_gate = {gate!r}"
    raise contract.error("decay_times", None, expected)
  if gate != "none" and (config.select != "all" or config.key_format):
    expected = "'none' with select or key_format"
    raise contract.error("forget_gate", gate, expected)
  shifts = config.key_shift or config.value_shift
  if config.bidirectional and (gate != "none" or shifts):
    expected = "False with a forget_gate, key_shift or value_shift"
    raise contract.error("bidirectional", True, expected)


def init(key: jax.Array, config: Any) -> contract.Params:
  """Draws those of W_f, b_f, W_k_shift and W_v_shift that options need."""
  draw = contract.Draws(key, "f k_shift v_shift")
  params = {}
  if config.forget_gate == "full":
    params["W_f"] = draw("f", config.d_model, config.heads)
    params["b_f"] = contract.zeros(config.heads)
  if config.decay_times and config.forget_gate in ("full", "bias_only"):
    # The sigmoid of the bias is exp(-1 / time).
    rate = 1 / _times(config)
    bias = -rate - np.log(-np.expm1(-rate))
    params["b_f"] = jnp.asarray(bias, jnp.float32)
  for name in _shifted(config):
    params[f"W_{name}"] = draw(name, config.d_model, config.groups)
  return params


def initial(config: Any, window: Any, dtype: jax.typing.DTypeLike) -> Any:
  """Returns a fresh state, of that without gates and shifts."""
  *batch, groups, width = window.values.shape
  if config.forget_gate != "none":
    fades = jnp.zeros((*batch, config.heads), dtype)
    window = recurrence.FadingWindowState(*window, fades)
  if not (names := _shifted(config)):
    return window
  # An array for each: both may be donated.
  shape = *batch[:-1], groups * width
  key, value = (
    jnp.zeros(shape, dtype) if name in names else None
    for name in ("k_shift", "v_shift")
  )
  return ShiftState(window, key, value)


def gates(params: contract.Params, x: jax.Array) -> jax.Array:
  """Log forget gates (..., heads) that x says, in float32 or wider."""
  logits = recurrence.dense(x, params["W_f"], params["b_f"], wide=True)
  return jax.nn.log_sigmoid(logits)


def decays(
  config: Any, params: contract.Params, x: jax.Array
) -> jax.Array | None:
  """Log forget gates (..., heads), or None without a gate."""
  if config.forget_gate == "none":
    return None
  if config.forget_gate == "full":
    return gates(params, x)
  if config.forget_gate == "fixed":
    decay = jnp.asarray(-1 / _times(config), contract.wide_dtype(x))
  else:
    decay = jax.nn.log_sigmoid(params["b_f"])
  decay = decay.astype(contract.wide_dtype(x, decay))
  # Before the broadcast: devices then exchange only one gradient per head.
  decay = contract.varying_as(x, decay)
  return jnp.broadcast_to(decay, (*x.shape[:-1], config.heads))


def shift(
  params: contract.Params,
  x: jax.Array,
  raw: dict[str, jax.Array],
  state: ShiftState | None,
  reset: jax.Array | None,
  axis: str | None,
) -> tuple[dict[str, jax.Array], list[jax.Array | None]]:
  """Mixes keys and values of elements with those of the previous elements.

  Args:
    params: of the layer.
    x: (*batch, time, d_model).
    raw: "k" and "v", (*batch, time, kv_heads d_head), before all norms.
    state: state before the first element; None for no elements.
    reset: (*batch, time) bool or None.
    axis: name of the mesh axis over which time is split, or None.

  Returns:
    `raw` with the shifted arrays replaced, and the last key and value.
  """
  lasts = [None, None] if state is None else [state.key, state.value]
  raw = dict(raw)
  for i, name in enumerate("kv"):
    if f"W_{name}_shift" not in params:
      continue
    y, last = raw[name], lasts[i]
    if last is None:
      last = jnp.zeros_like(y[..., 0, :], contract.wide_dtype(y))
    before, lasts[i] = recurrence.token_shift(y, last, reset, axis=axis)
    share = recurrence.dense(x, params[f"W_{name}_shift"], wide=True)
    raw[name] = contract.pointwise(_mixed, y, before, share)
  return raw, lasts


def _mixed(y, before, share):
  """Mixes heads (..., groups d) and previous ones by logits (..., groups)."""
  share = jax.nn.sigmoid(share)[..., None]
  heads = y.reshape(*share.shape[:-1], -1)
  heads = share * before.reshape(heads.shape) + (1 - share) * heads
  return heads.reshape(y.shape)


def _shifted(config):
  """Returns the names of the enabled shifts."""
  flags = {"k_shift": config.key_shift, "v_shift": config.value_shift}
  return [name for name, on in flags.items() if on]


def _times(config):
  """Number of elements in which each head decays to 1 / e."""
  return np.geomspace(*config.decay_times, config.heads)
