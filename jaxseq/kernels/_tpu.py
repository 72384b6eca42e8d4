"""Calls of TPU kernels."""

from collections.abc import Callable
from collections.abc import Sequence

import jax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from jaxseq.kernels import _calls
from jaxseq.recurrence.platform import support


@_calls.in_32_bits
def call(
  name: str,
  form: support.Form,
  kernel: Callable[..., None],
  grid: tuple[int, ...],
  in_specs: Sequence[pl.BlockSpec],
  out_specs: Sequence[pl.BlockSpec],
  shapes: Sequence[jax.ShapeDtypeStruct],
  scratch: Sequence[pltpu.VMEM],
  arguments: Sequence[jax.Array],
  like: jax.Array | None = None,
  vmem: int | None = None,
) -> Sequence[jax.Array]:
  """Calls a kernel over a grid whose axes from the third on are sequential."""
  # Results vary over devices like `like`, or like the first argument.
  like = arguments[0] if like is None else like
  order = ("parallel", "parallel") + ("arbitrary",) * (len(grid) - 2)
  return pl.pallas_call(
    kernel,
    out_shape=[_calls.varying(like, x.shape, x.dtype) for x in shapes],
    grid=grid,
    in_specs=in_specs,
    out_specs=out_specs,
    scratch_shapes=scratch,
    compiler_params=pltpu.CompilerParams(
      dimension_semantics=order, vmem_limit_bytes=vmem
    ),
    interpret=_calls.interpreter(form),
    name=name,
  )(*arguments)
