"""Derivatives of kernel functions that save residuals for the gradient."""

from collections.abc import Callable
import functools
from typing import Any
from typing import NamedTuple

import jax

from jaxseq.recurrence.platform import support


class Options(NamedTuple):
  """Static options of a scan of matrix states by kernels."""

  form: support.Form
  chunk_size: int
  plain: Callable[..., Any]  # the scan without kernels


def differentiable(
  forward: Callable[..., Any],
  gradient: Callable[..., Any],
  plain: Callable[..., Any],
  *,
  flags: str = "reset",
  compiled: bool = True,
) -> Callable[..., Any]:
  """Returns `scan(options, x)`, which is differentiable twice."""
  # `forward(options, x, keeps)` returns the results and the residuals, from
  # which `gradient(options, x, saved, cotangents)` computes cotangents like x,
  # with None for its `flags`. The derivative of the gradient is that of the
  # gradient of `plain(options, x)`, the results without kernels.
  if compiled:  # Layers of one shape share the slow lowering.
    forward = jax.jit(forward, static_argnums=(0, 2))
    gradient = jax.jit(gradient, static_argnums=0)
  static = functools.partial(jax.custom_vjp, nondiff_argnums=(0,))

  @static
  def scan(options, x):
    return forward(options, x, False)[0]

  @static
  def keeping(options, x):
    return forward(options, x, True)

  @static
  def pulled(options, x, saved, cotangents):
    return gradient(options, x, saved, cotangents)

  def scan_forward(options, x):
    results, saved = keeping(options, x)
    return results, (x, saved)

  def scan_backward(options, residuals, cotangents):
    return (pulled(options, *residuals, cotangents),)

  def keeping_forward(options, x):
    results, saved = keeping(options, x)
    return (results, saved), (x, saved)

  def keeping_backward(options, residuals, cotangents):
    return scan_backward(options, residuals, cotangents[0])

  def pulled_forward(options, x, saved, cotangents):
    return pulled(options, x, saved, cotangents), (x, cotangents)

  def pulled_backward(options, residuals, again):
    x, cotangents = residuals

    def run(floats):
      return plain(options, floats._replace(**{flags: getattr(x, flags)}))

    def plain_gradient(floats, cotangents):
      return jax.vjp(run, floats)[1](cotangents)[0]

    floats = x._replace(**{flags: None})
    d_x, d_cotangents = jax.vjp(plain_gradient, floats, cotangents)[1](again)
    # The residuals are functions of the other arguments.
    return d_x, None, d_cotangents

  scan.defvjp(scan_forward, scan_backward)
  keeping.defvjp(keeping_forward, keeping_backward)
  pulled.defvjp(pulled_forward, pulled_backward)
  return scan


def of_matrix_states(layout: Callable[..., Any]) -> Callable[..., Any]:
  """Returns the scan by the kernels of the module `layout(form, x)`."""

  def forward(options, x, keeps):
    form, chunk_size, _ = options
    o, final, saved = layout(form, x).forward(form, chunk_size, x, keeps)
    return (o, final), saved

  def gradient(options, x, saved, cotangents):
    form, chunk_size, _ = options
    return layout(form, x).backward(form, chunk_size, x, saved, *cotangents)

  def plain(options, x):
    *floats, reset = x
    how = {"method": "chunked", "chunk_size": options.chunk_size}
    return options.plain(*floats, reset=reset, **how)

  return differentiable(forward, gradient, plain)
