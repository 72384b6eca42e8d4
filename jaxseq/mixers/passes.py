"""Builds `apply` and `step` of a mixer, and its trees, from one function.

It gets `over`, which runs recurrences over a sequence, one element or a tree:
`over(recurrence.causal_conv, x, weight, bias, window, reset)`, with arguments
as for sequences, (*batch, time, heads, n) if there are heads. A scan that is
not part of the package comes with its function of one element, `over(scan, q,
k, v, state, reset=reset, step=step)`, see `make`.
"""

from collections.abc import Callable
import functools
from typing import Any

import jax
import jax.numpy as jnp

from jaxseq import recurrence
from jaxseq.mixers import contract
from jaxseq.mixers import head_parts
from jaxseq.types import PyTree


def make(
  config_type: type,
  init: Callable[..., contract.Params],
  initial_state: Callable[..., PyTree],
  run: Callable[..., tuple[jax.Array, PyTree]],
  **options: Any,
) -> tuple[contract.Apply, contract.Step]:
  """Builds a mixer's `apply` and `step` from one function.

  Args:
    config_type: the mixer's Config.
    init: the mixer's function of this name.
    initial_state: the mixer's function of this name.
    run: the function of both, `run(over, config, params, x, state, reset)`.
      Parameters are float32 or wider. The first lines of its docstring are
      those of `apply`.
    **options: of `apply`, the decorator.

  In `apply`, `over(scan, *arrays, state, reset=reset, step=step)` calls
  `scan(*arrays, state, reset=reset, axis=axis)` with the arrays of `run`:
  (*batch, time, heads, n) after `head_parts.split`, with reset (*batch, time).
  In `step` it calls `step(*arrays, state, reset=reset)` without the time axis.
  Both return outputs and the last state. `step` may be omitted for scans of
  `jaxseq.recurrence` such as `linear_scan`; an error lists them. A scan that
  needs heads before time moves them itself, and repeats the flags for each head
  by `head_parts.resets`; docs/recurrences.md has an example.
  """

  def whole(config, params, x, state=None, reset=None, *, axis=None):
    params = contract.cast(params, contract.wide_dtype(x))
    over = functools.partial(over_sequence, axis=axis)
    return run(over, config, params, x, state, reset)

  whole.__doc__ = run.__doc__
  decorator = contract.apply(config_type, init, initial_state, **options)

  @contract.step(config_type, init, initial_state)
  def single(config, params, x, state, reset=None):
    """Consumes one element; `apply` without the time axis."""
    params = contract.cast(params, contract.wide_dtype(x))
    return run(over_element, config, params, x, state, reset)

  functions = {"apply": decorator(whole), "step": single}
  return contract.of_module(config_type, **functions)


def step_by(
  config_type: type,
  init: Callable[..., contract.Params],
  initial_state: Callable[..., PyTree],
  apply: contract.Apply,
) -> contract.Step:
  """Makes a mixer's `step` of its `apply`, by `contract.one_element`."""

  @contract.step(config_type, init, initial_state)
  def run(config, params, x, state, reset=None):
    """Consumes one element; `apply` without the time axis."""
    return contract.one_element(apply, config, params, x, state, reset)

  return contract.of_module(config_type, step=run)[0]


def trees(
  config_type: type,
  run: Callable[..., tuple[jax.Array, PyTree]],
  covers: Callable[[Any], bool] = lambda config: True,
) -> tuple[Callable[..., Any], Callable[..., Any]]:
  """Makes `tree` and `commit` of a mixer with a window and a matrix per head.

  Args:
    config_type: the mixer's Config.
    run: as in `make`.
    covers: whether this is so with a configuration; others go level by level.
  """

  def tree(config, params, x, state, nodes):
    """Consumes a tree of elements, x (*batch, nodes, d_model).

    Returns:
      y of x's shape, and the residue for `commit`; NotImplemented with options
      that run level by level.
    """
    if not covers(config):
      return NotImplemented
    params = contract.cast(params, contract.wide_dtype(x))
    over = functools.partial(_over_tree, nodes=nodes)
    y, residue = run(over, config, params, x, state, None)
    return y.astype(x.dtype), residue

  def commit(config, residue, state, nodes, node):
    """Returns the state after one node of each row.

    Args:
      config: as in `tree`.
      residue: from `tree`.
      state: state before the tree.
      nodes: the tree.
      node: (*batch,) numbers of nodes.
    """
    del config
    window, S = state
    if window is not None:
      last = recurrence.after_node(residue[0], node, node.ndim)
      window = last.astype(window.dtype)
    heads = jnp.broadcast_to(node[..., None], (*node.shape, S.shape[-3]))
    last = recurrence.outer_after(*residue[1], S, nodes, heads)
    return type(state)(window, last.astype(S.dtype))

  return contract.of_module(config_type, tree=tree, commit=commit)


def convolved(
  over: Callable[..., Any],
  params: contract.Params,
  x: jax.Array,
  window: jax.Array | None,
  reset: jax.Array | None,
) -> tuple[jax.Array, jax.Array | None]:
  """Returns silu of a causal convolution of x, if there is one, and the window.

  Args:
    over: as in `make`.
    params: with conv_weight (d_conv, n) and, with a bias, conv_bias (n,).
    x: (..., n).
    window: the last inputs before, (*batch, d_conv - 1, n).
    reset: flags, or None.
  """
  if "conv_weight" not in params:
    return x, window

  def run(x, weight, bias, window):
    y, window = over(recurrence.causal_conv, x, weight, bias, window, reset)
    return contract.pointwise(jax.nn.silu, y.astype(x.dtype)), window

  if x.dtype != contract.wide_dtype(x):
    # The gradient recomputes the convolution, and keeps only x.
    run = jax.checkpoint(run)
  return run(x, params["conv_weight"], params.get("conv_bias"), window)


def over_sequence(
  scan: Callable[..., Any],
  *arguments: Any,
  axis: str | None,
  step: Callable[..., Any] | None = None,
  **options: Any,
) -> Any:
  """Runs a recurrence over a sequence, with time split over devices or not."""
  del step
  return scan(*arguments, axis=axis, **options)


def over_element(
  scan: Callable[..., Any],
  *arguments: Any,
  step: Callable[..., Any] | None = None,
  **options: Any,
) -> Any:
  """Runs over one element, by `step`, or by the one of a known scan."""
  step = step or _of_scan(_steps(), scan, "pass its function of one element")
  return step(*arguments, **options)


def _of_scan(functions, scan, remedy):
  """Looks up the function of a scan, or raises an error with a remedy."""
  if scan in functions:
    return functions[scan]
  name = getattr(scan, "__name__", repr(scan))
  known = ", ".join(known.__name__ for known in functions)
  raise ValueError(
    f"scan: got {name}, expected one of {known}; or {remedy},"
    f" over({name}, ..., step=function)."
  )


@functools.cache
def _steps():
  return {
    recurrence.causal_conv: recurrence.causal_conv_step,
    recurrence.delta_scan_heads: of_heads(recurrence.delta_step),
    recurrence.linear_scan: _linear_step,
    recurrence.mlstm_scan_heads: of_heads(recurrence.mlstm_step),
    recurrence.outer_scan_heads: of_heads(recurrence.outer_step),
    recurrence.selective_scan: recurrence.selective_step,
    recurrence.token_shift: recurrence.token_shift_step,
    recurrence.wkv_scan: recurrence.wkv_step,
  }


def of_heads(step: Callable[..., Any]) -> Callable[..., Any]:
  """Makes a step whose batch axes are heads, too; groups share q and k."""

  def run(q, k, v, *rest, reset=None, **options):
    reset = head_parts.resets(reset, v.shape[:-1], time=False)
    q, k = _to_heads(v, q, k)
    return step(q, k, v, *rest, reset=reset, **options)

  return run


def _linear_step(a, b, h, *, reset=None):
  h = recurrence.linear_step(a, b, h, reset=reset)
  return h, h


def _to_heads(x, *groups):
  """Repeats arrays of groups (..., groups, n) for each head of x."""
  heads = x.shape[-2]
  return [jnp.repeat(z, heads // z.shape[-2], axis=-2) for z in groups]


def _over_tree(scan, *arguments, nodes, reset=None):
  if scan is recurrence.causal_conv:
    arguments = arguments[:-1]  # Without flags.
  del reset
  return _trees()[scan](*arguments, nodes)


@functools.cache
def _trees():
  return {
    recurrence.causal_conv: recurrence.tree_causal_conv,
    recurrence.delta_scan_heads: _delta_tree,
    recurrence.outer_scan_heads: _outer_tree,
  }


def _delta_tree(q, k, v, read, decay, state, nodes):
  elements = q, k, v, read, decay
  q, k, v, read, decay = jax.tree.map(_heads_first, elements)
  o, u = recurrence.tree_delta_scan(q, k, v, read, decay, state, nodes)
  return _heads_first(o).astype(q.dtype), (k, u, decay)


def _outer_tree(q, k, v, decay, state, nodes):
  q, k = _to_heads(v, q, k)
  q, k, v, decay = map(_heads_first, (q, k, v, decay))
  o = recurrence.tree_outer_scan(q, k, v, decay, state, nodes)
  return _heads_first(o).astype(v.dtype), (k, v, decay)


def _heads_first(x):
  return jnp.swapaxes(x, -2, -3)
