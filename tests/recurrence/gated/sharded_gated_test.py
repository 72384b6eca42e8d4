"""Gated networks with time split over devices, against one device."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import collectives
from jaxseq import recurrence
from jaxseq.mixers.gated import lstm
from jaxseq.recurrence import kernels
from jaxseq.recurrence.gated import _gated_sharded
from tests.recurrence.shared import sharded_cases as cases

pytestmark = pytest.mark.devices

P = jax.sharding.PartitionSpec
TIME = 16
_CELL = lstm._CELL  # Two leaves of state; inputs of four gates.
_SCHEMES = ("batch", "heads", "relay")


def problem(rows, heads=4, time=TIME, dtype=np.float64, bias=True):
  """Weights, state and inputs; a bias on the recurrent side too."""
  rng = np.random.default_rng(0)
  features, inputs = 2, 3

  def normal(*shape):
    return rng.normal(size=shape).astype(dtype)

  params = recurrence.GatedParams(
    normal(inputs, 4, heads * features),
    normal(4, heads * features),
    normal(heads, features, 4, features),
    normal(4, heads * features) if bias else None,
  )
  state = normal(heads, rows, features), normal(heads, rows, features)
  return params, state, normal(time, rows, inputs)


def split(devices, scheme, with_reset=True):
  def scan(params, state, x, reset=None):
    return recurrence.gated_scan(
      _CELL, params, state, x, axis="sp", scheme=scheme, reset=reset
    )

  return jax.shard_map(
    scan,
    mesh=cases.mesh_of(devices),
    in_specs=(P(), P(), P("sp")) + (P("sp"),) * with_reset,
    out_specs=(P("sp"), P()),
  )


def whole(params, state, x, reset):
  return recurrence.gated_scan(_CELL, params, state, x, reset=reset)


def evaluate(function, arguments, reset):
  @jax.jit
  def run(*arguments):
    out, pull = jax.vjp(lambda *xs: function(*xs, reset), *arguments)
    rng = np.random.default_rng(2)
    draw = lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype)  # noqa: E731
    return out, pull(jax.tree.map(draw, out))

  return run(*arguments)


def check(devices, scheme, dtype=np.float64, tolerance=1e-12):
  reset = cases.masks(TIME, devices, random=25)
  arguments = problem(len(reset), heads=8, dtype=dtype)
  got, want = (
    evaluate(f, arguments, reset.T) for f in (split(devices, scheme), whole)
  )
  cases.assert_close(got, want, tolerance)


@pytest.mark.parametrize(
  "scheme",
  [
    *(pytest.param(name, marks=pytest.mark.slow) for name in _SCHEMES[:-1]),
    "relay",
  ],
)
def test_values_and_gradients_are_those_of_one_device(x64, scheme):
  check(4, scheme)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2, 8])
@pytest.mark.parametrize("scheme", _SCHEMES)
def test_other_numbers_of_devices(x64, scheme, devices):
  check(devices, scheme)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2, 4, 8])
@pytest.mark.parametrize("scheme", _SCHEMES)
def test_float32(scheme, devices):
  # Sums over 16 elements and 32 rows in another order, of 24 bits each.
  check(devices, scheme, np.float32, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", _SCHEMES)
def test_bfloat16_inputs_keep_states_in_float32(scheme):
  reset = cases.masks(TIME, 4, random=25)
  params, state, x = problem(len(reset), heads=8, dtype=np.float32)
  arguments = params, state, jnp.asarray(x, jnp.bfloat16)
  got, want = (
    evaluate(f, arguments, reset.T) for f in (split(4, scheme), whole)
  )
  assert {leaf.dtype for leaf in got[0][1]} == {np.dtype(np.float32)}
  assert got[1][2].dtype == jnp.bfloat16
  cases.assert_close(got[0][1], want[0][1], 1e-5)  # float32, as above.
  # What is in bfloat16 is rounded, here and there by one of 8 bits.
  cases.assert_close(got, want, 2**-7)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", _SCHEMES)
def test_vmap_outside_and_a_scan_over_layers_inside(x64, scheme):
  reset = cases.masks(TIME, 4, random=25)
  params, state, _ = problem(len(reset), heads=8)
  # As wide as the states that a layer hands to the next one.
  rng = np.random.default_rng(3)
  x = rng.normal(size=(TIME, len(reset), 16))
  kernel = rng.normal(size=(16, *params.input_kernel.shape[1:])) / 4
  params = params._replace(input_kernel=kernel)

  def layers(scan):
    def run(params, state, x, reset):
      def layer(x, scale):
        hidden, final = scan(params, state, scale * x, reset)
        hidden = jnp.moveaxis(hidden, 1, 2)
        return hidden.reshape(*hidden.shape[:2], -1), final

      return jax.lax.scan(layer, x, jnp.array([0.5, 1, 0.7]))

    return run

  def own(params, state, x, reset):
    return recurrence.gated_scan(
      _CELL, params, state, x, axis="sp", scheme=scheme, reset=reset
    )

  over = jax.shard_map(
    layers(own),
    mesh=cases.mesh_of(4),
    in_specs=(P(), P(), P("sp"), P("sp")),
    out_specs=(P("sp"), P()),
  )
  # Two batches, with weights in common.
  x = np.stack([x, x[:, ::-1]])
  resets = np.stack([reset.T, reset.T[:, ::-1]])

  def both(scan):
    return jax.vmap(scan, (None, None, 0, 0))

  got, want = (
    evaluate(both(f), (params, state, x), resets) for f in (over, layers(whole))
  )
  cases.assert_close(got, want, 1e-12)


def test_without_resets_and_biases(x64):
  arguments = problem(1, heads=1, bias=False)
  got = jax.jit(split(2, "auto", with_reset=False))(*arguments)
  # float64 rounding: the same steps.
  chex.assert_trees_all_close(got, whole(*arguments, None), rtol=1e-12)


@pytest.mark.parametrize(
  ("scheme", "expected"),
  [
    # Inputs or what each head makes of them, and hidden states.
    ("batch", {"all_to_all": 2}),
    ("heads", {"all_to_all": 2}),
    # Two leaves of state.
    ("relay", {"ppermute": 7 * 2}),
  ],
)
def test_number_of_collectives(scheme, expected):
  scan = split(8, scheme, with_reset=False)
  arguments = problem(8, heads=8, dtype=np.float32)
  found = collectives.of(lambda *xs: scan(*xs)[0], *arguments)
  assert collectives.count(found) == expected
  # The last state is one sum for each leaf, or of both.
  found = collectives.of(lambda *xs: scan(*xs)[1], *arguments)
  assert collectives.count(found)["psum"] in (1, 2)


def test_turns_leave_nothing_behind_but_states():
  scan = split(8, "relay", with_reset=False)
  arguments = problem(2, heads=1, time=8 * 32, dtype=np.float32)

  def loss(*arguments):
    return jnp.sum(scan(*arguments)[0] ** 2)

  largest = collectives.largest(jax.grad(loss, (0, 1, 2)), *arguments)
  # Four gates of a chunk, and not of each of seven turns.
  assert largest < 2 * 32 * 2 * 4 * 2


def test_auto_takes_the_first_that_fits():
  choose = _gated_sharded.choose
  assert choose("auto", devices=4, batch=8, heads=4) == "batch"
  assert choose("auto", devices=4, batch=3, heads=4) == "heads"
  assert choose("auto", devices=4, batch=3, heads=2) == "relay"
  assert choose("relay", devices=4, batch=8, heads=4) == "relay"


@pytest.mark.parametrize(
  ("scheme", "message"),
  [
    ("batch", "rows of the batch: got 3, expected a multiple of the 2 devices"),
    ("heads", "number of heads: got 1, expected a multiple of the 2 devices"),
    ("turns", "scheme: got 'turns', expected one of 'auto', 'batch'"),
  ],
)
def test_what_does_not_fit(scheme, message):
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(split(2, scheme, False), *problem(3, heads=1))


def test_kernels_lower_with_checked_types():
  if jax.__version_info__ < (0, 11):
    pytest.skip("Hopper kernels need jax 0.11.")
  params, state, x = problem(8, dtype=np.float32)

  def loss(params, state, x):
    hidden, _ = recurrence.gated_scan(
      *(_CELL, params, state, x),
      axis="sp",
      scheme="batch",
      method="pallas",
    )
    return jax.lax.psum(jnp.sum(hidden.astype(jnp.float32) ** 2), "sp")

  gradient = jax.shard_map(
    jax.grad(loss, argnums=(0, 1, 2)),
    mesh=cases.mesh_of(2),
    in_specs=(P(), P(), P("sp")),
    out_specs=(P(), P(), P("sp")),
  )
  with kernels.choosing_for("gpu", "sm_90"):
    traced = jax.jit(gradient).trace(params, state, x.astype(jnp.bfloat16))
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
  # Forward and backward.
  assert text.count("custom_call @mosaic_gpu") == 2
