"""The kernels of delta_scan by the compilers of a TPU v5e and an H100.

Eight sequences of eight heads of 128 features. Run by `make test-compile`; `-s`
shows the numbers behind the budgets.
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

ROWS, TIME, WIDTH = 64, 4096, 128
GB, MB = 1e9, 1e6


def case(rows, time, resets, gradient, decays=1):
  """A function of arrays, and their shapes."""

  def array(width, dtype=jnp.bfloat16):
    return jax.ShapeDtypeStruct((rows, time, width), dtype)

  arguments = *[array(WIDTH)] * 4, array(decays, jnp.float32)
  reset = jax.ShapeDtypeStruct((rows, time), jnp.bool_) if resets else None

  def outputs(reset, *arguments):
    return recurrence.delta_scan(*arguments, reset=reset, method="pallas")[0]

  def cotangents(g, reset, *arguments):
    run = functools.partial(outputs, reset)
    return jax.vjp(run, *arguments)[1](g)

  if gradient:
    return cotangents, arguments[2], reset, *arguments
  return outputs, reset, *arguments


# Bytes of inputs and outputs, and how many times those are moved: what was
# counted with jax 0.11.2, and a tenth. The gradient takes the states that enter
# the chunks along, of which each is written once and read once. On the H100
# others find the inverse and what is undefined, and read the inputs, too.
@pytest.mark.parametrize(
  ("platform", "decays", "gradient", "budget", "temporary"),
  [
    ("tpu", 1, False, 1.15, 10),
    ("tpu", 1, True, 1.56, 232),
    ("tpu", WIDTH, False, 1.15, 10),
    ("tpu", WIDTH, True, 1.56, 232),
    ("cuda", 1, False, 3.01, 89),
    ("cuda", 1, True, 3.23, 380),
    ("cuda", WIDTH, False, 3.6, 346),
    ("cuda", WIDTH, True, 2.9, 424),
  ],
)
def test_bytes_stay_near_the_floor(
  platform, decays, gradient, budget, temporary
):
  run, *arguments = case(ROWS, TIME, True, gradient, decays)
  compiled = targets.compiled(platform, run, *arguments)
  moved = kernels.moved(compiled.as_text())
  held = compiled.memory_analysis().temp_size_in_bytes / MB

  def size(tree):
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))

  with targets.choosing_for(platform):
    floor = size(arguments) + size(jax.eval_shape(run, *arguments))
  if gradient:  # The forward pass before it reads the inputs, too.
    floor += size(arguments[1:])
  print(
    f"\n{platform}, {decays} decays, gradient {gradient}: "
    f"{moved / GB:.2f} GB of {floor / GB:.2f}, {held:.0f} MB held"
  )
  assert moved <= budget * floor
  assert held <= temporary


def compile_for_tpu(decays=1):
  """Compiles all kernels, for a few chunks without resets."""
  targets.compiled("tpu", *case(4, 256, False, True, decays))


def compile_channels_for_tpu():
  compile_for_tpu(WIDTH)


@pytest.mark.parametrize(
  ("function", "forward", "backward"),
  [
    ("compile_for_tpu", 4860, 6790),
    ("compile_channels_for_tpu", 5780, 9680),
  ],
)
def test_bundles_of_a_tpu(tmp_path, function, forward, backward):
  """Of a program: 64 elements of 4 rows; what was counted, and a tenth more.

  Memory takes 600 bundles for the inputs and outputs of one forward, at 819
  GB/s and 1.5 GHz.
  """
  found = resources.bundles(tmp_path, f"{__name__}:{function}", depth=1)
  print(f"\n{found}")
  assert 0 < found["delta_forward"] <= forward
  assert 0 < found["delta_backward"] <= backward


_ALONG = "delta_forward", "delta_adjoint"


@pytest.mark.parametrize(
  ("decays", "names", "pairs", "most"),
  [
    (1, ("delta_invert", *_ALONG, "delta_gradients"), 2, 216064),
    (WIDTH, ("delta_channels", *_ALONG, "delta_channels_gradients"), 1, 225280),
  ],
  ids=["one", "channels"],
)
def test_resources(capfd, monkeypatch, decays, names, pairs, most):
  monkeypatch.setenv("MOSAIC_GPU_DUMP_PTXAS", "1")
  monkeypatch.setenv("MOSAIC_GPU_DUMP_RESOURCES", "1")
  run, *arguments = case(1, 256, True, True, decays)
  targets.compiled("cuda", run, *arguments)
  text = capfd.readouterr().out
  found = resources.registers(text)
  shared = [int(x) for x in re.findall(r"smem_scratch_bytes=(\d+)", text)]
  print(f"\n{found}, shared memory {shared}")
  for kernel in names:
    assert found[kernel].used <= 255
    assert found[kernel].spilled == 0
  # Of those that take all chunks at once, two blocks share the registers and
  # the 228 KiB of a multiprocessor, but of gradients with a decay for each key;
  # of those along time, there are no more than multiprocessors.
  assert sorted(shared)[pairs - 1] <= 112 * 1024
  assert max(shared) <= most
