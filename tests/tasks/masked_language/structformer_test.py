"""StructFormers to golden values, and sentences that depend on no others."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import structformer as cubes
from jaxseq.tasks.masked_language import structformer


def flax_params(data, config, prefix="param/"):
  """Returns the parameters of a golden file, or their gradients."""

  def array(name):
    return data[f"{prefix}{name}"]

  def linear(name):
    return {"kernel": array(f"{name}.weight").T, "bias": array(f"{name}.bias")}

  def norm(name):
    return {"scale": array(f"{name}.weight"), "bias": array(f"{name}.bias")}

  def conv(name):
    kernel = array(f"{name}.conv.weight").transpose(2, 1, 0)
    return {"kernel": kernel, "bias": array(f"{name}.conv.bias")}

  parser = {
    f"layers_{i}": conv(f"parser_layers.{i}.0")
    for i in range(config.parser_layers)
  }
  parser |= {
    "distance": conv("distance_ff.0"),
    "distance_out": linear("distance_ff.3"),
    "height": linear("height_ff.0"),
    "height_out": linear("height_ff.3"),
  }
  params = {
    "embed": {"embedding": array("emb.weight")},
    "log_temperature": array("_scaler"),
    "relations": array("_rel_weight"),
    "parser": parser,
    "norm": norm("norm"),
    "bias": array("output_layer.bias"),
  }
  if config.positions:
    params["positions"] = array("pos_emb.weight")
  for i in range(config.num_layers):
    at = f"layers.{i}"
    params[f"layers_{i}"] = {
      **{x: linear(f"{at}.self_attn.{x}_proj") for x in ("q", "k", "v", "out")},
      "norm": norm(f"{at}.norm"),
      "feedforward_norm": norm(f"{at}.feedforward.0"),
      "feedforward": linear(f"{at}.feedforward.1"),
      "feedforward_out": linear(f"{at}.feedforward.4"),
    }
  return params


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
  "name",
  [
    "sf_softmax",
    pytest.param("sf_sigmoid_cibling_pos", marks=pytest.mark.slow),
  ],
)
def test_networks_are_those_of_the_published_code(golden, name):
  known = golden(f"structformer/{name}")
  names = tuple(
    x.replace("cibling", "sibling") for x in str(known["relations"]).split(",")
  )
  config = structformer.Config(
    int(known["hidden"]),
    int(known["layers"]),
    int(known["heads"]),
    int(known["parser_layers"]),
    int(known["conv_size"]),
    names,
    str(known["weight_act"]),
    "batch",
    positions=500 * bool(known["pos_emb"]),
  )
  network = structformer.StructFormer(config, int(known["vocab"]))
  tokens = jnp.asarray(known["tokens"])
  lengths = (known["tokens"] > 0).sum(-1)
  params = flax_params(known, config)

  def loss(params):
    logits = network.apply({"params": params}, tokens, lengths)
    return jnp.sum(logits * known["cotangent"]), logits

  @jax.jit
  def computed(params):
    parse = network.apply({"params": params}, tokens, lengths, method="parse")
    siblings = structformer.relations(parse.head, ("sibling",))[:, 0]
    scale = jnp.exp(params["log_temperature"])
    likely = structformer.constituents(parse.distance, parse.height, scale[0])
    return jax.grad(loss, has_aux=True)(params), parse, siblings, likely

  (slopes, logits), parse, siblings, (first, last, block) = computed(params)
  spans = first[..., :, None] * last[..., None, :]
  real = known["tokens"] > 0
  np.testing.assert_allclose(logits[real], known["logits"][real], atol=1e-9)
  wanted = flax_params(known, config, "grad/")
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-8), slopes, wanted
  )
  np.testing.assert_allclose(parse.distance, known["distance"], atol=1e-6)
  np.testing.assert_allclose(parse.height, known["height"], atol=1e-9)
  # The published code gives heads to padding, which has none.
  both = real[:, :, None] & real[:, None, :]
  for got, wanted in (
    (parse.head, "head"),
    (siblings, "cibling"),
    (spans, "block_p"),
    (block, "block"),
  ):
    np.testing.assert_allclose(got[both], known[wanted][both], atol=1e-9)
  # Each sentence by itself is what it is in a batch, by its own margin.
  config = dataclasses.replace(config, margin="sentence")
  network = structformer.StructFormer(config, int(known["vocab"]))
  apply = jax.jit(lambda *x: network.apply(*x, method="parse"))
  parse = apply({"params": params}, tokens, lengths)
  for row, length in enumerate(lengths):
    np.testing.assert_allclose(
      parse.distance[row, : length - 1],
      known["distance_alone"][row, : length - 1],
      atol=1e-9,
    )
    at = np.s_[row, :length, :length]
    np.testing.assert_allclose(
      parse.head[at], known["head_alone"][at], atol=1e-9
    )


@pytest.mark.usefixtures("x64")
def test_relations_are_those_of_given_distances(golden):
  known = golden("structformer/relations_only")
  first, last, block = structformer.constituents(
    known["distance"], known["height"], known["temperature"][0]
  )
  spans = first[..., :, None] * last[..., None, :]
  np.testing.assert_allclose(spans, known["block_p"], atol=1e-12)
  np.testing.assert_allclose(block, known["block"], atol=1e-12)
  head = structformer.heads(
    first, last, known["height"], known["temperature"][1]
  )
  np.testing.assert_allclose(head, known["head_with_self"], atol=1e-12)
  np.testing.assert_allclose(head.sum(-1), 1, atol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("scale", [1, 300])
def test_heads_are_those_of_cubes_of_spans(scale):
  rng = np.random.default_rng(0)
  distance, height = scale * rng.normal(size=(2, 3, 13))
  # One sentence is shorter.
  distance[:, -1], distance[0, -3:], height[0, -2:] = 1e9, 1e9, -1e9
  temperature = jnp.array([1.3, 0.8])
  arguments = jnp.asarray(distance), jnp.asarray(height), temperature
  spans, block = cubes.constituents(*arguments[:2], 1.3)
  first, last, found = structformer.constituents(*arguments[:2], 1.3)
  both = first[..., :, None] * last[..., None, :]
  np.testing.assert_array_equal(both, spans)
  np.testing.assert_array_equal(found, block)

  upper = np.triu(np.ones((13, 13), bool))
  ours = jnp.swapaxes(structformer._highest(arguments[1]), -1, -2)
  np.testing.assert_array_equal(
    ours[:, upper], cubes.highest(arguments[1])[:, upper]
  )
  got, wanted = (
    jax.jit(lambda *x, f=f: (f(*x), cubes.gradient(f)(*x)[1]))(*arguments)
    for f in (cubes.by_ends, cubes.by_cubes)
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12),
    got,
    wanted,
  )


def test_memory_is_no_cube_of_the_length():
  time = 256
  arguments = jnp.ones((1, time)), jnp.ones((1, time)), jnp.ones(2)

  def heads(distance, height, temperature):
    inside = jnp.ones_like(height, bool)
    distance = structformer.calibrated(distance, height, inside)
    return cubes.by_ends(distance, height, temperature)

  compiled = jax.jit(cubes.gradient(heads)).lower(*arguments).compile()
  # A cube has 256 such squares.
  square = 4 * time**2
  assert compiled.memory_analysis().temp_size_in_bytes < 100 * square


@pytest.mark.slow
def test_padding_and_other_sentences_change_nothing():
  config = structformer.Config(8, 1, 2, 1, 3, ("head", "child", "sibling"))
  network = structformer.StructFormer(config, 11)
  tokens = jax.random.randint(jax.random.key(0), (2, 7), 0, 11)
  variables = network.init(jax.random.key(1), tokens)
  # Far from its beginning, so that there is a margin to take.
  variables = jax.tree.map(lambda x: 3 * x, variables)
  lengths = jnp.array([7, 4])
  whole = network.apply(variables, tokens, lengths)
  alone = network.apply(variables, tokens[1:, :4])
  np.testing.assert_allclose(whole[1:, :4], alone, atol=1e-4)

  def loss(variables):
    return jnp.sum(network.apply(variables, tokens, lengths)[1, :4] ** 2)

  slopes = jax.grad(loss)(variables)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(slopes))
  kernel = slopes["params"]["parser"]["height"]["kernel"]
  assert np.abs(kernel).max() > 0
  config = dataclasses.replace(config, learn_parser=False)
  network = structformer.StructFormer(config, 11)
  kernel = jax.grad(loss)(variables)["params"]["parser"]["height"]["kernel"]
  assert not np.any(kernel)


def test_options_that_do_not_fit_are_refused():
  with pytest.raises(ValueError, match="heads: got 3, expected a divisor"):
    structformer.Config(8, heads=3)
  with pytest.raises(ValueError, match="relations: got 'parent'"):
    structformer.Config(8, relations=("parent",))
