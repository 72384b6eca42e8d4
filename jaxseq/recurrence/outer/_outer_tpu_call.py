"""Calls of the kernels of `outer_scan` on TPUs, and what they store."""

from collections.abc import Callable

import jax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
import jax.numpy as jnp

from jaxseq.recurrence.outer import _outer_products
from jaxseq.recurrence.platform import support

# Bytes that a program may take: less than the chips have (128 MiB on v5e), more
# than the compiler gives by itself.
_VMEM = 96 * 2**20


def store_defined(
  reset: bool,
  attempt: Callable[[bool], tuple[list, list[jax.Array]]],
  store: Callable[[list], None],
) -> None:
  """Stores what is computed from the arrays as they are, if it is defined."""
  results, worth = attempt(False)
  if not reset:
    store(results)
    return
  count = sum(jnp.sum(_outer_products.broken(x)) for x in worth)
  pl.when(count == 0)(lambda: store(results))
  pl.when(count > 0)(lambda: store(attempt(True)[0]))


@support.in_32_bits
def call(
  name: str,
  form: support.Form,
  kernel: Callable[..., None],
  grid: tuple[int, ...],
  in_specs: list[pl.BlockSpec],
  out_specs: list[pl.BlockSpec],
  shapes: list[jax.ShapeDtypeStruct],
  scratch: list[pltpu.VMEM],
  arguments: list[jax.Array],
) -> list[jax.Array]:
  """Calls a kernel over a grid, of which axes from the third go in order."""
  shapes = [support.varying(arguments[0], x.shape, x.dtype) for x in shapes]
  order = ("parallel", "parallel") + ("arbitrary",) * (len(grid) - 2)
  return pl.pallas_call(
    kernel,
    out_shape=shapes,
    grid=grid,
    in_specs=in_specs,
    out_specs=out_specs,
    scratch_shapes=scratch,
    compiler_params=pltpu.CompilerParams(
      dimension_semantics=order, vmem_limit_bytes=_VMEM
    ),
    interpret=support.interpreter(form),
    name=name,
  )(*arguments)
