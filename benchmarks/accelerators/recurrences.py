"""The recurrences that are timed: arguments, how to run them, what is true.

Each entry of `OPS` is named as on the command line. The sizes are B sequences
of T elements, and what else the recurrence has.
"""

from collections.abc import Callable
import dataclasses
import functools
import inspect
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.accelerators.arrays import Array
from jaxseq import mixers
from jaxseq import recurrence
from jaxseq.recurrence import reference
from jaxseq.recurrence.attention import window
from jaxseq.recurrence.averages import softmax_outer
from jaxseq.recurrence.delta import delta
from jaxseq.recurrence.gated import gated
from jaxseq.recurrence.linear import linear
from jaxseq.recurrence.mlstm import matrix_lstm

Arguments = dict[str, Any]
Sizes = dict[str, int]


@dataclasses.dataclass(frozen=True)
class Op:
  """A recurrence.

  Attributes:
    arrays: arguments by names, from sizes and the dtype of activations.
    run: outputs and last state, from sizes, the public function's options,
      whether the plain steps of `recurrence.reference` are taken instead, and
      arguments.
    scan: the public function, whose signature says what options there are.
    choices: methods of `scan`.
    exps: exponentials of a forward pass that no form of it can avoid.
    steps: products of a state with a matrix that wait for each other.
  """

  arrays: Callable[[Sizes, str], dict[str, Array]]
  run: Callable[..., Any]
  scan: Callable[..., Any]
  choices: tuple[str, ...] = linear.METHODS
  exps: Callable[[Sizes], int] = lambda sizes: 0
  steps: Callable[[Sizes], int] = lambda sizes: 0

  def methods(self) -> tuple[str, ...]:
    """What "auto" may take; ("auto",) where there is nothing to choose."""
    if "method" not in inspect.signature(self.scan).parameters:
      return ("auto",)
    return tuple(name for name in self.choices if name != "auto")

  def how(self, method: str) -> dict[str, str]:
    """The options of `scan` that name a method."""
    if "method" not in inspect.signature(self.scan).parameters:
      return {}
    return {"method": method}


def _linear_arrays(sizes, dtype):
  shape = sizes["B"], sizes["T"], sizes["n"]
  return {
    "a": Array(shape, "decays"),
    "b": Array(shape),
    "reset": _reset(sizes),
  }


def _reset(sizes):
  return Array((sizes["B"], sizes["T"]), "flags", "bool", learned=False)


def _run_linear(sizes, how, plain, a, b, reset):
  scan = reference.linear_scan if plain else recurrence.linear_scan
  return scan(a, b, reset=reset, **how)


def _lti_arrays(sizes, dtype):
  P, H = sizes["P"], sizes["H"]
  return {
    "Lambda_bar": Array((P,), "eigenvalues", "complex64"),
    "B_bar": Array((P, H), "complex_weights", "complex64"),
    "C": Array((H, P), "complex_weights", "complex64"),
    "u": Array((sizes["B"], sizes["T"], H), dtype=dtype),
    "D": Array((H,)),
    "reset": _reset(sizes),
  }


def _run_lti(sizes, how, plain, Lambda_bar, B_bar, C, u, D, reset):
  scan = reference.lti_scan if plain else recurrence.lti_scan
  return scan(Lambda_bar, B_bar, C, u, D=D, reset=reset, **how)


def _selective_arrays(sizes, dtype):
  B, T, D, N = (sizes[name] for name in "BTDN")
  return {
    "x": Array((B, T, D), dtype=dtype),
    "delta": Array((B, T, D), "steps", dtype),
    "A": Array((D, N), "poles"),
    "B": Array((B, T, N), dtype=dtype),
    "C": Array((B, T, N), dtype=dtype),
    "D": Array((D,)),
    "reset": _reset(sizes),
  }


def _run_selective(sizes, how, plain, x, delta, A, B, C, D, reset):
  scan = reference.selective_scan if plain else recurrence.selective_scan
  return scan(x, delta, A, B, C, D=D, reset=reset, **how)


def _outer_arrays(sizes, dtype, *, groups, decays):
  B, T, H, K, V = (sizes[name] for name in "BTHKV")
  keys = (B, T, groups or H, K)
  return {
    "q": Array(keys, "weights", dtype),
    "k": Array(keys, "normal", dtype),
    "v": Array((B, T, H, V), dtype=dtype),
    "decay": Array((B, T, H, decays or K), "log_decays"),
    "reset": _reset(sizes),
  }


def _run_outer(sizes, how, plain, q, k, v, decay, reset):
  scan = reference.outer_scan_heads if plain else recurrence.outer_scan_heads
  return scan(q, k, v, decay, reset=reset, **how)


def _delta_arrays(sizes, dtype, *, decays):
  B, H, T, K, V = (sizes[name] for name in "BHTKV")
  keys = (B, H, T, K)
  return {
    "q": Array(keys, "weights", dtype),
    "k": Array(keys, "weights", dtype),
    "v": Array((B, H, T, V), dtype=dtype),
    "read": Array(keys, "weights", dtype),
    "decay": Array((B, H, T, decays or K), "log_decays"),
    "reset": Array((B, H, T), "flags", "bool", learned=False),
  }


def _run_delta(sizes, how, plain, q, k, v, read, decay, reset):
  scan = reference.delta_scan if plain else recurrence.delta_scan
  return scan(q, k, v, read, decay, reset=reset, **how)


def _mlstm_arrays(sizes, dtype):
  B, H, T, K, V = (sizes[name] for name in "BHTKV")
  keys, gates = (B, T, H, K), (B, T, H)
  return {
    "q": Array(keys, "weights", dtype),
    "k": Array(keys, "weights", dtype),
    "v": Array((B, T, H, V), dtype=dtype),
    "log_input": Array(gates),
    "log_forget": Array(gates, "log_decays"),
    "reset": _reset(sizes),
  }


def _run_mlstm(sizes, how, plain, reset, **arrays):
  if not plain:
    return recurrence.mlstm_scan_heads(**arrays, reset=reset, **how)
  # Heads are batch axes of the loop over time.
  first = {name: jnp.moveaxis(x, 2, 1) for name, x in arrays.items()}
  flags = jnp.broadcast_to(reset[:, None], first["log_input"].shape)
  h, final = reference.mlstm_scan(**first, reset=flags)
  return jnp.moveaxis(h, 1, 2), final


def _lightnet_arrays(sizes, dtype):
  rows, T, K, V = (sizes[name] for name in "BTKV")
  return {
    "q": Array((rows, T, K), "weights", dtype),
    "logits": Array((rows, T, K), dtype=dtype),
    "k": Array((rows, T, K), dtype=dtype),
    "v": Array((rows, T, V), dtype=dtype),
    "reset": _reset(sizes),
  }


def _run_lightnet(sizes, how, plain, q, logits, k, v, reset):
  scan = (
    reference.softmax_outer_scan if plain else recurrence.softmax_outer_scan
  )
  return scan(q, logits, k, v, reset=reset, **how)


def _aaren_arrays(sizes, dtype):
  B, T, V = (sizes[name] for name in "BTV")
  return {
    "scores": Array((B, T), dtype=dtype),
    "values": Array((B, T, V), dtype=dtype),
    "reset": _reset(sizes),
  }


def _run_aaren(sizes, how, plain, scores, values, reset):
  scan = reference.softmax_scan if plain else recurrence.softmax_scan
  return scan(scores, values, reset=reset, **how)


def _window_arrays(sizes, dtype):
  shape = tuple(sizes[name] for name in "BTHD")
  arrays = {name: Array(shape, dtype=dtype) for name in "qkv"}
  return arrays | {"reset": _reset(sizes)}


def _run_window(sizes, how, plain, q, k, v, reset):
  size = sizes["window"]
  if not plain:
    o, _ = recurrence.window_attention(q, k, v, size, reset=reset, **how)
    return o, ()
  last = jnp.where(reset, jnp.arange(reset.shape[-1]), 0)
  start = jax.lax.cummax(last, axis=1)
  return reference.window_attention(q, k, v, start, size), ()


def _gated_arrays(sizes, dtype, *, gates):
  B, T, H = (sizes[name] for name in "BTH")
  return {
    "x": Array((T, B, H), dtype=dtype),
    "W": Array((H, gates, H), "weights"),
    "R": Array((1, H, gates, H), "weights"),
    "b": Array((gates, H), "zeros"),
    "reset": Array((T, B), "flags", "bool", learned=False),
  }


def _run_gated(sizes, how, plain, x, W, R, b, reset, *, name):
  module = mixers.get(name)
  config = mixers.make_config(name, d_model=x.shape[-1])
  dtype = jnp.promote_types(x.dtype, W.dtype)
  state = module.initial_state(config, x.shape[1:2], dtype)
  state = tuple(leaf[None] for leaf in state)
  params = recurrence.GatedParams(W, b, R)
  scan = reference.gated_scan if plain else recurrence.gated_scan
  return scan(module._CELL, params, state, x, reset=reset, **how)


def _gated(name, gates):
  return Op(
    functools.partial(_gated_arrays, gates=gates),
    functools.partial(_run_gated, name=name),
    recurrence.gated_scan,
    gated.METHODS,
    steps=lambda sizes: sizes["T"],
  )


OPS = {
  "linear": Op(
    _linear_arrays, _run_linear, recurrence.linear_scan, linear.KERNEL_METHODS
  ),
  "lti": Op(_lti_arrays, _run_lti, recurrence.lti_scan, linear.KERNEL_METHODS),
  "selective": Op(
    _selective_arrays,
    _run_selective,
    recurrence.selective_scan,
    linear.KERNEL_METHODS,
    exps=lambda sizes: sizes["B"] * sizes["T"] * sizes["D"] * sizes["N"],
  ),
  "ssd": Op(
    functools.partial(_outer_arrays, groups=1, decays=1),
    _run_outer,
    recurrence.outer_scan_heads,
    linear.KERNEL_METHODS,
  ),
  "gla": Op(
    functools.partial(_outer_arrays, groups=None, decays=None),
    _run_outer,
    recurrence.outer_scan_heads,
    linear.KERNEL_METHODS,
  ),
  "delta": Op(
    functools.partial(_delta_arrays, decays=1),
    _run_delta,
    recurrence.delta_scan,
    delta.METHODS,
  ),
  "kda": Op(
    functools.partial(_delta_arrays, decays=None),
    _run_delta,
    recurrence.delta_scan,
    delta.METHODS,
  ),
  "mlstm": Op(
    _mlstm_arrays,
    _run_mlstm,
    recurrence.mlstm_scan_heads,
    matrix_lstm.METHODS,
  ),
  "lightnet": Op(
    _lightnet_arrays,
    _run_lightnet,
    recurrence.softmax_outer_scan,
    softmax_outer.METHODS,
  ),
  "aaren": Op(_aaren_arrays, _run_aaren, recurrence.softmax_scan),
  "window": Op(
    _window_arrays, _run_window, recurrence.window_attention, window.METHODS
  ),
  "lstm": _gated("lstm", 4),
  "gru": _gated("gru", 3),
  "slstm": _gated("slstm", 4),
}
