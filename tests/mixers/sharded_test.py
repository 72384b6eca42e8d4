"""Every mixer with time split over the devices of a mesh axis."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import mixers
from jaxseq import nn
from tests.mixers import cases
from tests.mixers import checks
from tests.recurrence.shared.sharded_cases import assert_close

pytestmark = pytest.mark.devices

P = jax.sharding.PartitionSpec
_SPLIT = P(None, "sp")
# float64 sums in another order; of the largest value of an array, which for
# gradients of parameters is a sum over 25 rows and up to 24 elements.
_FLOAT64 = 1e-12
# Those of a kind whose other members are slow tests.
_LAYERS, _BFLOAT16 = "linear_attention", "aaren"


def _mesh(devices):
  return jax.sharding.Mesh(np.asarray(jax.devices()[:devices]), ("sp",))


def _resets(time, devices):
  """Resets (rows, time) beside the borders, nowhere, everywhere, at random."""
  size = time // devices
  index = np.arange(time)
  rows = [
    index < 0,
    index % size == 0,
    index % size == size - 1,
    (index < size) & (index % 2 == 1),
    index >= 0,
    *(np.random.default_rng(1).random((20, time)) < 0.2),
  ]
  return jnp.asarray(np.stack(rows))


def _split(mixer, devices):
  """`apply` with time split over devices."""
  if not mixers.traits(mixer.module).splits_time:
    pytest.skip("The mixer does not split time.")
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
  state = _some_state(mixer, (len(reset),), dtype)
  return params, x, state, reset


def _some_state(mixer, batch, dtype):
  """A state unlike a fresh one, without compiling `step`."""
  rng = np.random.default_rng(2)
  return jax.tree.map(
    # Maxima of nothing become maxima of something; sums stay positive.
    lambda leaf: (
      jnp.where(jnp.real(leaf) < -1e29, 0, leaf) + rng.random(leaf.shape)
    ).astype(leaf.dtype),
    cases.fresh(mixer, batch, dtype),
  )


@pytest.fixture(scope="module")
def on_four(mixer):
  """`apply` with time split over four devices, compiled once for a mixer."""
  return jax.jit(_split(mixer, 4))


def test_values_are_those_of_one_device(x64, mixer, on_four):
  # A window of four elements reaches over more than one chunk of two.
  arguments = _arguments(mixer, 4, 2)
  assert_close(on_four(*arguments), mixer.apply(*arguments), _FLOAT64)


def test_nothing_of_the_future_leaks(x64, mixer, on_four):
  params, x, state, reset = _arguments(mixer, 4, 2)
  # The second of the two elements of the last chunk.
  t = x.shape[1] - 1
  changed = x.at[:, t].multiply(-2)
  before, after = (on_four(params, z, state, reset)[0] for z in (x, changed))
  np.testing.assert_array_equal(before[:, :t], after[:, :t])
  assert np.any(before[:, t] != after[:, t], axis=-1).all()


def test_packed_documents_do_not_touch_each_other(x64, mixer, on_four):
  """Not a bit changes with the document before, on this device or another."""
  params, x, state, reset = _arguments(mixer, 4, 2)
  time = x.shape[1]
  # The last document of each row that has more than one.
  index = np.where(reset, np.arange(time), 0).max(axis=1)
  rows = np.flatnonzero(index)
  changed = np.array(x)
  changed[rows, index[rows] - 1] += 1
  before, after = (on_four(params, z, state, reset) for z in (x, changed))
  inside = np.arange(time) >= index[:, None]
  np.testing.assert_array_equal(before[0][inside], after[0][inside])
  for one, other in zip(jax.tree.leaves(before[1]), jax.tree.leaves(after[1])):
    np.testing.assert_array_equal(one[rows], other[rows])
  assert np.any(before[0] != after[0])


def test_rows_split_over_devices(x64, common_mixer):
  """Plain data parallelism, with the checks of types that are the default."""
  mixer, mesh, rows = common_mixer, _mesh(4), P("sp")

  def loss(params, x, reset):
    y, state = mixer.module.apply(mixer.config, params, x, None, reset)
    return jax.lax.pmean((y**2).mean(), "sp"), (y, state)

  params, x, _, reset = _arguments(mixer, 4, 2)
  x, reset = x[:8], reset[:8]
  split = jax.shard_map(
    jax.value_and_grad(loss, has_aux=True),
    mesh=mesh,
    in_specs=(P(), rows, rows),
    out_specs=((P(), rows), P()),
  )
  (_, (y, state)), slope = jax.jit(split)(params, x, reset)

  def whole(params):
    y, state = mixer.apply(params, x, None, reset)
    return (y**2).mean(), (y, state)

  (_, expected), expected_slope = jax.value_and_grad(whole, has_aux=True)(
    params
  )
  assert_close((y, state), expected, _FLOAT64)
  assert_close(slope, expected_slope, _FLOAT64)


def _with_gradients(apply, reset):
  """Outputs, states, and the gradients from random cotangents on both."""

  @jax.jit
  def run(*inputs):
    out, pull = jax.vjp(lambda *args: apply(*args, reset), *inputs)
    rng = np.random.default_rng(0)
    cotangents = jax.tree.map(
      lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), out
    )
    return out, pull(cotangents)

  return run


def _check_gradients(mixer, devices, size):
  *inputs, reset = _arguments(mixer, devices, size)
  got, want = (
    _with_gradients(apply, reset)(*inputs)
    for apply in (_split(mixer, devices), mixer.apply)
  )
  assert_close(got, want, _FLOAT64)


# One of each kind: a diagonal state, a matrix, a relay, a cache.
@pytest.mark.parametrize(
  "name",
  [
    "s5",
    pytest.param("linear_attention", marks=pytest.mark.slow),
    "gru",
    pytest.param("attention", marks=pytest.mark.slow),
  ],
)
def test_gradients_of_some_mixers(x64, name):
  _check_gradients(cases.bind((name, cases.short(name))), 4, 2)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_gradients_are_those_of_one_device(x64, mixer, devices):
  _check_gradients(mixer, devices, 3)


def _but_one_slow(quick):
  """All mixers; what is not the quick one belongs to the slow tests."""
  return [
    pytest.param(name, marks=() if name == quick else pytest.mark.slow)
    for name in checks.names()
  ]


@pytest.mark.slow
@pytest.mark.parametrize("name", _but_one_slow(_LAYERS))
def test_vmap_outside_and_a_scan_over_layers_inside(x64, name):
  mixer = cases.bind((name, ()))
  params, x, state, reset = _arguments(mixer, 4, 2)

  def layers(apply):
    def run(params, x, state, reset):
      def layer(x, scale):
        return apply(params, scale * x, state, reset)

      return jax.lax.scan(layer, x, jnp.array([0.5, 1]))

    return run

  split = jax.shard_map(
    layers(functools.partial(mixer.module.apply, mixer.config, axis="sp")),
    mesh=_mesh(4),
    in_specs=(P(), _SPLIT, P(), _SPLIT),
    out_specs=(_SPLIT, P()),
  )
  # Two batches with parameters in common; the second has other rows.
  x, state, reset = jax.tree.map(
    lambda leaf: jnp.stack([leaf, jnp.roll(leaf, 1, axis=0)]), (x, state, reset)
  )
  got, want = (
    _with_gradients(jax.vmap(f, (None, 0, 0, 0)), reset)(params, x, state)
    for f in (split, layers(mixer.apply))
  )
  assert_close(got, want, _FLOAT64)


@pytest.mark.slow
@pytest.mark.parametrize("name", _but_one_slow(_BFLOAT16))
def test_bfloat16_inputs_keep_states_in_float32(name):
  mixer = cases.bind((name, ()))
  params, x, state, reset = _arguments(mixer, 4, 2, jnp.float32)
  x = x.astype(jnp.bfloat16)
  got, want = (
    _with_gradients(apply, reset)(params, x, state)
    for apply in (_split(mixer, 4), mixer.apply)
  )
  assert got[0][0].dtype == got[1][1].dtype == jnp.bfloat16
  for leaf in jax.tree.leaves(got[0][1]):
    assert leaf.dtype in (jnp.float32, jnp.complex64)
  # Sums in float32 of what was rounded alike. Where a state is a product, what
  # enters it is decayed to the end of a chunk first, and chunks differ.
  bounds = {"states": 1e-5, "outputs": 2**-7, "gradients": 2**-7}
  bounds |= checks.of(name).sharded_bfloat16
  assert_close(got[0][1], want[0][1], bounds["states"])
  # What is in bfloat16 is rounded, here and there by one of 8 bits; in some
  # gradients twice.
  assert_close(got[0], want[0], bounds["outputs"])
  assert_close(got[1], want[1], bounds["gradients"])


@pytest.mark.slow
@pytest.mark.parametrize("remat", [False, True])
@pytest.mark.parametrize(
  ("name", "scan_layers"),
  [
    (name, scan_layers)
    for name in checks.names()
    for scan_layers in (False, True)
    # Layers that share values are not alike.
    if not (
      scan_layers
      and any(
        hasattr(mixers.get(name), shared)
        for shared in ("apply_shared", "init_layers")
      )
    )
  ],
)
def test_models_of_all_mixers(x64, name, scan_layers, remat):
  _check_model(
    nn.StackConfig(name, d_model=4, scan_layers=scan_layers, remat=remat)
  )


def _check_model(config):
  model = nn.SequenceModel(config)
  reset = _resets(8, 4)
  x = cases.sequence(*reset.shape)[..., :4]
  variables = jax.jit(model.init)(jax.random.key(0), x)
  variables = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), variables)

  def run(options):
    def apply(variables, x, reset):
      return model.apply(variables, x, None, reset, options=options)

    return apply

  split = jax.shard_map(
    run({"axis": "sp"}),
    mesh=_mesh(4),
    in_specs=(P(), _SPLIT, _SPLIT),
    out_specs=(_SPLIT, P()),
  )

  def gradients(apply):
    def loss(variables, x):
      y, states = apply(variables, x, reset)
      return jnp.sum(y**2), (y, states)

    run = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    return jax.jit(run)(variables, x)

  tolerance = checks.of(config.mixer).sharded_model
  assert_close(gradients(split), gradients(run(None)), tolerance)


def _zeros(module, config):
  """Parameters of the right shapes."""
  shapes = jax.eval_shape(
    lambda key: module.init(key, config), jax.random.key(0)
  )
  return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


@pytest.mark.parametrize("name", ["s4", "s4d", "s5"])
def test_no_bidirectional_models(name):
  module = mixers.get(name)
  config = mixers.make_config(name, d_model=4, bidirectional=True)
  params = _zeros(module, config)
  with pytest.raises(
    ValueError, match="axis: got .*, expected None for a model that"
  ):
    module.apply(config, params, jnp.zeros((1, 4, 4)), axis="sp")


def test_no_arrays_without_time():
  module = mixers.get("lightnet")
  config = mixers.make_config("lightnet", d_model=4)
  params = _zeros(module, config)
  with pytest.raises(
    ValueError, match="axis: got .*, expected None with shape"
  ):
    module.apply(config, params, jnp.zeros((1, 4, 4)), axis="sp", shape=(2, 2))


@pytest.mark.slow
def test_gaps_in_time(x64):
  module, config = (
    mixers.get("s5"),
    mixers.make_config("s5", d_model=cases.D_MODEL, ssm_size=4, blocks=1),
  )
  params = module.init(jax.random.key(0), config)
  reset = _resets(8, 4)
  x = cases.sequence(*reset.shape)
  gaps = jnp.asarray(np.random.default_rng(0).uniform(0.5, 2, reset.shape))

  def run(x, reset, gaps, axis=None):
    return module.apply(config, params, x, None, reset, gaps=gaps, axis=axis)

  split = jax.shard_map(
    functools.partial(run, axis="sp"),
    mesh=_mesh(4),
    in_specs=(_SPLIT,) * 3,
    out_specs=(_SPLIT, P()),
  )
  got, want = (jax.jit(f)(x, reset, gaps) for f in (split, run))
  assert_close(got, want, _FLOAT64)


@pytest.mark.slow
@pytest.mark.parametrize("name", checks.names())
def test_a_second_axis_splits_the_batch(x64, name):
  mixer = cases.bind((name, ()))
  params, x, state, reset = _arguments(mixer, 4, 2)
  x, reset = x[:6], reset[:6]
  state = jax.tree.map(lambda leaf: leaf[:6], state)
  devices = np.asarray(jax.devices()).reshape(2, 4)
  both = P("data", "sp")
  split = jax.shard_map(
    functools.partial(mixer.module.apply, mixer.config, axis="sp"),
    mesh=jax.sharding.Mesh(devices, ("data", "sp")),
    in_specs=(P(), both, P("data"), both),
    out_specs=(both, P("data")),
  )

  def gradients(apply):
    def loss(params, x, state):
      y, state = apply(params, x, state, reset)
      return sum(
        jnp.sum(jnp.real(leaf)) for leaf in jax.tree.leaves((y, state))
      ), y

    run = jax.grad(loss, argnums=(0, 1, 2), has_aux=True)
    return jax.jit(run)(params, x, state)

  got, want = gradients(split), gradients(mixer.apply)
  assert_close(got, want, _FLOAT64)
