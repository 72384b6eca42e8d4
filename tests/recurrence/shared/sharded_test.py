"""The recurrences with time split over devices, against those on one device."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import collectives
from jaxseq import recurrence
from tests import jaxprs
from tests.recurrence.shared import sharded_cases as cases

pytestmark = pytest.mark.devices

P = jax.sharding.PartitionSpec

# One for each recurrence; the others are variants.
_QUICK = (
  "linear",
  "lti",
  "selective",
  "delta",
)
# That of a kind whose other members are slow tests.
_TRANSFORMED = "outer_no_decay"
# Elements of a chunk.
_LENGTH = 4


def _make(name, devices, dtype, length=_LENGTH, random=20):
  """The case and its resets."""
  time = devices * length
  reset = jnp.asarray(cases.masks(time, devices, random))
  return cases.make(name, len(reset), time, dtype), reset


def _with_gradients(function):
  """Outputs, final state, and the gradients from random cotangents on both."""

  def run(timed, fixed, reset):
    out, pull = jax.vjp(lambda *args: function(*args, reset), timed, fixed)
    rng = np.random.default_rng(2)
    cotangents = jax.tree.map(
      lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), out
    )
    return out, pull(cotangents)

  return run


def _check(name, devices, exchange, dtype, tolerance, length=_LENGTH):
  case, reset = _make(name, devices, dtype, length)
  arguments = case.timed, case.fixed, reset
  split = cases.run(case, cases.mesh_of(devices), exchange)
  got, want = (
    jax.jit(_with_gradients(f))(*arguments) for f in (split, cases.run(case))
  )
  cases.assert_close(got, want, tolerance)


@functools.cache
def _compiled(name):
  """Arguments in float64, placed on four devices, and the compiled function."""
  case, reset = _make(name, 4, np.float64)
  mesh = cases.mesh_of(4)

  def place(tree, spec):
    return jax.device_put(tree, jax.sharding.NamedSharding(mesh, spec))

  split = P(None, "sp")
  arguments = (
    place(case.timed, split),
    place(case.fixed, P()),
    place(reset, split),
  )
  run = jax.jit(_with_gradients(cases.run(case, mesh)))
  return case, arguments, run


@pytest.mark.parametrize("name", _QUICK)
@pytest.mark.usefixtures("x64")
def test_values_and_gradients_are_those_of_one_device(name):
  case, arguments, run = _compiled(name)
  (y, final), gradients = run(*arguments)
  want = jax.jit(_with_gradients(cases.run(case)))(*arguments)
  # The same sums in another order: a few units of the last place of float64.
  cases.assert_close(((y, final), gradients), want, 1e-12)
  assert y.sharding.spec[1] == "sp"
  assert all(x.is_fully_replicated for x in jax.tree.leaves(final))


@pytest.mark.parametrize("name", _QUICK)
@pytest.mark.usefixtures("x64")
def test_nothing_of_the_future_leaks(name):
  _, (timed, fixed, reset), run = _compiled(name)
  # In the middle of the last chunk.
  t = reset.shape[1] - 2
  changed = jax.tree.map(lambda x: x.at[:, t].add(1), timed)
  before, after = (run(x, fixed, reset)[0][0] for x in (timed, changed))
  np.testing.assert_array_equal(before[:, :t], after[:, :t])
  assert np.any(before[:, t:] != after[:, t:])


@pytest.mark.parametrize("name", _QUICK)
@pytest.mark.usefixtures("x64")
def test_undefined_numbers_do_not_pass_a_reset(name):
  _, (timed, fixed, reset), run = _compiled(name)
  # The row whose only reset is at the second element of the first chunk.
  row = int(np.argmax((np.sum(reset, axis=1) == 1) & reset[:, 1]))
  bad = jax.tree.map(lambda x: x.at[row, 0].set(jnp.nan), timed)
  got, want = (run(x, fixed, reset)[0] for x in (bad, timed))
  np.testing.assert_array_equal(got[0][row, 1:], want[0][row, 1:])
  jax.tree.map(np.testing.assert_array_equal, got[1], want[1])


@pytest.mark.slow
@pytest.mark.parametrize("exchange", ["gather", "ppermute"])
@pytest.mark.parametrize("devices", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("name", cases.NAMES)
@pytest.mark.usefixtures("x64")
def test_any_number_of_devices(name, devices, exchange):
  _check(name, devices, exchange, np.float64, 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("name", cases.NAMES)
def test_float32(name, devices):
  # Sums of up to 32 numbers in another order, of 24 bits each.
  _check(name, devices, "gather", np.float32, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("length", [1, 150])
@pytest.mark.parametrize("name", cases.NAMES)
@pytest.mark.usefixtures("x64")
def test_any_length(name, length):
  # Sums over up to 300 elements.
  _check(name, 2, "gather", np.float64, 1e-11, length)


def _gradient(case, exchange="gather"):
  run = cases.run(case, cases.mesh_of(8), exchange)

  def loss(timed, fixed, reset):
    return sum(
      jnp.sum(jnp.real(x)) for x in jax.tree.leaves(run(timed, fixed, reset))
    )

  return jax.grad(loss, (0, 1))


@pytest.mark.parametrize(
  "name",
  [
    pytest.param(name, marks=() if name in _QUICK else pytest.mark.slow)
    for name in cases.NAMES
  ],
)
def test_one_exchange_whose_size_does_not_grow_with_time(name):
  sizes = []
  for length in (2, 8):
    case, reset = _make(name, 8, np.float32, length, random=0)
    arguments = case.timed, case.fixed, reset
    run = cases.run(case, cases.mesh_of(8))
    # And no other collective: the final state needs none.
    (gather,) = collectives.of(run, *arguments)
    assert gather.name == "all_gather"
    sizes.append(gather.size)
  assert sizes[0] == sizes[1]
  # A state, and a decay of its size at the most.
  state = sum(
    x.size * (2 if jnp.iscomplexobj(x) else 1)
    for x in jax.tree.leaves(case.fixed["init"])
  )
  assert state <= sizes[0] <= 2 * state + 2 * len(reset)


@pytest.mark.parametrize("name", ["lti", "outer_heads", "softmax_outer_sink"])
def test_the_gradient_adds_one_reduce_scatter(name):
  case, reset = _make(name, 8, np.float32, random=0)
  found = collectives.of(_gradient(case), case.timed, case.fixed, reset)
  # And a sum for each argument that does not depend on time.
  sums = len(jax.tree.leaves(case.fixed))
  assert collectives.count(found) == {
    "all_gather": 1,
    "reduce_scatter": 1,
    "psum": sums,
  }


@pytest.mark.parametrize("name", ["linear", "softmax_outer_sink"])
def test_messages_between_neighbors_grow_with_the_logarithm(name):
  case, reset = _make(name, 8, np.float32, random=0)
  arguments = case.timed, case.fixed, reset
  run = cases.run(case, cases.mesh_of(8), "ppermute")
  messages = 1 + math.ceil(math.log2(8))
  assert collectives.names(run, *arguments) == ["ppermute"] * messages
  gradient = collectives.names(_gradient(case, "ppermute"), *arguments)
  assert gradient == ["ppermute"] * 2 * messages


@pytest.mark.parametrize(
  ("width", "expected"), [(8, ["all_gather"]), (256, ["ppermute"] * 5)]
)
def test_large_summaries_of_many_devices_are_not_gathered(width, expected):
  # 16 devices that are not there: nothing but the types is needed.
  mesh = jax.sharding.AbstractMesh(
    (16,), ("sp",), axis_types=(jax.sharding.AxisType.Auto,)
  )
  split = P(None, "sp")
  run = jax.shard_map(
    lambda q, k, v: recurrence.outer_scan(q, k, v, axis="sp")[0],
    mesh=mesh,
    in_specs=(split,) * 3,
    out_specs=split,
  )
  shape = jax.ShapeDtypeStruct((1, 64, width), np.float32)
  assert collectives.names(run, shape, shape, shape) == expected


@pytest.mark.parametrize(("exchange", "sums"), [("gather", 0), ("ppermute", 1)])
def test_the_final_state_takes_a_sum_only_where_nothing_is_gathered(
  exchange, sums
):
  case, reset = _make("linear", 4, np.float32, random=0)
  arguments = case.timed, case.fixed, reset
  run = jax.jit(cases.run(case, cases.mesh_of(4), exchange))
  text = run.lower(*arguments).compile().as_text()
  assert text.count(" all-gather(") == 1 - sums
  assert text.count(" all-reduce(") == sums
  # Dropped, it costs nothing.
  text = jax.jit(lambda *args: run(*args)[0]).lower(*arguments).compile()
  assert " all-reduce(" not in text.as_text()


@pytest.mark.parametrize("check", [True, False])
def test_parameters_and_types_that_differ_between_devices(check):
  # In type only: the same numbers. Then the last device hands the state out.
  case, reset = _make("lti", 4, np.float32, random=0)

  def scan(timed, fixed, reset):
    zero = jax.lax.axis_index("sp") * 0
    fixed = jax.tree.map(lambda x: x + zero.astype(x.dtype), fixed)
    return recurrence.lti_scan(**timed, **fixed, reset=reset, axis="sp")

  split = P(None, "sp")
  run = jax.shard_map(
    scan,
    mesh=cases.mesh_of(4),
    in_specs=(split, P(), split),
    out_specs=(split, P()),
    check_vma=check,
  )
  arguments = case.timed, case.fixed, reset
  assert collectives.count(collectives.of(run, *arguments)) == {
    "all_gather": 1,
    "psum": 1,
  }
  got, want = (
    jax.jit(_with_gradients(f))(*arguments) for f in (run, cases.run(case))
  )
  cases.assert_close(got, want, 1e-5)  # float32, sums of 16 numbers.


@pytest.mark.slow
@pytest.mark.parametrize(
  "name",
  [
    pytest.param(name, marks=() if name == _TRANSFORMED else pytest.mark.slow)
    for name in cases.NAMES
  ],
)
@pytest.mark.usefixtures("x64")
def test_vmap_outside_and_a_scan_over_layers_inside(name):
  case, reset = _make(name, 4, np.float64)
  # Two batches with parameters in common; the second has other rows.
  both = lambda x: jnp.stack([x, jnp.roll(x, 1, axis=0)])  # noqa: E731
  init = jax.tree.map(both, case.fixed["init"])
  arguments = (
    jax.tree.map(both, case.timed),
    case.fixed | {"init": init},
    both(reset),
  )
  fixed = {key: 0 if key == "init" else None for key in case.fixed}

  def run(layers):
    return jax.jit(_with_gradients(jax.vmap(layers, (0, fixed, 0))))(*arguments)

  got = run(cases.layers(case, cases.mesh_of(4)))
  # As in one layer: the same sums in another order.
  cases.assert_close(got, run(cases.layers(case)), 1e-12)


@pytest.mark.parametrize(
  "name",
  [
    pytest.param(name, marks=() if name == _TRANSFORMED else pytest.mark.slow)
    for name in cases.NAMES
  ],
)
def test_bfloat16_inputs_keep_states_in_float32(name):
  case, reset = _make(name, 4, np.float32)
  # There are no complex numbers of 16 bits.
  timed = {k: jnp.real(x).astype(jnp.bfloat16) for k, x in case.timed.items()}
  arguments = timed, case.fixed, reset
  (got, got_slopes), (want, want_slopes) = (
    jax.jit(_with_gradients(f))(*arguments)
    for f in (cases.run(case, cases.mesh_of(4)), cases.run(case))
  )
  same = lambda x, y: x.dtype == y.dtype  # noqa: E731
  assert jax.tree.all(
    jax.tree.map(same, (got, got_slopes), (want, want_slopes))
  )
  for leaf in jax.tree.leaves(got[1]):
    assert leaf.dtype in (jnp.float32, jnp.complex64)
  # The states are sums in float32, of the same rounded inputs; what meets them
  # in products of bfloat16 is rounded as well, at other places than on one
  # device.
  products = name.startswith(("delta", "dplr", "mlstm", "outer", "siso"))
  cases.assert_close(got[1], want[1], 2**-8 if products else 1e-5)
  # Outputs and slopes are rounded, here and there by one of 8 bits; a quotient
  # of two products of bfloat16 by two, and products of products.
  bits = 6 if name in ("delta_per_channel", "mlstm") else 7
  cases.assert_close((got[0], got_slopes), (want[0], want_slopes), 2**-bits)


def _wide_products(function, length, *arguments):
  """How many products over time have operands in float32."""
  run = _with_gradients(function)
  products = jaxprs.find(jax.make_jaxpr(run)(*arguments), "dot_general")
  operands = (
    (operand.aval for operand in product.invars) for product in products
  )
  return sum(
    any(x.dtype == jnp.float32 for x in pair)
    and any(length in x.shape for x in pair)
    for pair in map(tuple, operands)
  )


@pytest.mark.slow
@pytest.mark.parametrize(
  "name",
  [
    *("outer_heads", "dplr", "mlstm"),
    *(pytest.param(x, marks=pytest.mark.slow) for x in ("outer", "delta")),
  ],
)
def test_products_of_bfloat16_are_those_of_one_device(name):
  """In float32 only where they are so on one device; forward and gradient."""
  devices, length = 4, 7
  case = cases.make(name, 2, devices * length, np.float32)
  timed = {k: x.astype(jnp.bfloat16) for k, x in case.timed.items()}
  reset = jnp.asarray(cases.masks(devices * length, devices, 0))[:2]
  case = case._replace(options=case.options | {"method": "chunked"})
  split = cases.run(case, cases.mesh_of(devices))
  first = jax.tree.map(lambda x: x[:, :length], (timed, reset))

  def alone(timed, fixed, reset):
    function = getattr(recurrence, case.name)
    return function(**timed, **fixed, reset=reset, **case.options)

  assert _wide_products(split, length, timed, case.fixed, reset) <= (
    _wide_products(alone, length, first[0], case.fixed, first[1])
  )


def test_errors_name_what_came():
  b = jnp.zeros((1, 8, 2))

  def run(**options):
    split = jax.shard_map(
      functools.partial(recurrence.linear_scan, axis="sp", **options),
      mesh=cases.mesh_of(4),
      in_specs=(P(), P(None, "sp")),
      out_specs=(P(None, "sp"), P()),
    )
    return jax.eval_shape(split, jnp.ones((2,)), b)

  with pytest.raises(ValueError, match="exchange: got 'ring', expected"):
    recurrence.exchanging("ring")
  with pytest.raises(ValueError, match="method: got .*, expected one of"):
    run(method="none")


@pytest.mark.parametrize("name", cases.NAMES)
def test_time_that_does_not_come_out_even(name):
  case = cases.make(name, 1, 30, np.float32)
  run = cases.run(case, cases.mesh_of(8))
  with pytest.raises(
    ValueError, match=r"mesh axis 'sp' .*, but 8 does not evenly divide 30"
  ):
    jax.eval_shape(run, case.timed, case.fixed, jnp.zeros((1, 30), bool))
