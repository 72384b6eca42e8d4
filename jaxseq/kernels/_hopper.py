"""Calls of Hopper kernels, and asynchronous copies."""

from collections.abc import Callable
from collections.abc import Iterable
import functools
from typing import Any

import jax
from jax.experimental.pallas import mosaic_gpu as plgpu
import jax.numpy as jnp

from jaxseq.kernels import _calls
from jaxseq.recurrence.platform import support
from jaxseq.recurrence.shared import _varying

float32 = functools.partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
bfloat16 = functools.partial(jax.ShapeDtypeStruct, dtype=jnp.bfloat16)
# Decays are rounded to 8 bits for the products.
APPROXIMATE = {
  "approx_math": True,
  "lowering_semantics": plgpu.LoweringSemantics.Lane,
}


@_calls.in_32_bits
def call(
  name: str,
  form: support.Form,
  body: Callable[..., None],
  grid: dict[str, int],
  out: Iterable[jax.ShapeDtypeStruct],
  scratch: Any,
  arguments: Iterable[jax.Array],
  like: jax.Array,
  **params: Any,
) -> tuple[jax.Array, ...]:
  """Runs a kernel over a grid of named sizes; results vary like `like`."""
  results = plgpu.kernel(
    body,
    out_type=tuple(out),
    grid=tuple(grid.values()),
    grid_names=tuple(grid),
    scratch_types=scratch,
    compiler_params=plgpu.CompilerParams(**params),
    interpret=_calls.interpreter(form),
    kernel_name=name,
  )(*arguments)
  return tuple(_varying.vary_as(like, x) for x in results)


def fetch(pairs: Iterable[tuple[Any, Any]], barrier) -> None:
  """Starts to copy each first array to the second, in shared memory."""
  for source, target in pairs:
    plgpu.copy_gmem_to_smem(source, target, barrier)
