"""Stacks of several mixers in turn, on one device and on many."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import collectives
from jaxseq import mixers
from jaxseq import nn

P = jax.sharding.PartitionSpec
TIME, WIDTH, DEVICES = 16, 4, 4
# LASP-2H: states are gathered in one layer, keys and values in the next.
GATHER = ({"axis": "sp"}, {"axis": "sp", "scheme": "gather"})


@functools.cache
def problem(**options):
  """A stack of linear and softmax attention, float64 arrays, and resets."""
  rng = np.random.default_rng(0)
  config = nn.StackConfig(
    "linear_attention",
    {"heads": 2},
    hybrid={"attention": {"heads": 2, "window": TIME}},
    d_model=WIDTH,
    num_layers=4,
    norm="rms",
    activation="full_glu",
    **options,
  )
  model = nn.SequenceModel(config)
  index = np.arange(TIME)
  size = TIME // DEVICES
  reset = np.stack(
    [index < 0, index % size == 0, index % size == size - 1, index >= 0]
    + list(rng.random((2, TIME)) < 0.2)
  )
  x = rng.normal(size=(len(reset), TIME, WIDTH))
  variables = jax.jit(model.init)(jax.random.key(0), x.astype(np.float32))
  variables = jax.tree.map(lambda leaf: np.asarray(leaf, float), variables)
  return model, variables, x, reset


def split(model, options=GATHER):
  mesh = jax.sharding.Mesh(np.asarray(jax.devices()[:DEVICES]), ("sp",))

  def run(variables, x, reset):
    return model.apply(variables, x, None, reset, options=options)

  along = P(None, "sp")
  return jax.shard_map(
    run, mesh=mesh, in_specs=(P(), along, along), out_specs=(along, P())
  )


@pytest.mark.slow
def test_layers_take_turns(x64):
  model, variables, x, reset = problem()
  layers = variables["params"]
  for i, name in enumerate(["A_log", "W_o"] * 2):
    kind = {"A_log": "linear_attention", "W_o": "attention"}[name]
    config = model.config.every_layer[i].mixer_config
    wanted = mixers.get(kind).init(jax.random.key(0), config)
    assert set(layers[f"layers_{i}"]["mixer"]) == set(wanted)


def test_steps_and_pieces_are_the_whole(x64):
  model, variables, x, reset = problem()
  apply = jax.jit(model.apply)
  y, after = apply(variables, x, None, reset)
  step = jax.jit(functools.partial(model.apply, method="step"))
  states, outputs = model.initial_state((len(x),), jnp.float64), []
  for t in range(TIME):
    out, states = step(variables, x[:, t], states, reset[:, t])
    outputs.append(out)
  # float64 sums over at most 17 elements, in another order.
  close = {"rtol": 1e-10, "atol": 1e-11}
  np.testing.assert_allclose(jnp.stack(outputs, axis=1), y, **close)
  chex.assert_trees_all_close(states, after, **close)


@pytest.mark.slow
@pytest.mark.devices
def test_time_over_devices_changes_no_number(x64):
  model, variables, x, reset = problem()

  def whole(variables, x, reset):
    return model.apply(variables, x, None, reset)

  def gradients(apply):
    def loss(variables, x):
      y, states = apply(variables, x, reset)
      return jnp.sum(y**2), (y, states)

    run = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    return jax.jit(run)(variables, x)

  # float64 sums over all elements and rows, in another order.
  chex.assert_trees_all_close(
    gradients(split(model)), gradients(whole), rtol=1e-9, atol=1e-10
  )


@pytest.mark.slow
@pytest.mark.devices
def test_only_softmax_attention_sends_what_grows_with_time():
  model, variables, _, _ = problem()

  def sizes(time):
    x = jax.ShapeDtypeStruct((1, time, WIDTH), np.float32)
    reset = jax.ShapeDtypeStruct((1, time), np.bool_)
    found = collectives.of(
      lambda *xs: split(model)(*xs)[0], variables, x, reset
    )
    assert {each.name for each in found} == {"all_gather"}
    return [each.size for each in found]

  short, long = np.asarray(sizes(TIME // 2)), np.asarray(sizes(TIME))
  # A state; keys with values; and flags of resets. Two layers of each kind.
  np.testing.assert_array_equal(long / short, [1, 2, 2] * 2)


@pytest.mark.devices
@pytest.mark.parametrize(
  "scheme",
  [
    "",
    pytest.param("gather", marks=pytest.mark.slow),
    pytest.param("ring", marks=pytest.mark.slow),
  ],
)
def test_a_network_splits_time_by_its_scheme(x64, scheme):
  config = nn.NetworkConfig(
    nn.StackConfig(
      "linear_attention",
      mixer_options=(("heads", 2),),
      hybrid=(("attention", (("heads", 2), ("window", TIME))),),
      d_model=WIDTH,
      num_layers=2,
    )
  )
  x = np.random.default_rng(0).normal(size=(2, TIME, 3))
  reset = np.zeros((2, TIME), bool)
  reset[1, 5] = True

  def loss(config, variables):
    y, states = nn.SequenceNetwork(config, 2).apply(variables, x, None, reset)
    return jnp.sum(y**2), states

  network = nn.SequenceNetwork(config, 2)
  variables = jax.jit(network.init)(jax.random.key(0), x)
  run = jax.jit(
    jax.value_and_grad(loss, argnums=1, has_aux=True), static_argnums=0
  )
  whole = run(config, variables)
  cut = dataclasses.replace(
    config,
    stack=dataclasses.replace(config.stack, time_axis="sp", time_scheme=scheme),
  )
  mesh = jax.make_mesh(
    (DEVICES,), ("sp",), axis_types=(jax.sharding.AxisType.Auto,)
  )
  with jax.set_mesh(mesh):
    # Parameters are float32, and sums are taken in another order.
    chex.assert_trees_all_close(
      run(cut, variables), whole, rtol=1e-5, atol=1e-6
    )
    text = run.lower(cut, variables).as_text()
  # Keys and values go to neighbors, or to all.
  assert ("collective_permute" in text) == (scheme != "gather")


@pytest.mark.parametrize(
  ("mixer", "options", "message"),
  [
    ("gru", {"mixer_options": {"d_model": 6}}, "mixer_options.d_model: got 6"),
    ("s5", {"time_scheme": "ring"}, "time_scheme: got 'ring', expected ''"),
    (
      "attention",
      {"time_scheme": "star"},
      "got 'star', expected one of '', 'h",
    ),
    (
      "gru",
      {"hybrid": {"attention": {}}, "scan_layers": True},
      "scan_layers: got True, expected False for 2 mixers in turn",
    ),
    (
      "gru",
      {"hybrid": {"attention": {"size": 3}}},
      "option of mixer .*: got 'size', expected",
    ),
    ("gruu", {}, "gruu"),
    (
      "gru",
      {"hybrid": {"lstm": {}}, "num_layers": 1},
      "num_layers: got 1, .*2",
    ),
    (
      "gru",
      {"hybrid": "attention"},
      "hybrid: got 'attention', expected mixers",
    ),
    ("gru", {"hybrid": ["lstm", "gru"]}, "hybrid: got .* expected mixers"),
    ("gru", {"hybrid": {"lstm": None}}, "hybrid: got None, expected names and"),
    (
      "gru",
      {"mixer_options": "x"},
      "mixer_options: got 'x', expected names and",
    ),
  ],
)
def test_errors_name_what_came(mixer, options, message):
  with pytest.raises(ValueError, match=message):
    nn.StackConfig(mixer, **options)


def test_options_are_one_for_each_of_the_mixers():
  config = nn.StackConfig("gru", hybrid={"attention": {}}, d_model=4)
  model = nn.SequenceModel(config)
  with pytest.raises(ValueError, match="options: got .* a tuple of 2"):
    jax.eval_shape(
      lambda x: model.init(jax.random.key(0), x, options=({},) * 3),
      jnp.zeros((1, 4, 4)),
    )
