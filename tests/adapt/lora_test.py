"""Adapters of low rank: which weights they hit, and what they change."""

import functools
import pathlib

from absl import logging
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import nn
from jaxseq import recurrence
from jaxseq.adapt import lora
from jaxseq.adapt import peft_file
from jaxseq.adapt import products
from jaxseq.adapt import quantized
from jaxseq.interop import huggingface
from jaxseq.interop import peft_modules

BASES = pathlib.Path(__file__).resolve().parents[1] / "golden/hybrids"
# Sums of a few dozen numbers of size 1, in another order, through three layers.
_FLOAT32 = {"rtol": 0, "atol": 3e-5}


@functools.cache
def _nemotron():
  config, variables = huggingface.load(BASES / "nemotron_h")
  network = huggingface.make_network(config, variables)
  return network, variables, peft_file.names(BASES / "nemotron_h")


def _own(**options):
  options = {"mixer": "mamba2", "d_model": 16, "num_layers": 2} | options
  network = nn.SequenceNetwork(
    nn.NetworkConfig(nn.StackConfig(**options)), 9, 9
  )
  tokens = jax.random.randint(jax.random.key(1), (2, 12), 0, 9)
  return network, jax.jit(network.init)(jax.random.key(0), tokens), tokens


def _filled(network, variables, targets=("in_proj", "out_proj"), **options):
  """Adapters of which none is zero."""
  config = lora.Config(targets, rank=3, **options)
  adapters = lora.init(jax.random.key(2), network, variables, config)
  return jax.tree.map(lambda leaf: leaf + 0.05, adapters)


def test_a_target_without_a_match_is_an_error():
  network, variables, names = _nemotron()
  config = lora.Config(("q_proj", "gate_proj"))
  with pytest.raises(
    ValueError, match="targets: got 'gate_proj', .* the nearest are .*_proj"
  ):
    lora.match(network, variables, config, names)


def test_taps_of_convolutions_are_no_target():
  network, variables, names = _nemotron()
  with pytest.raises(ValueError, match="'conv_weight', expected names of weig"):
    lora.match(network, variables, lora.Config(("conv_weight",)), names)


def test_missed_recurrent_layers_are_told(monkeypatch):
  said = []
  monkeypatch.setattr(
    logging, "warning", lambda text, *a: said.append(text % a)
  )
  network, variables, names = _nemotron()
  config = lora.Config(("q_proj", "v_proj"), rank=2)
  table = lora.match(network, variables, config, names)
  kinds = [
    layer.mixer if layer.mixes else layer.feedforward
    for layer in network.config.stack.every_layer
  ]
  recurrent = kinds.count("mamba2")
  hit = kinds.count("attention")
  assert said == [
    f"lora: {hit} of {len(kinds)} layers are adapted, none of the "
    f"{recurrent} mamba2."
  ]
  assert table.layers["mamba2"] == (0, recurrent)
  assert table.layers["attention"] == (hit, hit)
  assert all(row.mixer == "attention" for row in table.rows)
  assert sum(row.parameters for row in table.rows) == lora.count(
    lora.init(jax.random.key(0), network, variables, config, names)
  )
  assert f"0 of {recurrent} mamba2" in str(table)
  assert "model.layers.2.mixer.q_proj" in str(table)
  said.clear()
  lora.match(network, variables, lora.Config(("in_proj", "q_proj")), names)
  assert not said


@pytest.mark.slow
def test_mixers_beside_each_other_have_names_of_their_own(monkeypatch):
  said = []
  monkeypatch.setattr(
    logging, "warning", lambda text, *a: said.append(text % a)
  )
  stack = nn.StackConfig(
    mixer="attention",
    parallel={"mamba2": {"headdim": 4, "d_state": 4}},
    d_model=8,
    num_layers=2,
    feedforward="swiglu",
  )
  network = nn.SequenceNetwork(nn.NetworkConfig(stack), 9, 9)
  variables = network.init(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))
  table = lora.match(network, variables, lora.Config(r"stack\..*"))
  kinds = {row.path.rsplit("layers_0/")[-1]: row.mixer for row in table.rows}
  assert kinds["mixer/W_q"] == "attention"
  assert kinds["mixer_1/in_proj"] == "mamba2"
  assert kinds["feedforward/gate/kernel"] == "swiglu"
  every = ("attention", "mamba2", "swiglu")
  assert table.layers == dict.fromkeys(every, (2, 2))
  assert not said
  table = lora.match(network, variables, lora.Config(("W_q", "W_v")))
  assert table.layers["mamba2"] == (0, 2)
  assert said == ["lora: 2 of 2 layers are adapted, none of the 2 mamba2."]


def test_ranks_and_scales_by_patterns():
  network, variables, _ = _own()
  config = lora.Config(
    r".*layers_\d\.mixer\.(in|out)_proj",
    rank=4,
    alpha=2.0,
    rslora=True,
    rank_pattern=((r"layers_1\.mixer\.in_proj", 9),),
    alpha_pattern=(("out_proj", 6.0),),
  )
  rows = lora.match(network, variables, config).rows
  scales = {row.path: (row.rank, row.scale) for row in rows}
  assert scales == {
    "stack/layers_0/mixer/in_proj": (4, 1.0),
    "stack/layers_0/mixer/out_proj": (4, 3.0),
    "stack/layers_1/mixer/in_proj": (9, 2 / 3),
    "stack/layers_1/mixer/out_proj": (4, 3.0),
  }


@pytest.mark.parametrize(
  ("make", "name"),
  [
    (lambda: lora.Config("(in"), "targets"),
    (lambda: lora.Config("in", rank_pattern=(("(in", 2),)), "rank_pattern"),
    (lambda: quantized.Config(keep="(in"), "keep"),
    (
      lambda: peft_modules.pattern({"(in": 2}, ["in"], 1),
      "pattern of a rank or alpha",
    ),
  ],
)
def test_what_is_no_expression_is_named(make, name):
  message = rf"^{name}: got '\(in', expected a regular expression \(missing"
  with pytest.raises(ValueError, match=message):
    make()


@pytest.mark.slow
def test_first_adapters_change_nothing():
  network, variables, tokens = _own()
  config = lora.Config(("in_proj",), dora=True)
  adapters = lora.init(jax.random.key(2), network, variables, config)
  attached = lora.attach(variables, adapters)
  np.testing.assert_allclose(
    network.apply(attached, tokens)[0],
    network.apply(variables, tokens)[0],
    **_FLOAT32,
  )


@pytest.mark.parametrize(
  ("dora", "scan_layers"),
  [
    (False, True),
    pytest.param(True, False, marks=pytest.mark.slow),
    pytest.param(False, False, marks=pytest.mark.slow),
    pytest.param(True, True, marks=pytest.mark.slow),
  ],
)
def test_attached_is_merged(dora, scan_layers):
  network, variables, tokens = _own(scan_layers=scan_layers)
  adapters = _filled(network, variables, dora=dora)
  _check_attached(network, variables, tokens, adapters)


@pytest.mark.slow
@pytest.mark.parametrize(
  "mixers",
  [
    ("mingru", "rglru"),
    ("gru", "attention"),
    ("mamba2", "attention"),
    ("gated_deltanet", "attention"),
    ("rwkv7", "mlstm"),
  ],
  ids="-".join,
)
def test_attached_is_merged_in_every_product(mixers):
  """Of mixers and of feed-forwards, all that can be adapted."""
  network, variables, tokens = _own(
    mixer=mixers[0], hybrid={mixers[1]: {}}, feedforward="swiglu"
  )
  adapters = _filled(network, variables, r"stack\..*", dora=True)
  hit = {path.rsplit("/", 1)[0] for path in adapters}
  # A gated recurrent unit's own weights are one array of several products.
  first = mixers[0] == "gru"
  assert {f"stack/layers_{i}/mixer" for i in range(first, 2)} <= hit
  _check_attached(network, variables, tokens, adapters)


def _is_adapted(leaf):
  return isinstance(leaf, recurrence.LowRank)


def _check_attached(network, variables, tokens, adapters):
  """Asserts that merged and attached adapters, steps and pieces are equal."""
  reset = jnp.zeros(tokens.shape, bool).at[0, 7].set(True)
  apply = jax.jit(network.apply, static_argnames="method")
  merged = lora.merge(variables, adapters)
  attached = lora.attach(variables, adapters)
  want, _ = apply(merged, tokens, None, reset)
  assert np.abs(want - apply(variables, tokens, None, reset)[0]).max() > 0.01
  got, _ = apply(attached, tokens, None, reset)
  np.testing.assert_allclose(got, want, **_FLOAT32)
  first, state = apply(attached, tokens[:, :5], None, reset[:, :5])
  rest, state = apply(attached, tokens[:, 5:-1], state, reset[:, 5:-1])
  last, _ = apply(attached, tokens[:, -1], state, method="step")
  pieces = jnp.concatenate([first, rest, last[:, None]], 1)
  np.testing.assert_allclose(pieces, want, **_FLOAT32)


def test_factors_of_another_weight_are_refused():
  network, variables, _ = _own()
  adapters = _filled(network, variables)
  factors = adapters["stack/layers_0/mixer/in_proj"]
  with pytest.raises(ValueError, match="'stack/layers_7/mixer/in_proj'"):
    lora.attach(variables, {"stack/layers_7/mixer/in_proj": factors})
  with pytest.raises(ValueError, match="out_proj'.: got shape .* a weight"):
    lora.merge(variables, {"stack/layers_0/mixer/out_proj": factors})


def test_a_weight_of_no_product_is_named_where_it_is_used():
  network, variables, tokens = _own()
  path = "stack/layers_0/mixer/conv_weight"
  assert path not in products.weights(network, variables)
  taps, width = variables["params"]["stack"]["layers_0"]["mixer"][
    "conv_weight"
  ].shape
  factors = lora.Factors(jnp.ones((taps, 1)), jnp.ones((1, width)))
  with pytest.raises(ValueError, match=f"params/{path}: got a LowRank"):
    network.apply(lora.attach(variables, {path: factors}), tokens)


def test_dropout_leaves_out_elements_of_the_adapters_input_alone():
  network, variables, tokens = _own()
  del network, tokens
  path = "stack/layers_0/mixer/in_proj"
  n, m = variables["params"]["stack"]["layers_0"]["mixer"]["in_proj"].shape
  factors = lora.Factors(jnp.eye(n), jnp.ones((n, m)), None, 1.0)
  attached = lora.attach(
    variables, {path: factors}, dropout=0.25, key=jax.random.key(0)
  )
  weight = attached["params"]["stack"]["layers_0"]["mixer"]["in_proj"]
  x = jnp.ones((3, 100, n))
  # What the weight itself gives is whole.
  y = recurrence.dense(x, weight) - recurrence.dense(x, weight.w)
  left = np.asarray(y[..., 0]) * 0.75
  np.testing.assert_allclose(left, np.round(left), atol=1e-4)
  # Each element by itself: 16 of them, at each time and in each row.
  assert {10, 11, 12, 13, 14} < set(np.round(left).astype(int).flat)
  np.testing.assert_allclose(left.mean(), 12, atol=0.4)
  with pytest.raises(ValueError, match="key: got None"):
    lora.attach(variables, {path: factors}, dropout=0.25)


def test_mixers_that_widen_their_parameters_have_dropout():
  network, variables, tokens = _own(num_layers=1)
  adapters = _filled(network, variables)

  def loss(adapters, key):
    attached = lora.attach(variables, adapters, dropout=0.25, key=key)
    return jnp.sum(network.apply(attached, tokens)[0] ** 2)

  slopes = jax.eval_shape(jax.grad(loss), adapters, jax.random.key(3))
  assert jax.tree.structure(slopes) == jax.tree.structure(adapters)


@pytest.mark.slow
def test_a_shared_block_of_several_layers_is_attached():
  block = {"layers": (0, 1), "width": 8, "rank": 2, "window": 8}
  network, variables, tokens = _own(shared_block=block)
  config = lora.Config(("L", "W_q", "W_in"), rank=2, dora=True)
  adapters = lora.init(jax.random.key(2), network, variables, config)
  adapters = jax.tree.map(lambda leaf: leaf + 0.1, adapters)
  assert adapters["stack/shared_block_0/L"].a.shape == (2, 16, 2)
  merged = lora.merge(variables, adapters)
  attached = lora.attach(variables, adapters)
  apply = jax.jit(network.apply)
  want, states = apply(merged, tokens)
  got, _ = apply(attached, tokens)
  assert np.abs(want - apply(variables, tokens)[0]).max() > 0.01
  np.testing.assert_allclose(got, want, **_FLOAT32)
  step = jax.jit(
    lambda v: network.apply(v, tokens[:, 0], states, method="step")
  )
  np.testing.assert_allclose(step(attached)[0], step(merged)[0], **_FLOAT32)
