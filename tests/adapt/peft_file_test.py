"""Adapters of PEFT's files as factors of parameters, and back."""

import functools
import json
import pathlib

from absl import logging
from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import models
from jaxseq import nn
from jaxseq.adapt import lora
from jaxseq.adapt import peft_file
from jaxseq.data import sources
from jaxseq.interop import huggingface
from jaxseq.interop import peft_modules

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
ADAPTERS = GOLDEN / "adapt/lora"
BASES = GOLDEN / "hybrids"
MODELS = sorted(path.name for path in ADAPTERS.iterdir())
# Each takes seconds to compile; the rest is slow.
CASES = [
  pytest.param(name, marks=() if name == "jamba" else pytest.mark.slow)
  for name in MODELS
]
# Sums of a few numbers of size 1, in float32 in another order.
_FLOAT32 = {"rtol": 1e-5, "atol": 2e-6}

_base = functools.cache(lambda name: huggingface.load(BASES / name))


def _assert_merges_to(name, adapters, directory):
  """Asserts that factors merge to what `load` makes of a directory."""
  config, variables = _base(name)
  del config
  _, expected = huggingface.load(BASES / name, adapter=directory)
  got, want, plain = (
    traverse_util.flatten_dict(tree["params"], sep="/")
    for tree in (lora.merge(variables, adapters), expected, variables)
  )
  for path in want:
    np.testing.assert_allclose(got[path], want[path], **_FLOAT32, err_msg=path)
    changed = not np.array_equal(want[path], plain[path])
    assert changed <= (path in adapters), path


# The others under the slow tests.
_FEW = [
  pytest.param(
    name,
    marks=() if name in ("jamba", "kimi_linear", "rwkv") else pytest.mark.slow,
  )
  for name in MODELS
]


@pytest.mark.parametrize("name", _FEW)
def test_factors_merge_to_what_load_merges(name):
  adapters = peft_file.read(ADAPTERS / name, BASES / name)
  _assert_merges_to(name, adapters, ADAPTERS / name)


@pytest.mark.parametrize("name", _FEW)
def test_written_adapters_are_those_read(name, tmp_path):
  adapters = peft_file.read(ADAPTERS / name, BASES / name)
  # As after training: parts that were zeros are not any more, and parameters
  # with rows of one tensor have another A each.
  keys = jax.random.split(jax.random.key(0), len(adapters))
  adapters = {
    path: lora.Factors(
      jax.random.normal(key, factors.a.shape),
      jax.random.normal(key, factors.b.shape),
      factors.magnitude,
      scale=factors.scale,
    )
    for key, (path, factors) in zip(keys, adapters.items())
  }
  peft_file.write(tmp_path, adapters, BASES / name)
  _assert_merges_to(name, adapters, tmp_path)
  modules = peft_modules.read(tmp_path).modules
  golden = peft_modules.read(ADAPTERS / name).modules
  # Module paths of the other library, not names of tensors.
  assert golden.keys() <= modules.keys()


def test_own_adapters_of_one_tensor_are_written(tmp_path):
  name = "qwen3_next"
  network = huggingface.make_network(*_base(name))
  config = lora.Config(("W_qkv", "W_b"), rank=3, alpha=5.0, rslora=True)
  adapters = lora.init(jax.random.key(0), network, _base(name)[1], config)
  assert all(f.scale == pytest.approx(5 / 3**0.5) for f in adapters.values())
  adapters = jax.tree.map(lambda leaf: leaf + 0.1, adapters)
  peft_file.write(tmp_path, adapters, BASES / name)
  # In the other library queries to gates are one weight; only a part is hit.
  _assert_merges_to(name, adapters, tmp_path)


def _fresh(*targets, **options):
  """Adapters of a model, and its directory."""
  base = BASES / "falcon_mamba"
  config, variables = huggingface.load(base)
  network = huggingface.make_network(config, variables)
  config = lora.Config(targets, **options)
  return lora.init(jax.random.key(0), network, variables, config), base


def test_what_no_file_can_say_is_not_written(tmp_path):
  turned, base = _fresh("in_proj", dora=True)
  plain, _ = _fresh("out_proj")
  for adapters, message in (
    (turned | plain, "out_proj has no magnitudes, expected them in all, or no"),
    ({}, "adapters: got {}, expected at least one"),
  ):
    with pytest.raises(ValueError, match=message):
      peft_file.write(tmp_path / "adapter", adapters, base)
  assert not (tmp_path / "adapter").exists()


def test_an_adapter_of_no_weight_changes_nothing(tmp_path):
  adapters, base = _fresh("out_proj")
  adapters = jax.tree.map(lambda leaf: leaf + 0.1, adapters)
  peft_file.write(tmp_path, adapters, base)
  path = tmp_path / peft_modules.CONFIG
  path.write_text(
    path.read_text().replace('"lora_alpha": 8', '"lora_alpha": 0')
  )
  for factors in peft_file.read(tmp_path, base).values():
    assert np.any(factors.a)
    assert not np.any(factors.b)


def _gradients(opened, adapters, gradients, modules):
  """Gradients in PEFT's A, B and magnitudes, by those in factors."""
  result = {}
  for path, gradient in gradients.items():
    place, start = opened.places[path], 0
    scale = np.asarray(place.scale, np.float32)
    b = place.to_torch(np.asarray(gradient.b) * scale)
    a = np.asarray(gradient.a)
    every = a if a.ndim == 3 else [a] * len(b)
    norms = [None] * len(b)
    if gradient.magnitude is not None:
      magnitude = np.asarray(gradient.magnitude) * np.abs(scale)
      norms = place.to_torch(magnitude[..., None, :])
    for name, one, part, norm in zip(place.names, every, b, norms):
      if name not in modules:
        continue
      module = modules[name]
      stop = start + module.a.shape[0]
      whole = result.setdefault(
        name,
        [
          np.zeros_like(module.a),
          np.zeros_like(module.b),
          np.zeros(len(module.b)),
        ],
      )
      index = place.rows.index if place.rows else slice(None)
      factor = module.scale / adapters[path].scale
      whole[0] += one.T[start:stop]
      whole[1][index] += part[:, start:stop] * factor
      if norm is not None:
        whole[2][index] += norm[:, 0]
      start = stop
  return result


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_logits_and_gradients(name):
  network = huggingface.make_network(*_base(name))
  variables = _base(name)[1]
  adapters = peft_file.read(ADAPTERS / name, BASES / name)
  with np.load(ADAPTERS / name / "expected.npz") as arrays:
    expected = dict(arrays)
  ids = jnp.asarray(expected["ids"], jnp.int32)

  @jax.jit
  def run(adapters, variables):
    def loss(adapters):
      logits, _ = network.apply(lora.attach(variables, adapters), ids)
      log_probs = jax.nn.log_softmax(logits[:, :-1])
      chosen = jnp.take_along_axis(log_probs, ids[:, 1:, None], -1)
      return -jnp.mean(chosen), logits

    return jax.value_and_grad(loss, has_aux=True)(adapters)

  (loss, logits), gradients = run(adapters, variables)
  # Of size 1 to 10, in float32 on both sides in another order.
  np.testing.assert_allclose(logits, expected["logits"], rtol=0, atol=1e-4)
  assert loss == pytest.approx(expected["loss"], rel=1e-5)
  opened = huggingface.open_model(BASES / name)
  modules = peft_modules.read(ADAPTERS / name).modules
  by_tensor = peft_modules.by_tensor(modules, opened.tensors, opened.modules)
  got = _gradients(opened, adapters, gradients, by_tensor)
  assert got.keys() == by_tensor.keys()
  names = {id(module): key for key, module in modules.items()}
  for tensor, arrays in got.items():
    module = names[id(by_tensor[tensor])]
    ends = "lora_A.weight", "lora_B.weight", "lora_magnitude_vector"
    for end, array in zip(ends, arrays):
      key = f"grad/{module}.{end}"
      if end == ends[2] and by_tensor[tensor].magnitude is None:
        continue
      want = expected[key]
      # Of the largest: what cancels out has the error of its terms.
      bound = 1e-4 * np.abs(want).max() + 1e-7
      np.testing.assert_allclose(
        array, want, rtol=1e-4, atol=bound, err_msg=key
      )


@pytest.mark.parametrize(
  "scan_layers", [pytest.param(False, marks=pytest.mark.slow), True]
)
def test_adapters_of_a_model_of_here_are_written_and_read(
  tmp_path, scan_layers
):
  stack = nn.StackConfig(
    "mamba2", d_model=8, num_layers=2, scan_layers=scan_layers
  )
  network = nn.SequenceNetwork(nn.NetworkConfig(stack), 9, 9)
  tokens = np.zeros((1, 2), np.int32)
  variables = jax.jit(network.init)(jax.random.key(0), tokens)
  source = sources.TextSource(vocab_size=9)
  model = models.make(
    "language", network, variables, preparation=source, examples=tokens
  )
  models.model_file.save(tmp_path / "model.safetensors", model)
  config = lora.Config(("in_proj", "out_proj"), rank=3, dora=True)
  adapters = lora.init(jax.random.key(0), network, variables, config)
  adapters = jax.tree.map(lambda leaf: leaf + 0.1, adapters)
  # By its directory and by its file.
  peft_file.write(tmp_path / "adapter", adapters, tmp_path)
  again = peft_file.read(tmp_path / "adapter", tmp_path / "model.safetensors")
  assert again.keys() == adapters.keys()
  expected, got = (
    traverse_util.flatten_dict(lora.merge(variables, each), sep="/")
    for each in (adapters, again)
  )
  for path in expected:
    np.testing.assert_allclose(got[path], expected[path], **_FLOAT32)
  (name,) = {
    name
    for name in peft_modules.read(tmp_path / "adapter").modules
    if "0" in name
  } & {"stack.layers_0.mixer.in_proj", "stack.layers.mixer.in_proj.0"}
  assert name


@pytest.mark.parametrize(
  ("name", "target", "parameter", "warned"),
  [
    ("falcon_h1", "out_proj", None, (True, True)),
    ("falcon_h1", "in_proj", None, (False, False)),
    ("jamba", "out_proj", None, (False, False)),
    ("jamba", "router", "feed_forward.router.weight", (False, True)),
    (
      *("qwen3_next", "up_proj", "mlp.shared_expert.up_proj.weight"),
      (False, True),
    ),
  ],
)
def test_modules_that_peft_refuses_are_parameters_or_warned_about(
  name, target, parameter, warned, tmp_path, monkeypatch
):
  said = []
  monkeypatch.setattr(logging, "warning", lambda *words: said.append(words))
  config, variables = _base(name)
  network = huggingface.make_network(config, variables)
  names = peft_file.names(BASES / name)
  for dora in (False, True):
    options = lora.Config((target,), rank=2, dora=dora)
    adapters = lora.init(jax.random.key(0), network, variables, options, names)
    peft_file.write(tmp_path, adapters, BASES / name)
    assert bool(said) == warned[dora]
    assert not said or target in said[0][3]
    text = (tmp_path / peft_modules.CONFIG).read_text()
    parameters = json.loads(text)["target_parameters"] or ()
    assert bool(parameters) == (parameter is not None and not dora)
    assert all(each.endswith(parameter) for each in parameters)
    assert peft_file.read(tmp_path, BASES / name).keys() == adapters.keys()


def _moved(shape, number):
  return jax.random.normal(jax.random.key(number), shape)


@pytest.mark.parametrize(
  "name",
  [
    pytest.param("granitemoehybrid", marks=pytest.mark.slow),
    "jamba",
    pytest.param("kimi_linear", marks=pytest.mark.slow),
  ],
)
def test_adapters_of_experts_are_parameters_of_all_of_them(name, tmp_path):
  config, variables = _base(name)
  flat = traverse_util.flatten_dict(variables["params"], sep="/")
  shapes = {
    path: leaf.shape
    for path, leaf in flat.items()
    if path.endswith(("feedforward/in", "feedforward/gate", "feedforward/out"))
    and leaf.ndim == 3
  }
  assert len(shapes) >= 3
  adapters = {
    path: lora.Factors(
      _moved((*shape[:2], rank), 1), _moved((shape[0], rank, shape[2]), 2)
    )
    for rank, (path, shape) in enumerate(shapes.items(), 1)
  }
  peft_file.write(tmp_path, adapters, BASES / name)
  _assert_merges_to(name, adapters, tmp_path)
  text = (tmp_path / peft_modules.CONFIG).read_text()
  contents = json.loads(text)
  ends = {each.split(".")[-1] for each in contents["target_parameters"]}
  assert ends == {"gate_up_proj", "down_proj"}
  read = peft_file.read(tmp_path, BASES / name)
  again = tmp_path / "again"
  peft_file.write(again, read, BASES / name)
  # Gates and the others have one A then, so that ranks do not grow.
  assert (
    json.loads((again / peft_modules.CONFIG).read_text())["r"]
    == (contents["r"])
  )
  _assert_merges_to(name, read, again)
  network = huggingface.make_network(config, variables)
  ids = jnp.arange(6)[None]
  got, _ = network.apply(lora.attach(variables, read), ids)
  want, _ = network.apply(lora.merge(variables, read), ids)
  np.testing.assert_allclose(got, want, rtol=0, atol=1e-3)


def test_adapters_of_an_embedding_are_written_and_attached(tmp_path):
  config, variables = _base("bamba")
  shape = variables["params"]["embed"]["embedding"].shape
  adapters = {
    "embed/embedding": lora.Factors(
      _moved((shape[0], 3), 1), _moved((3, shape[1]), 2), scale=0.5
    )
  }
  peft_file.write(tmp_path, adapters, BASES / "bamba")
  _assert_merges_to("bamba", adapters, tmp_path)
  read = peft_file.read(tmp_path, BASES / "bamba")
  network = huggingface.make_network(config, variables)
  ids = jnp.arange(6)[None]
  got, _ = network.apply(lora.attach(variables, read), ids)
  want, _ = network.apply(lora.merge(variables, adapters), ids)
  np.testing.assert_allclose(got, want, rtol=0, atol=1e-4)
  with pytest.raises(ValueError, match="expected none of a tied embedding"):
    peft_file.write(tmp_path, adapters, BASES / "lfm2")


def test_copies_of_parameters_are_those_read(tmp_path):
  base = BASES / "bamba"
  config, variables = _base("bamba")
  del config
  flat = traverse_util.flatten_dict(variables["params"], sep="/")
  paths = (
    "head/mlp/dense_0/kernel",
    "stack/final_norm/scale",
    "stack/layers_0/norm/scale",
  )
  copies = {path: flat[path] + 0.5 for path in paths}
  peft_file.write(tmp_path, {}, base, copies=copies)
  adapters, read = peft_file.read_with_copies(tmp_path, base)
  assert not adapters
  assert read.keys() == copies.keys()
  _, merged = huggingface.load(base, adapter=tmp_path)
  merged = traverse_util.flatten_dict(merged["params"], sep="/")
  for path, leaf in flat.items():
    np.testing.assert_array_equal(merged[path], copies.get(path, leaf))
    if path in read:
      np.testing.assert_array_equal(read[path], copies[path])
  with pytest.raises(ValueError, match="read_with_copies returns both"):
    peft_file.read(tmp_path, base)


@pytest.mark.parametrize(
  ("path", "message"),
  [
    ("stack/layers_0/mixer/A_log", "modules that hold no other module"),
    ("stack/layers_0/mixer/none", "expected paths of the model's parameters"),
  ],
)
def test_copies_that_are_no_modules_are_refused(path, message, tmp_path):
  copies = {path: np.zeros(8, np.float32)}
  with pytest.raises(ValueError, match=message):
    peft_file.write(tmp_path, {}, BASES / "bamba", copies=copies)
