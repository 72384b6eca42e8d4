"""The linear kernels on a TPU v5e and an H100.

The compilers need neither.
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
CASES = ("real", "real, resets", "real, a constant", "complex, resets")


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


def compile_real():
  """Compiles the kernels of real numbers with resets for a TPU."""
  for cases in (forward, gradient):
    targets.compiled("tpu", *cases()["real, resets"])


def compile_complex():
  """Compiles the kernels of complex numbers with resets for a TPU."""
  for cases in (forward, gradient):
    targets.compiled("tpu", *cases()["complex, resets"])


@pytest.mark.parametrize("label", CASES)
def test_registers_of_a_gpu(capfd, monkeypatch, label):
  monkeypatch.setenv("MOSAIC_GPU_DUMP_PTXAS", "1")
  targets.compiled("cuda", *gradient()[label])
  found = resources.registers(capfd.readouterr().out)
  print(f"\n{label}: {found}")
  assert found.keys() == {"linear_recurrence", "linear_adjoint"}
  for each in found.values():
    assert each.used <= 64
    assert each.spilled == 0


@pytest.mark.parametrize(
  ("function", "forward", "backward"),
  [("compile_real", 50, 69), ("compile_complex", 110, 154)],
)
def test_bundles_of_a_tpu(tmp_path, function, forward, backward):
  """For 8 elements of 512 channels: what was counted, and a tenth more.

  Memory takes 90 bundles for the 48 KB of real ones, and 150 backward, at 819
  GB/s and 1.5 GHz.
  """
  found = resources.bundles(
    tmp_path, f"tests.compile.linear_kernels_test:{function}"
  )
  print(f"\n{found}")
  assert 0 < found["linear_recurrence"] <= forward
  assert 0 < found["linear_adjoint"] <= backward


@pytest.mark.parametrize("label", CASES)
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
