"""Every mixer, compiled for a TPU v5e and an H100 that are not there.

Run by `make test-compile`, in an environment of its own. `-s` shows the numbers
behind the budgets.
"""

import functools
import time

import jax
import jax.numpy as jnp
import pytest

from jaxseq import mixers
from tests.compile import targets

pytestmark = pytest.mark.compile

# Rows enough that arrays of the size of the inputs, 64 MiB, do not all fit the
# 128 MiB of memory on the chip of a TPU v5e: what lies there is not counted.
ROWS, TIME, D_MODEL = 64, 4096, 64
_OPTIONS = {"attention": {"window": 256}}
# Some run in another way where there are no resets: they declare what it takes.
_NO_RESETS = {
  f"{name}_no_resets": name
  for name in mixers.names()
  if "tpu without resets" in mixers.traits(name).temporary
}
CASES = tuple(sorted((*mixers.names(), *_NO_RESETS)))


@functools.cache
def problem(case):
  """Functions of a mixer, "forward" and "gradient", and shapes for them."""
  name = _NO_RESETS.get(case, case)
  module = mixers.get(name)
  config = mixers.make_config(name, d_model=D_MODEL, **_OPTIONS.get(name, {}))
  params = jax.eval_shape(lambda: module.init(jax.random.key(0), config))
  x = jax.ShapeDtypeStruct((ROWS, TIME, D_MODEL), jnp.float32)
  reset = jax.ShapeDtypeStruct((ROWS, TIME), jnp.bool_)

  def forward(params, x, reset=None):
    y, state = module.apply(config, params, x, None, reset)
    # jax.export knows no classes of states.
    return y, jax.tree.leaves(state)

  def gradient(params, x, reset=None):
    def loss(params, x):
      y, _ = forward(params, x, reset)
      return jnp.sum(y**2)

    return jax.value_and_grad(loss, argnums=(0, 1))(params, x)

  arguments = (params, x) if case in _NO_RESETS else (params, x, reset)
  return {"forward": forward, "gradient": gradient}, arguments


def budget(case, platform, label):
  """Temporaries that a mixer may take, in multiples of its inputs of 64 MiB.

  What was measured with jax 0.11.2, and a third more.
  """
  key = f"{platform} without resets" if case in _NO_RESETS else platform
  declared = mixers.traits(_NO_RESETS.get(case, case)).temporary
  index = ("forward", "gradient").index(label)
  if key in declared:
    return declared[key][index]
  return 2 * mixers.traits("gru").temporary[platform][index]


@pytest.mark.parametrize("label", ["forward", "gradient"])
@pytest.mark.parametrize("platform", ["tpu", "cuda"])
@pytest.mark.parametrize("case", CASES)
def test_compiles_within_its_budget(case, platform, label):
  functions, arguments = problem(case)
  start = time.monotonic()
  compiled = targets.compiled(platform, functions[label], *arguments)
  seconds = time.monotonic() - start
  temporary = compiled.memory_analysis().temp_size_in_bytes
  inputs = 4 * ROWS * TIME * D_MODEL
  print(
    f"\n{case:>16} {platform:>5} {label:>8} {seconds:6.1f} s "
    f"{temporary / 1e6:8.1f} MB = {temporary / inputs:6.2f} x inputs"
  )
  assert temporary <= budget(case, platform, label) * inputs


@pytest.mark.parametrize("label", ["forward", "gradient"])
@pytest.mark.parametrize("traced_on", ["cpu", "tpu"])
@pytest.mark.parametrize("case", CASES)
def test_exports_for_three_platforms(case, traced_on, label):
  functions, arguments = problem(case)
  with targets.choosing_for(traced_on):
    exported = jax.export.export(
      jax.jit(functions[label]), platforms=("cpu", "tpu", "cuda")
    )(*arguments)
  again = jax.export.deserialize(exported.serialize())
  assert set(again.platforms) == {"cpu", "tpu", "cuda"}
  # No routine of one platform's libraries is called by its name.
  assert "custom_call" not in exported.mlir_module()
