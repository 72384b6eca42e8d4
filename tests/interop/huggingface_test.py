"""Loading and saving, against outputs that the transformers library made.

`python -m tests.interop.models` has written the golden directories.
"""

import functools
import json
import math
import pathlib
import shutil
import tracemalloc
import weakref

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import generation
from jaxseq import nn
from jaxseq.interop import families
from jaxseq.interop import huggingface
from jaxseq.interop import safetensors_file
from jaxseq.mixers.state_space import mamba2

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "interop"
MODELS = ("mamba", "mamba2")
# Logits of size 1 to 4, in float32 on both sides in another order: ten times
# the largest difference seen.
_FLOAT32 = {"rtol": 0, "atol": 3e-5}


@functools.cache
def _loaded(name):
  return huggingface.load(GOLDEN / name)


@functools.cache
def _outputs(name):
  with np.load(GOLDEN / name / "outputs.npz") as outputs:
    return {key: outputs[key] for key in outputs.files}


def _logits(config, variables, ids):
  network = huggingface.make_network(config, variables)
  return jax.jit(network.apply)(variables, jnp.asarray(ids))[0]


def _copy(name, directory, **entries):
  """Copies a golden model, with other entries in its config.json."""
  shutil.copytree(GOLDEN / name, directory, dirs_exist_ok=True)
  path = directory / "config.json"
  contents = json.loads(path.read_text()) | entries
  contents = {k: v for k, v in contents.items() if v != "absent"}
  path.write_text(json.dumps(contents))
  return directory


@pytest.mark.parametrize(
  "name", [pytest.param("mamba", marks=pytest.mark.slow), "mamba2"]
)
def test_logits_and_greedy_tokens(name):
  config, variables = _loaded(name)
  outputs = _outputs(name)
  logits = _logits(config, variables, outputs["ids"])
  assert np.std(outputs["logits"]) > 0.3
  np.testing.assert_allclose(logits, outputs["logits"], **_FLOAT32)
  network = huggingface.make_network(config, variables)

  @jax.jit
  def go_on(prompt):
    length = outputs["greedy"].shape[1]
    key = jax.random.key(0)
    return generation.generate(
      network, variables, prompt, length, key, temperature=0.0
    )

  tokens, _ = go_on(jnp.asarray(outputs["ids"]))
  assert tokens.shape[1] >= 30
  np.testing.assert_array_equal(tokens, outputs["greedy"])


def test_the_original_codes_language_model(golden, tmp_path):
  arrays = golden("ssm/mamba_lm")
  names = [name for name in arrays if name.startswith("param/")]
  tensors = {
    # Files of the first releases have this name for the embedding.
    f"backbone.{name.removeprefix('param/')}": arrays[name]
    for name in names
  }
  tensors["backbone.embedding.weight"] = tensors.pop("backbone.embedding")
  safetensors_file.write(tmp_path / "model.safetensors", tensors)
  (tmp_path / "config.json").write_text(
    '{"model_type": "mamba", "vocab_size": 11, "hidden_size": 18,'
    ' "state_size": 4, "num_hidden_layers": 2}'
  )
  config, variables = huggingface.load(tmp_path)
  assert config.tie
  logits = _logits(config, variables, arrays["ids"])
  # Parameters and activations are rounded to float32.
  np.testing.assert_allclose(logits, arrays["logits"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
  ("name", "scan_layers"),
  [
    ("mamba", False),
    ("mamba2", True),
    pytest.param("mamba", True, marks=pytest.mark.slow),
    pytest.param("mamba2", False, marks=pytest.mark.slow),
  ],
)
def test_round_trip_is_exact(name, scan_layers, tmp_path):
  config, variables = huggingface.load(GOLDEN / name, scan_layers=scan_layers)
  huggingface.save(tmp_path, config, variables)
  again = huggingface.load(tmp_path, scan_layers=scan_layers)
  assert again[0] == config
  chex.assert_trees_all_equal(again[1], variables)
  chex.assert_trees_all_equal_dtypes(again[1], variables)
  for leaf in jax.tree.leaves(variables):
    assert leaf.dtype == jnp.float32


def test_tensors_are_written_as_they_were(tmp_path):
  for name, dtype in (("mamba", "float32"), ("mamba2", "bfloat16")):
    entries = {"eos_token_id": 3}
    huggingface.save(
      tmp_path / name, *_loaded(name), dtype=dtype, entries=entries
    )
    theirs = safetensors_file.read(GOLDEN / name / "model.safetensors")
    ours = safetensors_file.read(tmp_path / name / "model.safetensors")
    chex.assert_trees_all_equal(ours, theirs)
    chex.assert_trees_all_equal_dtypes(ours, theirs)
    contents = json.loads((tmp_path / name / "config.json").read_text())
    assert contents["eos_token_id"] == 3
    theirs = json.loads((GOLDEN / name / "config.json").read_text())
    for key in contents.keys() & theirs.keys() - {"eos_token_id"}:
      assert contents[key] == theirs[key], key


def test_scanned_layers_are_the_same_network():
  outputs = _outputs("mamba")
  config, variables = huggingface.load(GOLDEN / "mamba", scan_layers=True)
  logits = _logits(config, variables, outputs["ids"])
  np.testing.assert_allclose(logits, outputs["logits"], **_FLOAT32)


def test_shards(tmp_path):
  _copy("mamba", tmp_path)
  tensors = safetensors_file.read(GOLDEN / "mamba" / "model.safetensors")
  (tmp_path / "model.safetensors").unlink()
  files = {name: f"part-{i % 3}" for i, name in enumerate(sorted(tensors))}
  for file in set(files.values()):
    part = {name: tensors[name] for name in files if files[name] == file}
    safetensors_file.write(tmp_path / file, part)

  def load(weight_map):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    return huggingface.load(tmp_path)

  chex.assert_trees_all_equal(load(files)[1], _loaded("mamba")[1])
  with pytest.raises(ValueError, match="names part-9, which is not in"):
    load(files | {"x": "part-9"})
  with pytest.raises(ValueError, match="part-1 lacks x"):
    load(files | {"x": "part-1"})
  first = min(files)
  rest = {name: file for name, file in files.items() if name != first}
  with pytest.raises(ValueError, match=f"part-0 holds {first}, which"):
    load(rest)
  with pytest.raises(ValueError, match="model.safetensors.index.json: got"):
    load(files | {"x": "../part-1"})
  with pytest.raises(ValueError, match="model.safetensors.index.json: got"):
    load(files | {"x": "x" * 300})


@pytest.mark.parametrize("name", MODELS)
def test_memory_does_not_grow(name):
  config, variables = _loaded(name)
  network = huggingface.make_network(config, variables)

  def states(time, length):
    _, states = jax.eval_shape(
      lambda prompt: generation.generate(
        network, variables, prompt, length, jax.random.key(0), temperature=0.0
      ),
      jax.ShapeDtypeStruct((2, time), jnp.int32),
    )
    return states

  fresh = jax.eval_shape(lambda: network.initial_state((2,)))
  assert states(1, 2) == states(500, 2) == states(1, 100_000) == fresh
  numbers = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(fresh))
  d_inner, layers, batch = 64, 2, 2
  channels, per_channel = (d_inner, 8) if name == "mamba" else (128, 16)
  expected = layers * batch * (3 * channels + d_inner * per_channel)
  assert numbers == expected


@pytest.mark.parametrize(
  ("entries", "message"),
  [
    ({"model_type": "llama"}, "model_type: got 'llama', expected one of"),
    ({"model_type": "absent"}, "model_type: got None, expected one of"),
    ({"vocab_size": "absent"}, "has no vocab_size"),
    ({"hidden_size": "32"}, "hidden_size: got '32', expected type int"),
    ({"hidden_act": "relu"}, "hidden_act: got 'relu', expected one of"),
    ({"state_size": 0}, "not make a network: d_state: got 0, expected"),
    ({"expand": 1.5}, "config.json: expand: got 1.5, expected type int"),
    ({"num_hidden_layers": 3}, "layers: got 3, expected 2, the number of lay"),
    ({"num_hidden_layers": 1}, "layers: got 1, expected 2, the number of lay"),
    ({"model_type": ["mamba"]}, "model_type: got .'mamba'., expected one of"),
    ({"layer_norm_epsilon": -1}, "epsilon: got -1.0, expected .* above 0"),
    ({"layer_norm_epsilon": math.nan}, "epsilon: got nan, expected a finite"),
    ({"time_step_scale": math.inf}, "scale: got inf, expected a finite"),
    ({"use_conv_bias": False}, "holds backbone.layers.0.mixer.conv1d.bias, "),
    ({"tie_word_embeddings": False}, "lacks lm_head.weight, which config"),
    (
      {"state_size": 4},
      r"mixer.A_log: got \(64, 8\), expected shape \(64, 4\), by config.json",
    ),
    *(
      ({name: value}, f"json: {name}: got {value}, expected .*{expected}")
      for name, values, expected in (
        ("num_hidden_layers", (10**9, 1000, 0, -1), "2, the number of layers"),
        ("vocab_size", (0, -1, 65, 10**18), "64, the number of rows"),
        ("conv_kernel", (5, 10**9), "at most 4, the size of an axis"),
        ("expand", (129, 10**18), "at most 128, the size"),
        ("state_size", (10**18,), "at most 128, the size"),
        ("time_step_rank", (10**18, 1e15), "at most 128, the size"),
        ("hidden_size", (10**9,), "at most 128, the size"),
      )
      for value in values
    ),
    ({"state_size": 10**30}, "config.json is not JSON .the number 1000"),
    ({"conv_kernel": 3}, r"expected shape \(64, 1, 3\), by config.json"),
  ],
)
def test_configs_that_do_not_fit(entries, message, tmp_path):
  directory = _copy("mamba", tmp_path, **entries)
  with pytest.raises(ValueError, match=message):
    huggingface.load(directory)


@pytest.mark.parametrize(
  ("entries", "message"),
  [
    ({"num_heads": 4}, "num_heads . head_dim: got 4 . 8 and 2 . 32, expected"),
    ({"n_groups": 3}, "network: ngroups: got .*, expected a divisor"),
    ({"time_step_limit": 1.0}, "time_step_limit: got 1.0, expected two"),
    ({"time_step_limit": [2, 1]}, r"dt_limit: got .*, expected \(low, high\)"),
    (
      {"tie_word_embeddings": True},
      "lm_head.weight: got another than backbone.emb",
    ),
  ],
)
def test_mamba2_configs_that_do_not_fit(entries, message, tmp_path):
  directory = _copy("mamba2", tmp_path, **entries)
  with pytest.raises(ValueError, match=message):
    huggingface.load(directory)


def test_limits_and_copies_of_a_tied_embedding(tmp_path):
  directory = _copy("mamba2", tmp_path / "a", time_step_limit=[0.01, 0.1])
  config, variables = huggingface.load(directory)
  assert dict(config.stack.mixer_options)["dt_limit"] == (0.01, 0.1)
  huggingface.save(tmp_path / "b", config, variables)
  assert huggingface.load(tmp_path / "b")[0] == config
  directory = _copy("mamba", tmp_path / "c")
  path = directory / "model.safetensors"
  tensors = dict(safetensors_file.read(GOLDEN / "mamba" / path.name))
  tensors["lm_head.weight"] = tensors["backbone.embeddings.weight"]
  safetensors_file.write(path, tensors)
  chex.assert_trees_all_equal(
    huggingface.load(directory)[1], _loaded("mamba")[1]
  )


def test_links_may_not_lead_out_of_the_directory(tmp_path):
  directory = _copy("mamba", tmp_path / "models--a--b" / "snapshots" / "1")
  weights = directory / "model.safetensors"
  outside = tmp_path / "elsewhere"
  weights.rename(outside)
  weights.symlink_to(outside)
  with pytest.raises(ValueError, match="elsewhere, expected a file of the set"):
    huggingface.load(directory)
  # The cache of the other library has its files in a folder beside.
  blob = tmp_path / "models--a--b" / "blobs" / "0"
  blob.parent.mkdir()
  outside.rename(blob)
  weights.unlink()
  weights.symlink_to("../../blobs/0")
  chex.assert_trees_all_equal(
    huggingface.load(directory)[1], _loaded("mamba")[1]
  )


def test_directories_that_hold_no_model(tmp_path):
  with pytest.raises(ValueError, match="absent: got no config.json, expected"):
    huggingface.load(tmp_path / "absent")
  (tmp_path / "config.json").write_text("{")
  with pytest.raises(ValueError, match=r"config\.json is not JSON"):
    huggingface.load(tmp_path)
  (tmp_path / "config.json").write_text("[" * 200_000)
  with pytest.raises(ValueError, match=r"is not JSON \(it is nested more than"):
    huggingface.load(tmp_path)
  (tmp_path / "config.json").write_text("[]")
  with pytest.raises(ValueError, match="config.json: got list, expected a"):
    huggingface.load(tmp_path)
  _copy("mamba", tmp_path)
  weights = tmp_path / "model.safetensors"
  weights.rename(tmp_path / "pytorch_model.bin")
  with pytest.raises(ValueError, match=r"only as pytorch_model\.bin, expected"):
    huggingface.load(tmp_path)
  (tmp_path / "pytorch_model.bin").unlink()
  with pytest.raises(ValueError, match="got no weights, expected model"):
    huggingface.load(tmp_path)
  tensors = dict(safetensors_file.read(GOLDEN / "mamba" / weights.name))
  tensors["backbone.norm_f.weight"] = np.ones(32, np.int32)
  safetensors_file.write(weights, tensors)
  with pytest.raises(ValueError, match="backbone.norm_f.weight: got int32"):
    huggingface.load(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
  "scan_layers", [pytest.param(False, marks=pytest.mark.slow), True]
)
def test_parameters_in_other_dtypes(scan_layers):
  load = functools.partial(huggingface.load, scan_layers=scan_layers)
  config, variables = load(GOLDEN / "mamba2")
  _, narrow = load(GOLDEN / "mamba2", param_dtype="bfloat16")
  rounded = jax.tree.map(lambda x: x.astype(jnp.bfloat16), variables)
  chex.assert_trees_all_equal(narrow, rounded)
  network = huggingface.make_network(config, narrow)
  tokens = _outputs("mamba2")["ids"]
  logits, states = network.apply(narrow, tokens)
  wide = jax.tree.map(lambda x: x.astype(jnp.float32), narrow)
  expected, _ = network.apply(wide, tokens)
  # The activations are float32: only sums are in another order.
  np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)
  for leaf in jax.tree.leaves(states):
    assert leaf.dtype == jnp.float32
  with pytest.raises(ValueError, match="param_dtype: got 'int8', expected one"):
    load(GOLDEN / "mamba2", param_dtype="int8")


def test_tensors_are_read_one_after_the_other(monkeypatch):
  """At no time are more of them there than one parameter is made of."""
  alive, most = weakref.WeakSet(), []

  class Counted(np.ndarray):
    __hash__ = object.__hash__

  def stored(path, real=safetensors_file.stored):
    def read(one):
      array = one.read().view(Counted)
      alive.add(array)
      most.append(len(alive))
      return array

    return {
      name: one._replace(read=functools.partial(read, one))
      for name, one in real(path).items()
    }

  monkeypatch.setattr(safetensors_file, "stored", stored)
  huggingface.load(GOLDEN / "mamba2", param_dtype="bfloat16")
  assert len(most) > 10
  assert max(most) <= 2


def test_weights_have_no_second_copy_on_the_host(tmp_path):
  config, variables = _loaded("mamba2")
  params = dict(variables["params"])
  wide = {"embedding": np.ones((2**17, 32), np.float32)}
  read_out = {"kernel": np.ones((32, 2**17), np.float32)}
  params |= {"embed": wide, "head": {"mlp": {"dense_0": read_out}}}
  huggingface.save(tmp_path, config, {"params": params})
  tracemalloc.start()
  try:
    huggingface.load(tmp_path)
    _, most = tracemalloc.get_traced_memory()
  finally:
    tracemalloc.stop()
  assert most < 2**17 * 32 * 4 / 2


def test_layers_that_are_alike_are_traced_once(monkeypatch):
  calls, init = [], mamba2.init

  def counted(key, config):
    calls.append(config)
    return init(key, config)

  monkeypatch.setattr(mamba2, "init", counted)
  config, variables = huggingface.load(GOLDEN / "mamba2")
  assert config.stack.num_layers == 2
  assert {"layers_0", "layers_1"} <= variables["params"]["stack"].keys()
  assert len(calls) == 1


def test_a_context_that_is_too_short_is_said(tmp_path, caplog):
  source = GOLDEN.parent / "hybrids" / "bamba"
  shutil.copytree(source, tmp_path / "bamba")
  path = tmp_path / "bamba" / "config.json"
  contents = json.loads(path.read_text())
  path.write_text(json.dumps(contents | {"max_position_embeddings": 8192}))
  with pytest.raises(ValueError, match="context: got None, .* 8191 for all of"):
    huggingface.load(tmp_path / "bamba")
  with caplog.at_level("WARNING"):
    huggingface.load(tmp_path / "bamba", context=100)
  (said,) = [m for m in caplog.messages if m.startswith("context: got 100 of")]
  assert "8192" in said
  caplog.clear()
  huggingface.load(tmp_path / "bamba", context=8191)
  assert not caplog.messages


def test_a_family_lacks_no_part(monkeypatch):
  registry = families.registry._FAMILIES
  monkeypatch.setattr(registry, "_paths", dict(registry._paths))

  class Mine:
    EMBEDDING, LAYERS = "embedding", "layers"

    @staticmethod
    def from_json(entries):
      del entries
      return nn.NetworkConfig(), 3

  with pytest.raises(ValueError, match="family 'mine': places: got None, exp"):
    families.register("mine", Mine)
  Mine.places = staticmethod(lambda config, entries: {})
  families.register("mine", Mine)
  assert families.get("mine") is Mine
  # Of a path it shows when it is asked for.
  families.register("json", "json")
  with pytest.raises(ValueError, match="family 'json': EMBEDDING: got None"):
    families.get("json")


def test_weights_that_are_not_finite_are_refused(tmp_path):
  config, variables = _loaded("mamba")
  broken = jax.tree.map(lambda x: x.at[..., 0].set(jnp.inf), variables)
  huggingface.save(tmp_path, config, broken)
  with pytest.raises(ValueError, match="got numbers that are not finite"):
    huggingface.load(tmp_path)
  huggingface.load(tmp_path, finite=False)


def test_surrogates_in_an_index_get_one_sentence(tmp_path):
  (tmp_path / "config.json").write_text(
    (GOLDEN / "mamba" / "config.json").read_text()
  )
  index = tmp_path / "model.safetensors.index.json"
  index.write_text('{"weight_map": {"a": "\\ud800.safetensors"}}')
  with pytest.raises(ValueError, match="expected a weight_map"):
    huggingface.load(tmp_path)
