"""mlstm_scan by the kernels of outer_scan, compiled for an H100.

Eight heads of 128 features. Run by `make test-compile`; `-s` shows the numbers
behind the budgets.
"""

import functools

import jax
import jax.numpy as jnp
import pytest

from jaxseq import recurrence
from tests.compile import kernels
from tests.compile import resources
from tests.compile import targets

pytestmark = pytest.mark.compile

ROWS, TIME, HEADS, WIDTH = 8, 4096, 8, 128
GB, MB = 1e9, 1e6


def case(rows, time, gradient):
  """A function of arrays, and their shapes."""
  lead = rows, time, HEADS
  wide = jax.ShapeDtypeStruct((*lead, WIDTH), jnp.bfloat16)
  gate = jax.ShapeDtypeStruct(lead, jnp.float32)
  arguments = wide, wide, wide, gate, gate
  reset = jax.ShapeDtypeStruct((rows, time), jnp.bool_)

  def outputs(reset, *arguments):
    scan = functools.partial(recurrence.mlstm_scan_heads, method="pallas")
    return scan(*arguments, reset=reset)[0]

  def cotangents(g, reset, *arguments):
    run = functools.partial(outputs, reset)
    return jax.vjp(run, *arguments)[1](g)

  if gradient:
    return cotangents, wide, reset, *arguments
  return outputs, reset, *arguments


# Bytes of inputs and outputs, and how many times those are moved: what was
# counted with jax 0.11.2, and a tenth. What the gradient keeps of the states is
# twice as large as the inputs.
@pytest.mark.parametrize(
  ("gradient", "budget", "temporary"), [(False, 2.9, 23), (True, 3.25, 460)]
)
def test_bytes_stay_near_the_floor(gradient, budget, temporary):
  run, *arguments = case(ROWS, TIME, gradient)
  compiled = targets.compiled("cuda", run, *arguments)
  moved = kernels.moved(compiled.as_text())
  held = compiled.memory_analysis().temp_size_in_bytes / MB

  def size(tree):
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))

  with targets.choosing_for("cuda"):
    floor = size(arguments) + size(jax.eval_shape(run, *arguments))
  if gradient:  # The forward pass before it reads the inputs, too.
    floor += size(arguments[1:])
  print(
    f"\ngradient {gradient}: {moved / GB:.2f} GB of {floor / GB:.2f}, "
    f"{held:.0f} MB held"
  )
  assert moved <= budget * floor
  assert held <= temporary


def test_nothing_spills(capfd, monkeypatch):
  monkeypatch.setenv("MOSAIC_GPU_DUMP_PTXAS", "1")
  run, *arguments = case(2, 1024, True)
  targets.compiled("cuda", run, *arguments)
  found = resources.registers(capfd.readouterr().out)
  print(f"\n{found}")
  for name in ("outer_forward", "outer_reverse", "outer_backward"):
    assert found[name].used <= 255
    assert found[name].spilled == 0
