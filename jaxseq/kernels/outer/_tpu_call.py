"""Calls of `outer_scan`'s TPU kernels, and stores of their results."""

from collections.abc import Callable
import functools

import jax
from jax.experimental import pallas as pl
import jax.numpy as jnp

from jaxseq.kernels import _tpu
from jaxseq.kernels.outer import _products

# Memory in bytes of a program: less than the chips have (128 MiB on v5e), more
# than the compiler's default.
_VMEM = 96 * 2**20


def store_defined(
  reset: bool,
  attempt: Callable[[bool], tuple[list, list[jax.Array]]],
  store: Callable[[list], None],
) -> None:
  """Stores the results if they are defined, else those without bad inputs."""
  results, worth = attempt(False)
  if not reset:
    store(results)
    return
  count = sum(jnp.sum(_products.broken(x)) for x in worth)
  pl.when(count == 0)(lambda: store(results))
  pl.when(count > 0)(lambda: store(attempt(True)[0]))


call = functools.partial(_tpu.call, vmem=_VMEM)
