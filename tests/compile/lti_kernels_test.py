"""The core of S5 by the compilers of a TPU v5e and an H100: bytes, registers.

Rows, elements and inputs as in docs/accelerators.md.
"""

import jax
import jax.numpy as jnp
import pytest

from jaxseq import recurrence
from tests.compile import kernels
from tests.compile import resources
from tests.compile import targets

pytestmark = pytest.mark.compile

ROWS, TIME, WIDTH, STATES = 8, 4096, 256, 128


def program(label):
  """A function, "forward" or "gradient", and shapes for it."""
  system = (
    jax.ShapeDtypeStruct((STATES,), jnp.complex64),
    jax.ShapeDtypeStruct((STATES, WIDTH), jnp.complex64),
    jax.ShapeDtypeStruct((WIDTH, STATES), jnp.complex64),
    jax.ShapeDtypeStruct((ROWS, TIME, WIDTH), jnp.float32),
  )
  D = jax.ShapeDtypeStruct((WIDTH,), jnp.float32)
  reset = jax.ShapeDtypeStruct((ROWS, TIME), jnp.bool_)

  def forward(system, D, reset):
    return recurrence.lti_scan(*system, D=D, reset=reset, method="pallas")

  def loss(system, D, reset):
    return jnp.sum(forward(system, D, reset)[0] ** 2)

  function = {"forward": forward, "gradient": jax.value_and_grad(loss, (0, 1))}
  return function[label], system, D, reset


@pytest.mark.parametrize(
  ("platform", "label", "budget"),
  [
    # Inputs and outputs are 0.068 GB forward, and 0.17 with the gradient: on a
    # GPU not more than four times that, and a tenth more than was counted.
    ("cuda", "forward", 0.152),
    ("cuda", "gradient", 0.676),
    ("tpu", "forward", 0.112),
    ("tpu", "gradient", 0.317),
  ],
)
def test_bytes_moved(platform, label, budget):
  compiled = targets.compiled(platform, *program(label))
  moved = kernels.moved(compiled.as_text()) / 1e9
  print(f"\n{platform} {label}: {moved:.3f} GB")
  assert moved <= budget


def test_registers_of_a_gpu(capfd, monkeypatch):
  """Shared memory has room for one block: four warps may have 255 each."""
  monkeypatch.setenv("MOSAIC_GPU_DUMP_PTXAS", "1")
  targets.compiled("cuda", *program("gradient"))
  found = resources.registers(capfd.readouterr().out)
  print(f"\n{found}")
  assert found.keys() == {"lti_summary", "lti_states", "lti_adjoint"}
  assert all(each.spilled == 0 for each in found.values())
