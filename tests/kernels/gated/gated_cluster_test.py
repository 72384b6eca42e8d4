"""Hopper's kernels of gated networks over clusters of blocks, interpreted."""

import functools

import jax
from jax._src.pallas.mosaic_gpu.interpret import interpret_pallas_call
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.mixers.gated import gru
from tests.kernels.gated import gated_kernels_test

# A block interprets its warpgroups in threads: a cluster of two is the least.
pytestmark = [
  pytest.mark.slow,
  pytest.mark.skipif(jax.__version_info__ < (0, 11), reason="needs jax 0.11"),
]


@pytest.fixture(autouse=True)
def _clusters(monkeypatch):
  """Heads of more than 32 features are spread over blocks."""
  from jaxseq.kernels.gated import _gpu as _gated_gpu

  monkeypatch.setattr(_gated_gpu, "WIDEST", 32)


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
  gated_kernels_test._check(name, features=33, **sizes)


def _arrays(*shape):
  """Bfloat16 numbers."""
  x = np.random.default_rng(len(shape)).normal(size=shape) / 8
  return jnp.asarray(x, jnp.bfloat16)


# Of a GRU's inputs r, z, n and products g, r, z.
_SLOTS = 0, 1, 2, 3, 0, 1
_TIME, _FEATURES = 5, 64


def _given():
  """The kernel, sums, a state and flags of 64 features in two blocks."""
  kernel = _arrays(1, 3, _FEATURES, _FEATURES)
  state = _arrays(64, _FEATURES).astype(jnp.float32)
  flags = (jnp.asarray(gated_kernels_test._reset(_TIME, 64), jnp.int32),)
  return kernel, _arrays(_TIME, 64, 4 * _FEATURES), state, flags


def _forward(module, interpret):
  kernel, sums, state, flags = _given()
  given = kernel, state[:4], (state,), sums[..., : 3 * _FEATURES], flags
  return module.run(gru._CELL, _SLOTS, True, *given, interpret)


def _backward(module, interpret):
  kernel, sums, state, flags = _given()
  narrow = sums[..., :_FEATURES]
  given = kernel, narrow, (), sums, flags, narrow, (state,)
  return module.pull(gru._CELL, _SLOTS, *given, interpret)


@pytest.mark.parametrize("passes", [_forward, _backward])
@pytest.mark.parametrize("meet", [True, False])
def test_no_races(passes, meet, monkeypatch, capfd):
  """Between threads of all blocks; where warpgroups do not meet, there are."""
  from jax.experimental.pallas import mosaic_gpu as plgpu

  from jaxseq.kernels.gated import _gpu_cluster as _gated_gpu_cluster
  from jaxseq.kernels.gated import _gpu_parts as _gated_gpu_parts

  if not meet:
    monkeypatch.setattr(_gated_gpu_parts, "meet", lambda barrier: None)
  interpret = plgpu.InterpretGPUParams(detect_races=True)
  run = functools.partial(passes, _gated_gpu_cluster, interpret)
  jax.block_until_ready(jax.jit(run)())
  assert interpret_pallas_call.get_races().races_found != meet
  assert ("RACE DETECTED" in capfd.readouterr().out) != meet
