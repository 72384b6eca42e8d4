"""Hopper's kernels of gated networks over clusters of blocks, interpreted."""

import functools

import jax
from jax._src.pallas.mosaic_gpu.interpret import interpret_pallas_call
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.mixers import gru
from tests.recurrence.kernels import gated_test

# A block interprets its warpgroups in threads: a cluster of two is the least.
pytestmark = [
  pytest.mark.slow,
  pytest.mark.skipif(jax.__version_info__ < (0, 11), reason="needs jax 0.11"),
]


@pytest.fixture(autouse=True)
def _clusters(monkeypatch):
  """Heads of more than 32 features are spread over blocks."""
  from jaxseq.recurrence.kernels import gated_gpu

  monkeypatch.setattr(gated_gpu, "WIDEST", 32)


@pytest.mark.parametrize(
  ("name", "sizes"),
  [
    # Two clusters of rows, and weights of two heads.
    ("gru", {"rows": 65, "time": 4}),
    ("lstm", {"heads": 1, "time": 3}),
    ("slstm", {"heads": 1, "time": 2}),
    ("leaky", {"heads": 1, "time": 2, "bias": False}),
  ],
)
def test_equals_steps(x64, name, sizes):
  # As `test_bfloat16` of `gated_test`.
  gated_test._check(
    name, chip="gpu", dtype=jnp.bfloat16, tolerance=1e-2, features=33, **sizes
  )


def _arrays(*shape):
  """Bfloat16 numbers."""
  x = np.random.default_rng(len(shape)).normal(size=shape) / 8
  return jnp.asarray(x, jnp.bfloat16)


def _forward(module, interpret, dtype=jnp.bfloat16):
  """A loop over steps of a GRU of 64 features in two blocks."""
  time, features, gates = 5, 64, 3
  wide = _arrays(time, 1, 64, features).astype(jnp.float32)
  weights = _arrays(1, gates, features, features), wide[:gates, 0, 0][None]
  flags = (jnp.asarray(gated_test._reset(time, 64), jnp.int32),)
  return module.run(
    gru._CELL, dtype, weights, (wide[0],), (wide,) * gates, flags, interpret
  )


def _backward(module, interpret):
  time, features, gates = 5, 64, 3
  narrow = _arrays(time, 1, 64, features)
  wide = narrow.astype(jnp.float32)
  flags = (jnp.asarray(gated_test._reset(time, 64), jnp.int32),)
  return module.pull(
    gru._CELL,
    _arrays(1, gates, features, features),
    (wide,),
    (wide,) * gates,
    (wide,) * gates,
    flags,
    narrow,
    (wide[0],),
    [0, 1, 2, 0, 1, 3],
    interpret,
  )


@pytest.mark.parametrize("passes", [_forward, _backward])
@pytest.mark.parametrize("meet", [True, False])
def test_no_races(passes, meet, monkeypatch, capfd):
  """Between threads of all blocks; where warpgroups do not meet, there are."""
  from jax.experimental.pallas import mosaic_gpu as plgpu

  from jaxseq.recurrence.kernels import gated_gpu_cluster
  from jaxseq.recurrence.kernels import gated_gpu_parts

  if not meet:
    monkeypatch.setattr(gated_gpu_parts, "meet", lambda barrier: None)
  interpret = plgpu.InterpretGPUParams(detect_races=True)
  run = functools.partial(passes, gated_gpu_cluster, interpret)
  jax.block_until_ready(jax.jit(run)())
  assert interpret_pallas_call.get_races().races_found != meet
  assert ("RACE DETECTED" in capfd.readouterr().out) != meet
