"""Others' kernels of window_attention by the compilers: bytes, and spills.

`make test-compile` installs tokamax for it, where it can be installed.
"""

import importlib.util

import jax
import jax.numpy as jnp
import pytest

from benchmarks.accelerators import problems
from tests.compile import kernels
from tests.compile import resources
from tests.compile import targets

pytestmark = pytest.mark.compile
needs_tokamax = pytest.mark.skipif(
  importlib.util.find_spec("tokamax") is None,
  reason="needs tokamax: pip install 'jaxseq[tokamax]'",
)
(MAIN,) = (each for each in problems.MAIN if each.op == "window")
GB = 1e9


def compiled(platform, kind, method):
  function = MAIN.function(kind, method)
  return targets.compiled(platform, function, MAIN.shapes())


@pytest.mark.parametrize(
  ("platform", "kind", "method", "budget"),
  [
    # Arguments and results are 0.13 GB forward, and 0.37 with the gradient.
    # Undefined numbers are taken out before and put back after.
    ("tpu", "forward", "pallas", 0.5),
    ("tpu", "gradient", "pallas", 1.48),
    pytest.param("cuda", "forward", "tokamax", 0.47, marks=needs_tokamax),
    # Keys and values of segments, of which half are there twice.
    pytest.param("cuda", "gradient", "tokamax", 1.75, marks=needs_tokamax),
  ],
)
def test_bytes_moved(platform, kind, method, budget):
  text = compiled(platform, kind, method).as_text()
  moved = kernels.moved(text) / GB
  print(f"\n{platform} {kind}: {moved:.3f} GB, {kernels.count(text)} kernels")
  assert moved <= budget


@needs_tokamax
def test_registers_of_tokamax(capfd, monkeypatch):
  monkeypatch.setenv("MOSAIC_GPU_DUMP_PTXAS", "1")
  compiled("cuda", "gradient", "tokamax")
  found = resources.registers(capfd.readouterr().out)
  print("\n", found)
  assert len(found) == 2  # Forward, and two backward that share a name.
  assert all(each.spilled == 0 for each in found.values())


@needs_tokamax
def test_work_of_tokamax_grows_with_the_window():
  """Shapes of its kernels' arguments say what the backward pass reads."""
  shape = jax.ShapeDtypeStruct((1, 65536, 1, 64), jnp.bfloat16)

  def loss(q, k, v):
    from jaxseq import recurrence

    o, _ = recurrence.window_attention(q, k, v, 512, method="tokamax")
    return jnp.sum(o.astype(jnp.float32))

  gradient = jax.grad(loss, (0, 1, 2))
  text = targets.compiled("cuda", gradient, shape, shape, shape).as_text()
  backward = [
    line
    for line in text.splitlines()
    if "custom-call" in line and "mosaic_gpu" in line
  ]
  assert len(backward) == 3
  # 128 segments of 512 queries with 1024 keys each.
  assert all("bf16[128,1024,1,64]" in line for line in backward)
