"""The kernels of outer_scan by the compilers of a TPU v5e and an H100.

Heads and features are those of a layer of Mamba-2 of 370 million parameters
and of one of gated linear attention. Run by `make test-compile`; `-s` shows the
numbers behind the budgets.
"""

import functools
import re

import jax
import jax.numpy as jnp
import pytest

from jaxseq import recurrence
from tests.compile import kernels
from tests.compile import resources
from tests.compile import targets

pytestmark = pytest.mark.compile

# Of queries, of values, and what queries, values and a decay have of numbers.
HEADS = {"ssd": (1, 32, 128, 64, 1), "gla": (8, 8, 128, 128, 128)}
ROWS, TIME = 8, 4096
GB, MB = 1e9, 1e6


def case(name, rows, time, resets, gradient):
  """A function of arrays as projections leave them, and their shapes."""
  groups, heads, dk, dv, per_head = HEADS[name]

  def array(width, dtype=jnp.bfloat16):
    return jax.ShapeDtypeStruct((rows, time, width), dtype)

  arguments = (
    *(array(groups * dk), array(groups * dk), array(heads * dv)),
    array(heads * per_head, jnp.float32),
  )
  reset = jax.ShapeDtypeStruct((rows, time), jnp.bool_) if resets else None

  def outputs(reset, *arguments):
    counts = groups, groups, heads, heads
    split = (
      x.reshape(*x.shape[:2], count, -1) for x, count in zip(arguments, counts)
    )
    scan = functools.partial(recurrence.outer_scan_heads, method="pallas")
    return scan(*split, reset=reset)[0].reshape(rows, time, -1)

  def cotangents(g, reset, *arguments):
    run = functools.partial(outputs, reset)
    return jax.vjp(run, *arguments)[1](g)

  if gradient:
    return cotangents, arguments[2], reset, *arguments
  return outputs, reset, *arguments


# Bytes of inputs and outputs, and how many times those are moved: what was
# counted with jax 0.11.2, and a tenth. The gradient takes the states that enter
# the chunks along, of which each is written once and read once.
@pytest.mark.parametrize(
  ("platform", "name", "gradient", "budget", "temporary"),
  [
    ("tpu", "ssd", False, 1.15, 10),
    ("tpu", "ssd", True, 1.87, 310),
    ("tpu", "gla", False, 1.15, 10),
    ("tpu", "gla", True, 1.32, 152),
    # What is undefined is looked for before the kernel, in a pass of its own.
    ("cuda", "ssd", False, 2.22, 42),
    ("cuda", "ssd", True, 4.42, 643),
    # Two kernels read the inputs, and states pass between them.
    ("cuda", "gla", False, 2.85, 154),
    ("cuda", "gla", True, 2.6, 375),
  ],
)
def test_bytes_stay_near_the_floor(platform, name, gradient, budget, temporary):
  run, *arguments = case(name, ROWS, TIME, True, gradient)
  compiled = targets.compiled(platform, run, *arguments)
  moved = kernels.moved(compiled.as_text())
  analysis = compiled.memory_analysis()
  held = analysis.temp_size_in_bytes / MB

  def size(tree):
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))

  with targets.choosing_for(platform):
    floor = size(arguments) + size(jax.eval_shape(run, *arguments))
  if gradient:  # The forward pass before it reads the inputs, too.
    floor += size(arguments[1:])
  print(
    f"\n{platform} {name}, gradient {gradient}: {moved / GB:.2f} GB of"
    f" {floor / GB:.2f}, {held:.0f} MB held"
  )
  assert moved <= budget * floor
  assert held <= temporary


def compile_for_tpu():
  """Compiles all kernels, for a few chunks without resets."""
  for name in HEADS:
    targets.compiled("tpu", *case(name, 1, 256, False, True))


def test_bundles_of_a_tpu(tmp_path):
  """Of a program: 128 elements of 8 heads of "ssd", of 4 of "gla".

  What was counted, and a tenth more. Memory takes 500 bundles for the inputs
  and outputs of one of "ssd" forward, and 1,000 of "gla", at 819 GB/s and 1.5
  GHz.
  """
  found = resources.bundles(tmp_path, f"{__name__}:compile_for_tpu", depth=1)
  print(f"\n{found}")
  assert 0 < found["outer_forward"] <= 1200
  assert 0 < found["outer_backward"] <= 2800
  assert 0 < found["outer_channels_forward"] <= 2710
  assert 0 < found["outer_channels_backward"] <= 6960


def test_resources_with_a_decay_per_channel(capfd, monkeypatch):
  monkeypatch.setenv("MOSAIC_GPU_DUMP_PTXAS", "1")
  monkeypatch.setenv("MOSAIC_GPU_DUMP_RESOURCES", "1")
  for gradient in (False, True):
    run, *arguments = case("gla", 1, 256, True, gradient)
    targets.compiled("cuda", run, *arguments)
  text = capfd.readouterr().out
  found = resources.registers(text)
  shared = [int(x) for x in re.findall(r"smem_scratch_bytes=(\d+)", text)]
  print(f"\n{found}, shared memory {shared}")
  for kernel in ("states", "outputs", "adjoint", "d_values", "backward"):
    # Two blocks of four warps share the registers of a multiprocessor.
    assert found[f"outer_channels_{kernel}"].used <= 255
    assert found[f"outer_channels_{kernel}"].spilled == 0
  # They share its 228 KiB, too, with what the barriers and the system take; but
  # for `states`, which takes 138 KiB and has no more blocks than there are
  # multiprocessors.
  assert sorted(shared)[: len(shared) // 2] == [112 * 1024] * (len(shared) // 2)
  assert max(shared) <= 138 * 1024


def test_resources_with_a_decay_per_head(capfd, monkeypatch):
  monkeypatch.setenv("MOSAIC_GPU_DUMP_PTXAS", "1")
  monkeypatch.setenv("MOSAIC_GPU_DUMP_RESOURCES", "1")
  run, *arguments = case("ssd", 1, 256, False, True)
  targets.compiled("cuda", run, *arguments)
  text = capfd.readouterr().out
  found = resources.registers(text)
  shared = [int(x) for x in re.findall(r"smem_scratch_bytes=(\d+)", text)]
  print(f"\n{found}, shared memory {shared}")
  # Two blocks of four warps share the registers of a multiprocessor.
  for name in ("outer_forward", "outer_reverse", "outer_backward"):
    assert found[name].used <= 255
    assert found[name].spilled == 0
  # And two blocks of the products its 228 KiB of shared memory, of which a scan
  # takes 115.
  assert min(shared) <= 112 * 1024
  assert max(shared) <= 115 * 1024
