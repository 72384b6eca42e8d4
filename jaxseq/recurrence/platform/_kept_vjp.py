"""Derivatives of scans by kernels that keep what their gradient needs."""

from collections.abc import Callable
import functools
from typing import Any

import jax


def differentiable(
  forward: Callable[..., Any],
  gradient: Callable[..., Any],
  plain_gradient: Callable[..., Any],
) -> Callable[..., Any]:
  """Makes a scan with a gradient by kernels, and a second derivative."""
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

  def pulled_backward(options, residuals, cotangents):
    _, pull = jax.vjp(functools.partial(plain_gradient, options), *residuals)
    d_x, d_given = pull(cotangents)
    return d_x._replace(reset=None), None, d_given

  scan.defvjp(scan_forward, scan_backward)
  keeping.defvjp(keeping_forward, keeping_backward)
  pulled.defvjp(pulled_forward, pulled_backward)
  return scan
