"""The linear kernels, compiled for a TPU v5e and an H100 that are not there.

Run by `make test-compile`; `-s` shows the numbers behind the budgets.
"""

import jax
import jax.numpy as jnp
import pytest

from jaxseq import recurrence
from tests.compile import kernels
from tests.compile import resources
from tests.compile import targets

pytestmark = pytest.mark.compile

ROWS, TIME, N = 8, 4096, 1024
# Bundles for 8 elements of 512 channels: counted with jax 0.11.2, and a tenth.
# Memory takes 135 bundles for as many numbers forward, and 225 backward, at
# 819 GB/s and 1.5 GHz.
BUNDLES = {
  "real": (40, 69),
  "real, resets": (50, 69),
  "real, a constant": (40, 71),
  "complex, resets": (110, 154),
}


def _case(dtype, a_shape, resets, gradient):
  b = jax.ShapeDtypeStruct((ROWS, TIME, N), dtype)
  a = jax.ShapeDtypeStruct(a_shape, dtype)
  reset = jax.ShapeDtypeStruct((ROWS, TIME), jnp.bool_) if resets else None

  def states(a, b, reset):
    return recurrence.linear_scan(a, b, reset=reset, method="pallas")

  def cotangents(a, b, h, reset):
    return jax.vjp(lambda a, b: states(a, b, reset)[0], a, b)[1](h)

  return (cotangents, a, b, b, reset) if gradient else (states, a, b, reset)


def _cases(gradient):
  full, one = (ROWS, TIME, N), (N,)
  return {
    "real": _case(jnp.float32, full, False, gradient),
    "real, resets": _case(jnp.float32, full, True, gradient),
    "real, a constant": _case(jnp.float32, one, False, gradient),
    "complex, resets": _case(jnp.complex64, full, True, gradient),
  }


def forward():
  return _cases(False)


def gradient():
  return _cases(True)


@pytest.mark.parametrize("cases", ["forward", "gradient"])
def test_registers_of_an_h100(cases):
  found = resources.of_gpu(f"{__name__}:{cases}")
  print(f"\n{cases}: {found}")
  assert found.keys() == BUNDLES.keys()
  for each in found.values():
    assert len(each.registers) == (2 if cases == "gradient" else 1)
    assert max(each.registers) <= 64
    assert each.spills == 0


@pytest.mark.parametrize("cases", ["forward", "gradient"])
def test_bundles_of_a_tpu(cases):
  kernel = {"forward": "linear_recurrence", "gradient": "linear_adjoint"}[cases]
  found = resources.of_tpu(f"{__name__}:{cases}", kernel)
  print(f"\n{cases}: {found}")
  for label, budgets in BUNDLES.items():
    assert found[label] <= budgets[cases == "gradient"]


@pytest.mark.parametrize("label", BUNDLES)
@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_bytes_stay_near_the_floor(platform, label):
  """Real arrays are moved once; complex ones are taken apart and joined, too.

  The states are an operand twice on a TPU, of which little is read the second
  time.
  """
  numbers = {"forward": 3, "gradient": 8 + (platform == "tpu")}
  for cases in (forward, gradient):
    run, *arguments = cases()[label]
    compiled = targets.compiled(platform, run, *arguments)
    moved = kernels.moved(compiled.as_text())
    floor = numbers[cases.__name__] * ROWS * TIME * N
    floor *= arguments[1].dtype.itemsize
    print(f"\n{platform}, {label}, {cases.__name__}: {moved / 1e9:.2f} GB")
    assert moved <= (4.1 if "complex" in label else 1.05) * floor
