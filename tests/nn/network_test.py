import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import nn

_SMALL = nn.StackConfig(
  "gru", d_model=6, num_layers=2, norm="rms", feedforward="swiglu"
)
# Both sides make the same operations in another order.
_FLOAT32 = {"rtol": 1e-5, "atol": 1e-5}


def _tokens(*shape):
  return jnp.asarray(np.random.default_rng(0).integers(0, 5, shape))


def _network(stack=None, **options):
  stack = dataclasses.replace(_SMALL, **(stack or {}))
  config = nn.NetworkConfig(stack, **options)
  return nn.SequenceNetwork(config, num_outputs=5, vocab_size=5)


@pytest.mark.parametrize(
  "options",
  [
    pytest.param({}, marks=pytest.mark.slow),
    {"tie": True},
    pytest.param({"stack": {"prenorm": False}}, marks=pytest.mark.slow),
  ],
)
def test_sequence_equals_steps_and_halves(options):
  network = _network(**options)
  tokens = _tokens(2, 8)
  variables = jax.jit(network.init)(jax.random.key(0), tokens)
  reset = jnp.zeros((2, 8), bool).at[0, 3].set(True)
  apply = jax.jit(network.apply)
  whole, final = apply(variables, tokens, None, reset)
  assert whole.shape == (2, 8, 5)
  states = network.initial_state((2,))
  first, states = apply(variables, tokens[:, :4], states, reset[:, :4])
  second, states = apply(variables, tokens[:, 4:], states, reset[:, 4:])
  halves = jnp.concatenate([first, second], axis=1)
  chex.assert_trees_all_close((halves, states), (whole, final), **_FLOAT32)
  step = jax.jit(lambda *args: network.apply(*args, method="step"))
  states = network.initial_state((2,))
  for t in range(8):
    y, states = step(variables, tokens[:, t], states, reset[:, t])
    np.testing.assert_allclose(y, whole[:, t], **_FLOAT32)


@pytest.mark.slow
def test_pooling_counts_valid_elements_only():
  network = nn.SequenceNetwork(
    nn.NetworkConfig(_SMALL, pooling="mean"), num_outputs=3
  )
  x = jax.random.normal(jax.random.key(1), (2, 7, 4))
  variables = network.init(jax.random.key(0), x)
  lengths = jnp.array([4, 7])
  y, _ = network.apply(variables, x, lengths=lengths)
  assert y.shape == (2, 3)
  alone, _ = network.apply(variables, x[:1, :4])
  np.testing.assert_allclose(y[:1], alone, **_FLOAT32)


@pytest.mark.slow
def test_pairs_are_encoded_one_by_one():
  config = nn.NetworkConfig(
    dataclasses.replace(_SMALL, num_layers=1),
    pooling="last",
    head_widths=(4,),
  )
  network = nn.SequenceNetwork(config, 3, vocab_size=5, pairs=True)
  tokens = _tokens(2, 2, 7)
  lengths = jnp.array([[4, 7], [5, 2]])
  variables = jax.jit(network.init)(jax.random.key(0), tokens, lengths=lengths)
  apply = jax.jit(network.apply)
  logits, states = apply(variables, tokens, lengths=lengths)
  assert logits.shape == (2, 3)
  for leaf in jax.tree.leaves(states):
    assert leaf.shape[:2] == (2, 2)

  params = variables["params"]
  stack = nn.SequenceModel(config.stack)
  encode = jax.jit(lambda x: stack.apply({"params": params["stack"]}, x)[0])
  for row, ends, found in zip(tokens, lengths, logits):
    a, b = (
      encode(params["embed"]["embedding"][document])[end - 1]
      for document, end in zip(row, ends)
    )
    features = jnp.concatenate([a, b, a - b, a * b])
    expected = nn.MLP((4, 3), "gelu").apply(
      {"params": params["head"]["mlp"]}, features
    )
    np.testing.assert_allclose(found, expected, **_FLOAT32)

  # Neither what the padding holds nor how much there is of it counts.
  padding = jnp.arange(7) >= lengths[..., None]
  longer = jnp.pad(jnp.where(padding, 3, tokens), [(0, 0), (0, 0), (0, 2)])
  other, _ = apply(variables, longer, lengths=lengths)
  np.testing.assert_allclose(other, logits, **_FLOAT32)
  swapped, _ = apply(variables, tokens[:, ::-1], lengths=lengths[:, ::-1])
  assert jnp.abs(swapped - logits).max() > 1e-2


def test_bfloat16_activations():
  tokens = _tokens(2, 7)
  network = _network({"dtype": "bfloat16"}, tie=True)
  variables = jax.jit(network.init)(jax.random.key(0), tokens)
  chex.assert_tree_all_finite(variables)
  for leaf in jax.tree.leaves(variables):
    assert leaf.dtype == jnp.float32
  logits, states = jax.jit(network.apply)(variables, tokens)
  assert logits.dtype == jnp.float32
  for leaf in jax.tree.leaves(states):
    assert leaf.dtype == jnp.float32


def test_gradients_of_a_frequent_token_are_summed_in_float32():
  """In bfloat16 a sum of equal numbers would stop growing at 256 of them."""
  tokens, slopes = jnp.zeros((1, 2000), jnp.int32), {}
  for dtype in ("float32", "bfloat16"):
    network = _network({"dtype": dtype, "num_layers": 0, "norm": "none"})
    variables = jax.jit(network.init)(jax.random.key(0), tokens)

    def loss(params, network=network):
      return jnp.sum(network.apply({"params": params}, tokens)[0])

    gradient = jax.jit(jax.grad(loss))(variables["params"])
    slopes[dtype] = gradient["embed"]["embedding"][0]
  # The numbers that are summed are rounded, by a part of 256 each.
  np.testing.assert_allclose(
    slopes["bfloat16"], slopes["float32"], rtol=2e-2, atol=1
  )


@pytest.mark.slow
@pytest.mark.parametrize(
  "scan_layers", [pytest.param(False, marks=pytest.mark.slow), True]
)
def test_float32_residual_sums_keep_small_terms(scan_layers):
  config = nn.StackConfig(
    "gru",
    d_model=6,
    final_norm=False,
    norm="rms",
    activation="none",
    dtype="bfloat16",
    scan_layers=scan_layers,
    residual_float32=True,
  )
  # What the layers add is at most 1, less than half a step of bfloat16 here.
  x = jnp.full((1, 3, 6), 1000.0)
  variables = jax.jit(nn.SequenceModel(config).init)(jax.random.key(0), x)

  def last_layer(**options):
    model = nn.SequenceModel(dataclasses.replace(config, **options))
    y, _ = model.apply(variables, x)
    assert y.dtype == jnp.bfloat16
    layer = nn.SequenceLayer(dataclasses.replace(config, **options))
    params = variables["params"]["layers" if scan_layers else "layers_0"]
    if scan_layers:
      params = jax.tree.map(lambda leaf: leaf[0], params)
    y, _ = layer.apply({"params": params}, x)
    return y

  narrow = last_layer(residual_float32=False)
  assert narrow.dtype == jnp.bfloat16
  np.testing.assert_array_equal(narrow, x.astype(jnp.bfloat16))
  wide, added = last_layer(), last_layer(residual=False)
  assert wide.dtype == added.dtype == jnp.float32
  assert jnp.max(jnp.abs(added)) > 0.01
  # The sum's own rounding in float32: 1000 / 2^24.
  np.testing.assert_allclose(wide - x, added, rtol=0, atol=1e-4)


def test_dropout_is_on_in_training_only():
  network = _network({"dropout": 0.5})
  tokens = _tokens(2, 7)
  variables = jax.jit(network.init)(jax.random.key(0), tokens)
  apply = jax.jit(network.apply, static_argnames="train")
  once, twice = (
    apply(variables, tokens, train=True, rngs={"dropout": jax.random.key(i)})[0]
    for i in range(2)
  )
  assert jnp.abs(once - twice).max() > 1e-3
  still, _ = apply(variables, tokens)
  again, _ = apply(variables, tokens, train=False)
  np.testing.assert_array_equal(still, again)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"stack": {"mixer": "nothing"}}, "nothing"),
    (
      {"stack": {"mixer_options": (("size", 3),)}},
      "option of mixer .*: got 'size', expected .*; mixer_options={} removes",
    ),
    ({"pooling": "max"}, "pooling: got 'max', expected one of 'none', 'mean'"),
    ({"tie": True, "pooling": "mean"}, "tie: got True, expected False with"),
    ({"stack": {"feedforward": "big"}}, "feedforward: got 'big', expected one"),
    ({"stack": {"feedforward_width": 0}}, "feedforward_width: got 0, expected"),
  ],
)
def test_bad_options(options, message):
  with pytest.raises(ValueError, match=message):
    _network(**options)


def test_bad_inputs():
  network = _network()
  with pytest.raises(
    ValueError, match=r"inputs: got dtype float32, expected integer tok"
  ):
    network.init(jax.random.key(0), jnp.zeros((2, 7)))
  network = nn.SequenceNetwork(nn.NetworkConfig(_SMALL, tie=True), 5)
  with pytest.raises(ValueError, match="vocab_size: got None, expected"):
    network.init(jax.random.key(0), jnp.zeros((2, 7, 3)))
  config = nn.NetworkConfig(_SMALL)
  network = nn.SequenceNetwork(config, 5, vocab_size=5, pairs=True)
  with pytest.raises(
    ValueError, match="pairs: got True, .* with pooling 'none'"
  ):
    network.init(jax.random.key(0), _tokens(3, 2, 7))
  network = network.clone(config=dataclasses.replace(config, pooling="last"))
  with pytest.raises(
    ValueError, match="pairs: got True, expected False in a step"
  ):
    network.init(jax.random.key(0), _tokens(3, 2), None, method="step")


def test_head_bias():
  def head(**options):
    network = _network(head_widths=(3,), **options)
    variables = jax.eval_shape(network.init, jax.random.key(0), _tokens(1, 2))
    return variables["params"]["head"]["mlp"]

  assert head()["dense_1"].keys() == {"kernel", "bias"}
  without = head(head_bias=False)
  assert without["dense_0"].keys() == {"kernel", "bias"}
  assert without["dense_1"].keys() == {"kernel"}


@pytest.mark.slow
def test_elements_are_read_out_where_they_are_asked_for():
  config = nn.NetworkConfig(
    nn.StackConfig("gru", d_model=4, num_layers=1), head_widths=(3,)
  )
  network = nn.SequenceNetwork(config, num_outputs=5, vocab_size=7)
  tokens = jnp.arange(12).reshape(2, 6) % 7
  variables = jax.jit(network.init)(jax.random.key(0), tokens)
  whole, _ = network.apply(variables, tokens)
  at = jnp.asarray([[5, 0], [2, 2]])
  y, _ = network.apply(variables, tokens, at=at)
  # float32, the same products in other shapes.
  np.testing.assert_allclose(
    y, whole[jnp.arange(2)[:, None], at], rtol=1e-5, atol=1e-6
  )
  with pytest.raises(ValueError, match="at: got shape .*, expected None in a"):
    network.apply(variables, tokens[:, 0], None, step=True, at=at)
