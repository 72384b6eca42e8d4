"""Weights in 8 bits: what is rounded, how, and what that changes."""

import functools
import json
import os
import pathlib
import shutil

import chex
from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxseq
from jaxseq import generation
from jaxseq import nn
from jaxseq import recurrence
from jaxseq.adapt import lora
from jaxseq.adapt import quantized
from jaxseq.interop import huggingface
from jaxseq.interop import safetensors_file
from tests import programs

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
MODELS = sorted(path.name for path in (GOLDEN / "hybrids").iterdir())
# Another order of sums in float32, through two layers.
_FLOAT32 = {"rtol": 0, "atol": 3e-5}


@functools.cache
def _golden():
  with np.load(GOLDEN / "adapt" / "quantized.npz") as arrays:
    return {key: arrays[key] for key in arrays.files}


def _own(**options):
  options = {"mixer": "short_conv", "d_model": 16, "num_layers": 1} | options
  tie = options.pop("tie", False)
  options["activation"] = "none"
  config = nn.NetworkConfig(nn.StackConfig(**options), tie=tie)
  network = nn.SequenceNetwork(config, 9, 9)
  generator = np.random.default_rng(0)
  tokens = jnp.asarray(generator.integers(0, 9, (2, 12)), jnp.int32)
  shapes = jax.eval_shape(network.init, jax.random.key(0), tokens)
  variables = jax.tree.map(
    lambda x: jnp.asarray(0.3 * generator.standard_normal(x.shape), x.dtype),
    shapes,
  )
  return network, variables, tokens


def _nodes(variables):
  """The weights in 8 bits, by paths."""
  flat = traverse_util.flatten_dict(variables["params"], sep="/")
  return {k: v for k, v in flat.items() if isinstance(v, quantized.Int8)}


def _arrays(variables):
  """The same numbers as arrays."""

  def is_node(leaf):
    return isinstance(leaf, recurrence.Weight)

  return jax.tree.map(
    lambda leaf: leaf.array() if is_node(leaf) else leaf,
    variables,
    is_leaf=is_node,
  )


def test_golden_integers_and_scales():
  golden = _golden()
  q, scale = quantized.to_int8(golden["w"])
  np.testing.assert_array_equal(q, golden["q"])
  np.testing.assert_array_equal(scale, golden["scale"])


@pytest.mark.parametrize(
  ("activations", "name"), [("float", "y_int8"), ("int8", "y_w8a8")]
)
def test_golden_products(activations, name):
  golden = _golden()
  pair = jnp.asarray(golden["q"]), jnp.asarray(golden["scale"])
  weight = quantized.Int8(*pair, activations)
  y = recurrence.dense(jnp.asarray(golden["x"]), weight)
  # Rounding of sums of 64 numbers.
  np.testing.assert_allclose(y, golden[name], rtol=1e-5, atol=1e-5)
  one = recurrence.dense(jnp.asarray(golden["x"][0]), weight)
  np.testing.assert_allclose(one, golden[name][0], rtol=1e-5, atol=1e-5)


def test_halves_go_to_even_numbers():
  w = np.array([[127.0, 0.5, 1.5, 2.5, -0.5, -1.5]]).T
  q, scale = quantized.to_int8(w)
  assert scale == [1]
  np.testing.assert_array_equal(q[:, 0], [127, 0, 2, 2, 0, -2])


def test_smallest_and_infinite_numbers():
  # The scale of the smallest numbers has few digits.
  q, _ = quantized.to_int8(np.full((2, 1), 2e-43, np.float32))
  np.testing.assert_array_equal(q, 127)
  with pytest.raises(ValueError, match="numbers that are not finite"):
    quantized.to_int8(np.array([[np.inf], [1.0]]))


@pytest.mark.parametrize("activations", ["float", "int8"])
def test_gradients_are_those_of_the_array(activations):
  golden = _golden()
  x = jnp.asarray(golden["x"])
  pair = jnp.asarray(golden["q"]), jnp.asarray(golden["scale"])
  target = jnp.cos(jnp.arange(x.shape[0] * pair[0].shape[1], dtype=jnp.float32))

  def loss(x, scale):
    weight = quantized.Int8(pair[0], scale, activations)
    return target @ recurrence.dense(x, weight).ravel()

  def plain(x, scale):
    return target @ (x @ (pair[0] * scale)).ravel()

  if activations == "int8":
    step = golden["x_scale"]
    rounded = jnp.asarray(golden["x_q"] * step)
  else:
    rounded = x
  got, want = (jax.grad(f, (0, 1)) for f in (loss, plain))
  np.testing.assert_allclose(
    got(x, pair[1])[0], want(x, pair[1])[0], rtol=1e-4, atol=1e-4
  )
  np.testing.assert_allclose(
    got(x, pair[1])[1], want(rounded, pair[1])[1], rtol=1e-4, atol=1e-3
  )


def test_products_and_the_embedding_are_rounded_and_nothing_else():
  network, variables, _ = _own(
    feedforward="experts",
    feedforward_options={"experts": 2, "active": 1, "shared_width": 8},
  )
  result = quantized.quantize(network, variables, quantized.Config("float"))
  layers = {
    "stack/layers_0/mixer/W_in",
    "stack/layers_0/mixer/W_out",
    *(
      f"stack/layers_0/feedforward/shared/{x}/kernel"
      for x in ("in", "gate", "out")
    ),
  }
  head = "head/mlp/dense_0/kernel"
  nodes = _nodes(result)
  assert nodes.keys() == {*layers, head, "embed/embedding"}
  assert all(node.q.dtype == jnp.int8 for node in nodes.values())
  flat = traverse_util.flatten_dict(variables["params"], sep="/")
  rest = traverse_util.flatten_dict(result["params"], sep="/")
  for path in flat.keys() - nodes.keys():
    assert rest[path] is flat[path]
  kept = quantized.Config("float", keep=".*embed.*|head/.*")
  paths = _nodes(quantized.quantize(network, variables, kept)).keys()
  assert {"embed/embedding", head}.isdisjoint(paths)
  assert layers < set(paths)


def test_experts_are_rounded_if_they_are_asked_for():
  network, variables, tokens = _own(
    feedforward="experts",
    feedforward_options={"experts": 4, "active": 2},
  )
  config = quantized.Config("float", experts=True)
  result = quantized.quantize(network, variables, config)
  place = "stack/layers_0/feedforward"
  rounded = {path for path in _nodes(result) if place in path}
  assert rounded == {f"{place}/{name}" for name in ("in", "gate", "out")}
  nodes = _nodes(result)
  assert nodes[f"{place}/in"].scale.shape == nodes[f"{place}/in"].q.shape[::2]
  apply = jax.jit(network.apply, static_argnames="method")
  want, _ = apply(_arrays(result), tokens)
  got, states = apply(result, tokens)
  np.testing.assert_allclose(got, want, **_FLOAT32)
  # Of two elements the chosen experts alone are read.
  last = tokens[:, -1], states
  want, _ = apply(_arrays(result), *last, method="step")
  got, _ = apply(result, *last, method="step")
  np.testing.assert_allclose(got, want, **_FLOAT32)


def test_a_network_in_8_bits_is_one_of_rounded_weights():
  network, variables, tokens = _own(tie=True)
  result = quantized.quantize(network, variables, quantized.Config("float"))
  reset = jnp.zeros(tokens.shape, bool).at[0, 7].set(True)
  apply = jax.jit(network.apply, static_argnames="method")
  want, _ = apply(_arrays(result), tokens, None, reset)
  got, states = apply(result, tokens, None, reset)
  np.testing.assert_allclose(got, want, **_FLOAT32)
  assert np.abs(want - apply(variables, tokens, None, reset)[0]).max() > 1e-4
  assert {str(x.dtype) for x in jax.tree.leaves(states)} == {"float32"}
  first, states = apply(result, tokens[:, :5], None, reset[:, :5])
  rest, states = apply(result, tokens[:, 5:-1], states, reset[:, 5:-1])
  last, _ = apply(result, tokens[:, -1], states, method="step")
  pieces = jnp.concatenate([first, rest, last[:, None]], 1)
  np.testing.assert_allclose(pieces, want, **_FLOAT32)


def test_rounded_activations_and_scanned_layers():
  network, variables, tokens = _own(
    mixer="linear_attention", num_layers=2, scan_layers=True
  )
  result = quantized.quantize(network, variables, quantized.Config("int8"))
  apply = jax.jit(network.apply)
  got, _ = apply(result, tokens)
  want, _ = apply(variables, tokens)
  # A percent of logits of size 1, which is twice what is seen.
  assert 1e-4 < np.abs(got - want).max() < 0.03


@pytest.mark.slow
def test_the_engine_writes_what_generate_does():
  network, variables, tokens = _own()
  result = quantized.quantize(network, variables, quantized.Config("float"))
  config = generation.EngineConfig(slots=1, chunk=4)
  engine = generation.Engine(network, result, config)
  rows = engine.run(
    [
      generation.Request(
        np.array(row), 5, sampling=generation.Sampling(temperature=0.0)
      )
      for row in tokens
    ]
  )
  rows = [row[0].tokens for row in rows]
  want, _ = generation.generate(
    network, result, tokens, 5, jax.random.key(0), temperature=0.0
  )
  np.testing.assert_array_equal(rows, want)


def test_adapters_are_trained_beside_weights_in_8_bits():
  network, variables, tokens = _own()
  base = quantized.quantize(network, variables, quantized.Config("int8"))
  config = lora.Config(("W_in", "W_out"), rank=2)
  adapters = lora.init(jax.random.key(2), network, base, config)
  before = jax.tree.map(np.array, base)

  @jax.jit
  def update(adapters, base):
    def loss(adapters):
      attached = lora.attach(base, adapters)
      logits, _ = network.apply(attached, tokens[:, :-1])
      return optax.losses.softmax_cross_entropy_with_integer_labels(
        logits, tokens[:, 1:]
      ).mean()

    value, grads = jax.value_and_grad(loss)(adapters)
    return jax.tree.map(lambda x, g: x - 0.3 * g, adapters, grads), value

  losses = []
  for _ in range(20):
    adapters, value = update(adapters, base)
    losses.append(float(value))
  assert losses[-1] < losses[0] - 0.1
  chex.assert_trees_all_equal(base, before)


def test_magnitudes_beside_weights_in_8_bits():
  golden = _golden()
  weight = quantized.Int8(
    jnp.asarray(golden["q"]), jnp.asarray(golden["scale"])
  )
  a, b = jnp.ones((64, 1)), jnp.full((1, 24), 0.01)
  gains = jnp.arange(1.0, 25.0)
  plain, low = (
    recurrence.LowRank(w, a, b, gains) for w in (weight.array(), weight)
  )
  x = jnp.asarray(golden["x"])
  got, want = (recurrence.dense(x, w) for w in (low, plain))
  np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_fresh_magnitudes_are_those_of_weights_in_8_bits():
  network, variables, tokens = _own()
  base = quantized.quantize(network, variables, quantized.Config("float"))
  config = lora.Config(("W_in", "W_out"), rank=2, dora=True)
  adapters = lora.init(jax.random.key(2), network, base, config)
  want, _ = network.apply(base, tokens)
  for adapted in (lora.attach(base, adapters), lora.merge(base, adapters)):
    got, _ = network.apply(adapted, tokens)
    np.testing.assert_allclose(got, want, **_FLOAT32)


def test_a_node_in_another_place_is_an_error_with_its_path():
  network, variables, tokens = _own()
  node = quantized.Int8(
    jnp.zeros((4, 64), jnp.int8), jnp.ones(64), path="params/taps"
  )
  flat = traverse_util.flatten_dict(variables, sep="/")
  name = "params/stack/layers_0/mixer/conv_weight"
  pair = map(jnp.asarray, quantized.to_int8(flat[name]))
  flat[name] = quantized.Int8(*pair, path=name)
  with pytest.raises(ValueError, match="layers_0/mixer/conv_weight"):
    network.apply(traverse_util.unflatten_dict(flat, sep="/"), tokens)
  with pytest.raises(ValueError, match="params/taps: got a Int8"):
    node.take(jnp.zeros(2, int))
  rows = quantized.Int8Rows(node.q, jnp.ones(4), path="params/rows")
  with pytest.raises(ValueError, match="params/rows: got a Int8Rows"):
    recurrence.dense(jnp.ones((2, 4)), rows)


def test_files(tmp_path):
  network, variables, tokens = _own(tie=True)
  result = quantized.quantize(network, variables, quantized.Config("float"))
  path = tmp_path / "network.safetensors"
  quantized.save(path, network, result)
  for load in (quantized.load, jaxseq.load):
    same, loaded = load(path)
    assert same == network
    chex.assert_trees_all_equal(loaded, result)
  attached = lora.attach(
    result,
    lora.init(
      jax.random.key(0), network, result, lora.Config(("W_in",), rank=1)
    ),
  )
  with pytest.raises(ValueError, match="W_in: got 'LowRank', expected arr"):
    quantized.save(path, network, attached)
  logits, _ = network.apply(loaded, tokens)
  np.testing.assert_array_equal(logits, network.apply(result, tokens)[0])


def test_damaged_files(tmp_path):
  network, variables, _ = _own()
  result = quantized.quantize(network, variables, quantized.Config("float"))
  flat = traverse_util.flatten_dict(result, sep="/")
  name = "params/embed/embedding"
  cut = quantized.Int8Rows(flat[name].q, flat[name].scale[:-1])
  tree = traverse_util.unflatten_dict({**flat, name: cut}, sep="/")
  path = tmp_path / "network.safetensors"
  quantized.save(path, network, tree)
  with pytest.raises(
    ValueError, match=r"embedding.scale: got .*\(8,\).*, expected .*\(9,\)"
  ):
    quantized.load(path)


def test_bytes_are_a_quarter():
  network, variables, _ = _own(d_model=128, num_layers=1)
  result = quantized.quantize(network, variables, quantized.Config("float"))
  before, after = (
    sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
    for tree in (variables, result)
  )
  assert after < 0.28 * before


def _loaded(name, quantize=None):
  context = 4095 if name == "qwen3_5" else None
  return huggingface.load(
    GOLDEN / "hybrids" / name, context=context, quantize=quantize
  )


def _check_bits(name, network, variables, tokens, start, most=0.01, least=0.5):
  """Compares a family in 8 bits and as it is, on tokens from `start` on."""

  @jax.jit
  def scored(variables):
    logits, _ = network.apply(variables, tokens[:, :-1])
    logs = jax.nn.log_softmax(logits)[:, start - 1 :]
    taken = jnp.take_along_axis(logs, tokens[:, start:, None], -1)
    return -jnp.mean(taken) / jnp.log(2), jnp.argmax(logs, -1)

  _, loaded = _loaded(name, quantized.Config("float"))
  assert _nodes(loaded)
  chex.assert_trees_all_equal(
    loaded, quantized.quantize(network, variables, quantized.Config("float"))
  )
  (bits, best), (expected, wanted) = scored(loaded), scored(variables)
  assert abs(bits - expected) < most
  same = np.mean(best == wanted)
  print(f"{name}: the likeliest token is the same of {same:.4f}")
  assert same > least


@pytest.mark.parametrize("name", ["lfm2"])
def test_bits_of_a_family_on_golden_text(name):
  config, variables = _loaded(name)
  with np.load(GOLDEN / "hybrids" / name / "expected.npz") as arrays:
    ids, greedy = arrays["ids"], arrays["greedy"]
  tokens = jnp.asarray(np.concatenate([ids, greedy], 1), jnp.int32)
  network = huggingface.make_network(config, variables)
  _check_bits(name, network, variables, tokens, ids.shape[1], least=0.9)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_bits_of_a_family_on_its_own_text(name):
  config, variables = _loaded(name)
  network = huggingface.make_network(config, variables)
  # So much text that a few other experts matter little.
  prompts = jax.random.randint(
    jax.random.key(1), (32, 4), 0, network.vocab_size
  )
  tokens, _ = jax.jit(
    lambda variables, prompts: generation.generate(
      network, variables, prompts, 60, jax.random.key(0), temperature=0.0
    )
  )(variables, prompts)
  text = jnp.concatenate([prompts, tokens], 1)
  # There single tokens change by 4 bits. The first layer's W_qkv, whose keys
  # are divided by their lengths, alone makes 0.013 of 0.024.
  most = 0.03 if name == "qwen3_5" else 0.01
  _check_bits(name, network, variables, text, 4, most)


@pytest.mark.parametrize("method", ["gptq", "awq", "bitsandbytes"])
def test_files_that_others_have_quantized_are_refused(method, tmp_path):
  path = GOLDEN / "hybrids" / "rwkv"
  shutil.copytree(path, tmp_path, dirs_exist_ok=True)
  contents = json.loads((path / "config.json").read_text())
  contents["quantization_config"] = {"quant_method": method}
  (tmp_path / "config.json").write_text(json.dumps(contents))
  with pytest.raises(
    ValueError, match=f"quantization_config: got '{method}', expected none: "
  ):
    huggingface.load(tmp_path)


def _write_large(directory):
  """Writes a model of half a gigabyte in several files, returns its size."""
  width, hidden, layers = 1024, 4096, 8
  shapes = {
    "conv.in_proj": (3 * width, width),
    "conv.out_proj": (width, width),
    "feed_forward.w1": (hidden, width),
    "feed_forward.w2": (width, hidden),
    "feed_forward.w3": (hidden, width),
    "conv.conv": (width, 1, 3),
    "operator_norm": (width,),
    "ffn_norm": (width,),
  }
  ends = {"embed_tokens": (64, width), "embedding_norm": (width,)}
  files = {"ends": {f"model.{name}": shape for name, shape in ends.items()}}
  for i in range(layers):
    files[str(i)] = {f"model.layers.{i}.{k}": v for k, v in shapes.items()}
  names, size = {}, 0
  for file, tensors in files.items():
    arrays = {
      f"{name}.weight": np.full(shape, 0.5, np.float32)
      for name, shape in tensors.items()
    }
    safetensors_file.write(directory / f"{file}.safetensors", arrays)
    names |= dict.fromkeys(arrays, f"{file}.safetensors")
    size += sum(array.nbytes for array in arrays.values())
  index = directory / "model.safetensors.index.json"
  index.write_text(json.dumps({"weight_map": names}))
  contents = {
    "model_type": "lfm2",
    "vocab_size": 64,
    "hidden_size": width,
    "intermediate_size": hidden,
    "block_auto_adjust_ff_dim": False,
    "layer_types": ["conv"] * layers,
  }
  (directory / "config.json").write_text(json.dumps(contents))
  return size


_READ = """
import pathlib, re
from jaxseq.adapt import quantized
from jaxseq.interop import huggingface
config, variables = huggingface.load(
  ".", quantize=quantized.Config("float")
)
status = pathlib.Path("/proc/self/status").read_text()
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) * 1024
print(peak)
"""


@pytest.mark.slow
def test_memory_while_loading_is_that_of_the_result(tmp_path):
  size = _write_large(tmp_path)
  environ = os.environ | {"PYTHONPATH": str(programs.ROOT)}
  result = programs.run("-c", _READ, cwd=tmp_path, env=environ, timeout=500)
  assert result.returncode == 0, result.stderr
  # A quarter of the file, some tensors of it, and what Python and JAX take.
  assert int(result.stdout) < 1.3 * size
