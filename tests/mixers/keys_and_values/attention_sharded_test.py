"""Windowed attention with time split over devices, against one device."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import collectives
from jaxseq.mixers.keys_and_values import attention
from tests.recurrence.shared import sharded_cases as cases

pytestmark = pytest.mark.devices

P = jax.sharding.PartitionSpec
TIME = 16
_OTHERS = ("gather", "ring_self_attention", "token_ring", "ulysses")


def split(config, devices, scheme="halo"):
  def apply(params, x, state, reset):
    return attention.apply(
      config, params, x, state, reset, axis="sp", scheme=scheme
    )

  return jax.shard_map(
    apply,
    mesh=cases.mesh_of(devices),
    in_specs=(P(), P(None, "sp"), P(), P(None, "sp")),
    out_specs=(P(None, "sp"), P()),
  )


def problem(window, reset, **options):
  config = attention.Config(8, heads=4, kv_heads=2, window=window, **options)
  rng = np.random.default_rng(0)
  params = attention.init(jax.random.key(0), config)
  params = {name: np.asarray(leaf, float) for name, leaf in params.items()}
  rows = len(reset)
  state = attention.initial_state(config, (rows,))
  state = attention.State(
    rng.normal(size=state.keys.shape),
    rng.normal(size=state.values.shape),
    # Empty, partly filled, full, and long full.
    np.resize([0.0, 2, window, window + 5], rows),
  )
  return config, (params, rng.normal(size=(rows, TIME, 8)), state, reset)


def check(devices, window, scheme, state=True, random=2):
  config, arguments = problem(window, cases.masks(TIME, devices, random))
  params, x, before, reset = arguments
  inputs = (params, x, before) if state else (params, x)

  def evaluate(function):
    @jax.jit
    def run(*inputs):
      def apply(params, x, before=None):
        return function(params, x, before, reset)

      out, pull = jax.vjp(apply, *inputs)
      rng = np.random.default_rng(1)
      draw = lambda leaf: jnp.asarray(rng.normal(size=leaf.shape))  # noqa: E731
      return out, pull(jax.tree.map(draw, out))

    return run(*inputs)

  chex.assert_trees_all_close(
    evaluate(split(config, devices, scheme)),
    evaluate(lambda *xs: attention.apply(config, *xs)),
    rtol=1e-10,  # float64 sums in another order, over all elements and rows.
    atol=1e-11,
  )


# The window reaches into the next device's elements, and beyond all of them.
@pytest.mark.parametrize(
  "window", [20, pytest.param(3, marks=pytest.mark.slow)]
)
def test_halo(x64, window):
  check(4, window, "halo")


def test_ring_behind_a_cache(x64):
  check(4, 15, "ring")


@pytest.mark.slow
@pytest.mark.parametrize("state", [False, True])
@pytest.mark.parametrize("devices", [1, 2, 4])
@pytest.mark.parametrize("scheme", ["ring", *_OTHERS])
def test_schemes(x64, scheme, devices, state):
  check(devices, 20, scheme, state, random=20)


@pytest.mark.slow
@pytest.mark.parametrize("state", [False, True])
@pytest.mark.parametrize("window", [1, 3, 5, 15, 20])
@pytest.mark.parametrize("devices", [1, 2, 8])
def test_halo_of_all_lengths(x64, devices, window, state):
  check(devices, window, "halo", state, random=20)


def test_what_travels_does_not_grow_with_time():
  """Of the halo; every device would have to hear of all keys otherwise."""
  config = attention.Config(8, heads=4, kv_heads=2, window=5)
  params = attention.init(jax.random.key(0), config)

  def received(time):
    x, reset = np.zeros((1, time, 8)), np.zeros((1, time), bool)

    def outputs(params, x, reset):
      return split(config, 4)(params, x, None, reset)[0]

    found = collectives.of(outputs, params, x, reset)
    assert {each.name for each in found} == {"ppermute"}
    return sum(each.received(4) for each in found)

  # Five keys and values of two heads of width two, and five flags; nothing on
  # the first of four devices.
  assert received(32) == received(256) == 5 * (2 * 2 * 2 + 1) * 3 / 4


@pytest.mark.parametrize(
  ("window", "scheme", "message"),
  [
    (3, "ring", "window: got 3, expected at least 15 for scheme 'ring'"),
    (20, "ulysses", "a multiple of the 8 devices"),
    (20, "star", "scheme: got 'star', expected one of 'halo'"),
  ],
)
def test_what_does_not_fit(window, scheme, message):
  config, arguments = problem(window, np.zeros((1, TIME), bool))
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(split(config, 8, scheme), *arguments)
