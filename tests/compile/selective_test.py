"""The selective scan by the compilers: bytes, registers, bundles.

Rows, elements, channels and states are those of a layer of a Mamba of 370
million parameters, in bfloat16 with step sizes in float32.
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

ROWS, TIME, D, N = 8, 4096, 2048, 16
GB = 1e9


def program(label, method="auto", rows=ROWS, D=D):
  """A function, "forward" or "gradient", and shapes for it."""

  def shape(*sizes, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(sizes, dtype)

  low = functools.partial(shape, dtype=jnp.bfloat16)
  lead = rows, TIME
  system = low(*lead, D), shape(*lead, D), shape(D, N), low(*lead, N)
  arguments = *system, low(*lead, N), shape(D)
  reset = shape(*lead, dtype=jnp.bool_)

  def forward(x, delta, A, B, C, D, reset):
    return recurrence.selective_scan(
      x, delta, A, B, C, D=D, reset=reset, method=method
    )

  def gradient(*arguments):
    *arguments, reset = arguments

    def loss(*arguments):
      return jnp.sum(forward(*arguments, reset)[0].astype(jnp.float32) ** 2)

    return jax.value_and_grad(loss, range(6))(*arguments)

  function = {"forward": forward, "gradient": gradient}[label]
  return function, *arguments, reset


def compile_for_tpu():
  """Compiles all kernels."""
  targets.compiled("tpu", *program("forward", "pallas"))
  targets.compiled("tpu", *program("gradient", "pallas"))


@pytest.mark.parametrize(
  ("platform", "label", "method", "budget"),
  [
    # Inputs and outputs are 0.54 GB forward and 1.1 GB more in the gradient.
    ("tpu", "forward", "auto", 1.0),
    ("tpu", "gradient", "auto", 4.0),
    ("tpu", "forward", "pallas", 0.6),
    ("tpu", "gradient", "pallas", 2.2),
    # States between tiles of 16 elements, written and read, are 1.1 GB.
    ("cuda", "forward", "pallas", 0.6),
    ("cuda", "gradient", "pallas", 3.0),
  ],
)
def test_bytes_moved(platform, label, method, budget):
  compiled = targets.compiled(platform, *program(label, method))
  moved = kernels.moved(compiled.as_text()) / GB
  print(f"\n{platform} {label} {method}: {moved:.2f} GB")
  assert moved <= budget


def test_registers_of_a_gpu(capfd, monkeypatch):
  monkeypatch.setenv("MOSAIC_GPU_DUMP_PTXAS", "1")
  targets.compiled("cuda", *program("forward", "pallas"))
  plain = resources.registers(capfd.readouterr().out)
  targets.compiled("cuda", *program("gradient", "pallas"))
  saving = resources.registers(capfd.readouterr().out)
  print("\n", plain, saving)
  for found in (plain, saving):
    assert found["selective_forward"].used <= 128
    assert found["selective_forward"].spilled == 0
  # Its shared memory has room for one block: four warps may have 255 each.
  assert saving["selective_backward"].used <= 184
  assert saving["selective_backward"].spilled == 0


def test_registers_of_a_gpu_with_segments_of_time(capfd, monkeypatch):
  """Where one row gives too few blocks."""
  monkeypatch.setenv("MOSAIC_GPU_DUMP_PTXAS", "1")
  targets.compiled("cuda", *program("gradient", "pallas", rows=1, D=256))
  found = resources.registers(capfd.readouterr().out)
  print("\n", found)
  for name in ("selective_summary", "selective_adjoint_summary"):
    assert found[name].used <= 128
  assert all(each.spilled == 0 for each in found.values())


def test_bundles_of_a_tpu(tmp_path):
  found = resources.bundles(
    tmp_path, "tests.compile.selective_test:compile_for_tpu"
  )
  print("\n", found)
  # A body is 16 elements of 512 channels, 128 vectors of states; what was
  # counted, and a tenth more.
  assert 0 < found["selective_forward"] <= 524
  assert 0 < found["selective_backward"] <= 1774
