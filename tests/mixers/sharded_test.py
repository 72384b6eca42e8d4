"""Every mixer with time split over the devices of a mesh axis."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import mixers
from jaxseq import nn
from tests.mixers import cases

pytestmark = pytest.mark.devices

P = jax.sharding.PartitionSpec
_SPLIT = P(None, "sp")
# float64 sums in another order, over at most 16 elements.
_FLOAT64 = {"rtol": 1e-10, "atol": 1e-11}


def _mesh(devices):
  return jax.sharding.Mesh(np.asarray(jax.devices()[:devices]), ("sp",))


def _resets(time, devices):
  """Resets (rows, time) beside the borders, nowhere, and at random."""
  size = time // devices
  index = np.arange(time)
  rows = [
    index < 0,
    index % size == 0,
    index % size == size - 1,
    (index < size) & (index % 2 == 1),
    *(np.random.default_rng(1).random((3, time)) < 0.2),
  ]
  return jnp.asarray(np.stack(rows))


def _split(mixer, devices):
  """`apply` with time split over devices."""
  return jax.shard_map(
    functools.partial(mixer.module.apply, mixer.config, axis="sp"),
    mesh=_mesh(devices),
    in_specs=(P(), _SPLIT, P(), _SPLIT),
    out_specs=(_SPLIT, P()),
  )


def _arguments(mixer, devices, size, dtype=jnp.float64):
  params = jax.tree.map(lambda leaf: leaf.astype(dtype), mixer.params)
  reset = _resets(devices * size, devices)
  x = cases.sequence(*reset.shape, dtype=dtype)
  state = cases.used_state(mixer, params, (len(reset),), dtype)
  return params, x, state, reset


def test_values_are_those_of_one_device(x64, mixer):
  # A window of four elements reaches over more than one chunk of two.
  arguments = _arguments(mixer, 4, 2)
  got = jax.jit(_split(mixer, 4))(*arguments)
  chex.assert_trees_all_close(got, mixer.apply(*arguments), **_FLOAT64)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2, 8])
def test_gradients_are_those_of_one_device(x64, any_mixer, devices):
  *inputs, reset = _arguments(any_mixer, devices, 3)

  def gradients(apply):
    @jax.jit
    def run(*inputs):
      out, pull = jax.vjp(lambda *args: apply(*args, reset), *inputs)
      rng = np.random.default_rng(0)
      return pull(
        jax.tree.map(
          lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), out
        )
      )

    return run(*inputs)

  chex.assert_trees_all_close(
    gradients(_split(any_mixer, devices)),
    gradients(any_mixer.apply),
    rtol=1e-9,
    atol=1e-9,  # Sums over all elements and rows.
  )
