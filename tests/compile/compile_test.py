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

ROWS, TIME, D_MODEL = 4, 4096, 64
# Temporaries that a mixer may take, in multiples of its inputs (4 MiB), forward
# and with gradients: what was measured with jax 0.11.2, and a third more.
BUDGETS = {}
# What jax.export cannot carry to another platform, and why.
NOT_EXPORTABLE = {}


@functools.cache
def _problem(name):
  module = mixers.get(name)
  options = {"window": 256} if name == "attention" else {}
  config = mixers.make_config(name, d_model=D_MODEL, **options)
  params = jax.eval_shape(lambda: module.init(jax.random.key(0), config))
  x = jax.ShapeDtypeStruct((ROWS, TIME, D_MODEL), jnp.float32)
  reset = jax.ShapeDtypeStruct((ROWS, TIME), jnp.bool_)

  def forward(params, x, reset):
    return module.apply(config, params, x, None, reset)

  def gradient(params, x, reset):
    def loss(params, x):
      y, _ = forward(params, x, reset)
      return jnp.sum(y**2)

    return jax.value_and_grad(loss, argnums=(0, 1))(params, x)

  return {"forward": forward, "gradient": gradient}, (params, x, reset)


@pytest.mark.parametrize("label", ["forward", "gradient"])
@pytest.mark.parametrize("platform", ["tpu", "cuda"])
@pytest.mark.parametrize("name", mixers.names())
def test_compiles_within_its_budget(name, platform, label):
  functions, arguments = _problem(name)
  start = time.monotonic()
  compiled = targets.compiled(platform, functions[label], *arguments)
  seconds = time.monotonic() - start
  temporary = compiled.memory_analysis().temp_size_in_bytes
  inputs = 4 * ROWS * TIME * D_MODEL
  print(
    f"\n{name:>16} {platform:>5} {label:>8} {seconds:6.1f} s "
    f"{temporary / 1e6:8.1f} MB = {temporary / inputs:6.2f} x inputs"
  )
  assert temporary <= BUDGETS[name][platform][label] * inputs


@pytest.mark.parametrize("label", ["forward", "gradient"])
@pytest.mark.parametrize("name", mixers.names())
def test_exports_for_three_platforms(name, label):
  functions, arguments = _problem(name)

  def export():
    return jax.export.export(
      jax.jit(functions[label]), platforms=("cpu", "tpu", "cuda")
    )(*arguments)

  if name in NOT_EXPORTABLE:
    with pytest.raises(Exception, match=NOT_EXPORTABLE[name]):
      export()
    return
  again = jax.export.deserialize(export().serialize())
  assert set(again.platforms) == {"cpu", "tpu", "cuda"}
