"""Options and inputs of the kernels of the selective scan."""

from typing import NamedTuple

import jax

from jaxseq.recurrence.platform import support


class Options(NamedTuple):
  """Static options of a kernel."""

  form: support.Form  # see `support.form`
  segments: int = 1  # parallel segments of time, on GPUs


class Inputs(NamedTuple):
  """Arguments of the scan; or their cotangents."""

  x: jax.Array  # [R, T, D]
  delta: jax.Array  # [R, T, D]
  A: jax.Array  # [N, D], float32
  B: jax.Array  # [R, T, N]
  C: jax.Array  # [R, T, N]
  D: jax.Array  # [D], float32
  h: jax.Array  # [R, N, D], float32
  keep: jax.Array | None  # [R, T] float32, 0 at resets; None without resets.
