"""Attention with time split over devices, against the definition."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import collectives
from benchmarks import sequence_parallel
from jaxseq import recurrence
from jaxseq.recurrence import reference
from jaxseq.recurrence.attention import exact_attention
from jaxseq.recurrence.attention._schemes import blocks
from jaxseq.recurrence.attention._schemes import layout
from tests.recurrence.shared import sharded_cases as cases

pytestmark = pytest.mark.devices

P = jax.sharding.PartitionSpec
TIME = 16
NAMES = exact_attention.SCHEMES


def definition(q, k, v, reset, causal, d_o):
  """Outputs (rows, heads, time, e), and the gradients of q, k and v."""

  def run(q, k, v):
    return reference.softmax_attention(q, k, v, causal=causal, reset=reset)

  with jax.enable_x64(True):
    o, pull = jax.vjp(run, *(x.astype(np.float64) for x in (q, k, v)))
    return o, pull(d_o.astype(np.float64))


def problem(rows, heads=8, groups=2, dtype=np.float64, time=TIME):
  rng = np.random.default_rng(0)
  return (
    rng.normal(size=(rows, heads, time, 4)).astype(dtype),
    rng.normal(size=(rows, groups, time, 4)).astype(dtype),
    rng.normal(size=(rows, groups, time, 3)).astype(dtype),
  )


def split(name, devices, with_reset=True, **options):
  """A scheme as a function of whole arrays; in zig-zag order if so asked."""
  scheme = functools.partial(
    recurrence.softmax_attention, axis="sp", scheme=name, **options
  )
  long, flags = P(None, None, "sp"), P(None, "sp")
  return jax.shard_map(
    lambda q, k, v, *reset: scheme(q, k, v, reset=reset[0] if reset else None),
    mesh=cases.mesh_of(devices),
    in_specs=(long,) * 3 + (flags,) * with_reset,
    out_specs=long,
  )


def check(name, devices, order, causal, dtype=np.float64):
  """Values, gradients, causality, and where the results lie."""
  tolerance = 1e-12 if dtype == np.float64 else 1e-5
  reset = cases.masks(TIME, devices)
  arrays = problem(len(reset), dtype=dtype)
  d_o = np.random.default_rng(2).normal(size=(*arrays[0].shape[:3], 3))
  d_o = d_o.astype(dtype)
  places = np.arange(TIME)
  if order == "zigzag":
    places = recurrence.zigzag_order(TIME, devices)
  function = split(name, devices, order=order, causal=causal)

  @jax.jit
  def run(q, k, v, reset, d_o):
    o, pull = jax.vjp(lambda *qkv: function(*qkv, reset), q, k, v)
    return o, pull(d_o)

  sharding = jax.NamedSharding(cases.mesh_of(devices), P(None, None, "sp"))
  flat = jax.NamedSharding(cases.mesh_of(devices), P(None, "sp"))

  def evaluate(*arrays):
    *arrays, flags = (x[:, ..., places, :] for x in arrays)
    placed = [jax.device_put(x, sharding) for x in arrays]
    flags = jax.device_put(flags[..., 0], flat)
    o, gradients = run(*placed[:3], flags, placed[3])
    assert o.sharding.is_equivalent_to(sharding, o.ndim)
    back = np.argsort(places)
    return jax.tree.map(lambda x: np.asarray(x)[:, :, back], (o, gradients))

  got = evaluate(*arrays, d_o, reset[..., None])
  want = definition(*arrays, reset, causal, d_o)
  # The same sums in another order.
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=tolerance),
    got,
    want,
  )
  assert got[0].dtype == dtype
  if causal:
    # What comes later leaves no trace, not even in rounding.
    last = TIME - TIME // devices // 2 - 1
    other = [np.copy(x) for x in arrays]
    for x in other:
      x[:, :, last:] = np.nan
    changed = evaluate(*other, d_o, reset[..., None])[0]
    np.testing.assert_array_equal(changed[:, :, :last], got[0][:, :, :last])


@pytest.mark.parametrize(
  "name",
  [
    pytest.param(x, marks=() if x in ("gather", "ring") else pytest.mark.slow)
    for x in NAMES
  ],
)
def test_undefined_numbers_stay_in_their_episode(name):
  """Of queries, keys, values and cotangents, on four devices."""
  arrays = (
    *problem(1, heads=4, dtype=np.float32),
    np.ones((1, 4, TIME, 3), "f4"),
  )
  borders = (0, 5, 11, TIME)
  reset = np.isin(np.arange(TIME), borders[1:])[None]

  @jax.jit
  def pulled(q, k, v, d_o):
    o, pull = jax.vjp(lambda *x: split(name, 4)(*x, reset), q, k, v)
    return o, *pull(d_o)

  for begin, end in itertools.pairwise(borders):
    others = (np.arange(TIME) < begin) | (np.arange(TIME) >= end)
    sound = [x.copy() for x in arrays]
    sound[3][:, :, ~others] = 0  # It has no part in the loss.
    expected = jax.device_get(pulled(*sound))
    for i in range(4):
      damaged = [x.copy() for x in sound]
      damaged[i][:, :, ~others] = np.nan
      got = jax.device_get(pulled(*damaged))
      for x, y in zip(got, expected):
        np.testing.assert_array_equal(x[:, :, others], y[:, :, others])
      # An undefined cotangent is not hidden where it belongs.
      assert i < 3 or all(np.isnan(x[:, :, ~others]).all() for x in got[1:])


@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients_are_those_of_one_device(x64, name):
  check(name, 4, "contiguous", causal=True)


@pytest.mark.slow
@pytest.mark.parametrize(
  "name", ["ring", pytest.param("token_ring", marks=pytest.mark.slow)]
)
def test_zigzag_order_and_few_queries_at_a_time(x64, monkeypatch, name):
  monkeypatch.setattr(blocks, "_TILE", 2)
  check(name, 2, "zigzag", causal=True)


@pytest.mark.slow
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("order", layout.ORDERS)
@pytest.mark.parametrize("devices", [1, 2, 4, 8])
@pytest.mark.parametrize("name", NAMES)
def test_all_orders_and_numbers_of_devices(x64, name, devices, order, causal):
  check(name, devices, order, causal)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2, 4, 8])
@pytest.mark.parametrize("name", NAMES)
def test_float32(name, devices):
  check(name, devices, "contiguous", causal=True, dtype=np.float32)


@pytest.mark.slow
def test_bfloat16_is_accumulated_in_float32():
  q, k, v = (jnp.asarray(x, jnp.bfloat16) for x in problem(2))
  reset = cases.masks(TIME, 2, 0)[4:6]
  functions = [split(name, 2) for name in NAMES]
  got = jax.jit(lambda *xs: [f(*xs) for f in functions])(q, k, v, reset)
  q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
  want, _ = definition(q, k, v, reset, True, np.zeros((*q.shape[:3], 3)))
  for o in got:
    assert o.dtype == jnp.bfloat16
    # Half a unit of the last of eight bits, for weights, whose products with
    # values up to 4 are summed to 1.5 here, and for the result.
    np.testing.assert_allclose(
      np.asarray(o, np.float64), want, rtol=2**-8, atol=1.5 * 2**-8
    )


@pytest.mark.parametrize(
  "name",
  [
    name if name == "ring" else pytest.param(name, marks=pytest.mark.slow)
    for name in NAMES
  ],
)
def test_vmap_outside_and_a_scan_over_layers_inside(x64, name):
  reset = cases.masks(TIME, 4)[:6]
  # As many keys as queries, and as wide, so that layers can be stacked.
  q, k, _ = problem(len(reset), groups=8)
  both = lambda x: jnp.stack([x, jnp.roll(x, 1, axis=0)])  # noqa: E731

  def gradients(attend):
    def layers(q, k, reset):
      def layer(x, _):
        return x + attend(x, k, x, reset), None

      return jax.lax.scan(layer, q, length=3)[0]

    def loss(q, k):
      o = jax.vmap(layers)(q, k, both(reset))
      return jnp.sum(jnp.sin(o)), o

    return jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(
      both(q), both(k)
    )

  got = gradients(split(name, 4))
  # One device holds all; the same sums in another order, three times.
  want = gradients(split("gather", 1))
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=1e-11),
    got,
    want,
  )


def test_a_query_that_sees_nothing_of_a_block_gets_the_average_of_nothing():
  q, k, v = problem(1, dtype=np.float32)
  v[0, 0, 3] = k[0, 1, 5] = np.nan

  def attend(q, k, v):
    now = np.arange(TIME)
    future = blocks.Sight(now, now + TIME, None, None)
    return blocks.attend(q, k, v, future)

  state, pull = jax.vjp(attend, q, k, v)
  np.testing.assert_array_equal(state.m, np.full_like(q[..., 0], -1e30))
  np.testing.assert_array_equal(state.u, np.zeros(q.shape[:3]))
  np.testing.assert_array_equal(state.w, np.zeros((*q.shape[:3], 3)))
  for gradient in pull(jax.tree.map(jnp.ones_like, state)):
    np.testing.assert_array_equal(gradient, np.zeros_like(gradient))


def trace(name, devices, time, gradient=False):
  """A function and arguments, to be traced."""
  function = split(name, devices, with_reset=False)
  if gradient:
    forward = function
    function = jax.grad(lambda *xs: jnp.sum(forward(*xs) ** 2), (0, 1, 2))
  return function, *problem(1, time=devices * time, dtype=np.float32)


@pytest.mark.parametrize(
  ("name", "forward", "gradient"),
  [
    ("gather", {"all_gather": 1}, {"all_gather": 1, "reduce_scatter": 1}),
    # Keys and values in one message, then with their gradients behind them,
    # which have one more hop to go.
    ("ring", {"ppermute": 3}, {"ppermute": 3 + 6 + 1}),
    ("ring_self_attention", {"ppermute": 6}, {"ppermute": 12}),
    ("token_ring", {"ppermute": 6}, {"ppermute": 12}),
    ("ulysses", {"all_to_all": 4}, {"all_to_all": 8}),
  ],
)
def test_number_of_collectives(name, forward, gradient):
  assert collectives.count(collectives.of(*trace(name, 4, 2))) == forward
  program = trace(name, 4, 2, gradient=True)
  assert collectives.count(collectives.of(*program)) == gradient


def test_resets_cost_one_gather_of_flags():
  flags = np.zeros((1, 8 * TIME), bool)
  arrays = problem(1, time=8 * TIME, dtype=np.float32)
  for name in ("gather", "ulysses"):
    found = collectives.of(split(name, 8), *arrays, flags)
    extra = [each for each in found if each.dtype == bool]
    assert [(e.name, e.shape) for e in extra] == [("all_gather", (1, TIME))]
    without = collectives.of(split(name, 8, False), *arrays)
    assert len(found) == len(without) + 1


def test_memory_of_the_ring_does_not_grow_with_the_number_of_devices():
  def largest(name, devices):
    program = trace(name, devices, 4, gradient=True)
    return collectives.largest(*program)

  assert largest("ring", 8) == largest("ring", 2)
  # The gathered keys and values, of width 7.
  assert largest("gather", 8) == 8 * 2 * 4 * 7


def test_memory_of_the_ring_does_not_grow_with_the_square_of_a_chunk():
  # Not even who sees whom is there for all queries at once.
  time = 4096
  assert collectives.largest(*trace("ring", 2, time, gradient=True)) < time**2


def test_work_is_that_of_the_parts_that_see_something():
  devices = 4
  expected = np.zeros((devices, devices), int)
  order = recurrence.zigzag_order(TIME, devices).reshape(2 * devices, -1)
  for i, q in enumerate(order):
    for j, k in enumerate(order):
      sees = q.max() >= k.min()
      expected[(i // 2 - j // 2) % devices, i // 2] += sees
  work = sequence_parallel.ring_work(devices, "zigzag")
  np.testing.assert_array_equal(work, expected)
  # All devices do the same, in every step: two of four quarters.
  np.testing.assert_array_equal(work, [[3] * 4] + [[2] * 4] * 3)
  moving = sequence_parallel.ring_work(devices, "zigzag", "queries")
  np.testing.assert_array_equal(moving, work)
  np.testing.assert_array_equal(
    sequence_parallel.ring_work(devices).sum(0), [4, 8, 12, 16]
  )


def test_zigzag_is_undone():
  x = np.arange(2 * 24 * 3).reshape(2, 24, 3)
  there = recurrence.to_zigzag(x, 3)
  np.testing.assert_array_equal(there[:, :8], x[:, [*range(4), *range(20, 24)]])
  np.testing.assert_array_equal(recurrence.from_zigzag(there, 3), x)
  positions = jax.shard_map(
    lambda: recurrence.local_positions(8, "sp", "zigzag"),
    mesh=cases.mesh_of(3),
    in_specs=(),
    out_specs=P("sp"),
  )()
  np.testing.assert_array_equal(positions, recurrence.zigzag_order(24, 3))


@pytest.mark.parametrize(
  ("name", "devices", "shapes", "options", "message"),
  [
    (
      "ulysses",
      8,
      {"heads": 6},
      {},
      "a multiple of the 8 devices on axis 'sp'",
    ),
    (
      "ring",
      2,
      {},
      {"order": "random"},
      "order: got 'random', expected one of",
    ),
    (
      "ring",
      16 // 2,
      {"time": 8},
      {"order": "zigzag"},
      "time: got 1, expected an even number",
    ),
    ("ring", 2, {"groups": 3}, {}, "k: got shape .*, expected .* divisor of 8"),
  ],
)
def test_what_does_not_fit(name, devices, shapes, options, message):
  function = split(name, devices, with_reset=False, **options)
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(function, *problem(1, **shapes))


def test_zigzag_needs_a_length_that_fits():
  with pytest.raises(
    ValueError, match="time: got 12, expected a multiple of twice"
  ):
    recurrence.to_zigzag(np.zeros((12, 1)), 4)


@pytest.mark.slow
@pytest.mark.parametrize(
  "order", [pytest.param("contiguous", marks=pytest.mark.slow), "zigzag"]
)
def test_one_device_is_the_whole_sequence(order):
  reset = cases.masks(TIME, 2)
  q, k, v = problem(len(reset), dtype=np.float32)
  got = recurrence.softmax_attention(q, k, v, reset=reset, order=order)
  want = split("ring", 1, order=order)(q, k, v, reset)
  # The same numbers, which another program sums in an order of its own on some
  # processors.
  np.testing.assert_allclose(got, want, rtol=2**-20, atol=2**-20)
