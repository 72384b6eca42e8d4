"""LoRA adapters of pretrained models, against those of the PEFT library.

Each folder of `tests/golden/adapt/lora` has an adapter of the model of that
name in `tests/golden/hybrids`, as PEFT writes it, and `expected.npz`: tokens,
and the logits with W + s B A in the place of every matched weight.
"""

import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.adapt import peft_file
from jaxseq.interop import huggingface
from jaxseq.interop import peft_modules
from jaxseq.interop import safetensors_file
from tests import limited

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
MODELS = sorted(path.name for path in (GOLDEN / "adapt/lora").iterdir())
# Each takes seconds to compile; the rest is slow.
CASES = [
  pytest.param(name, marks=() if name == "jamba" else pytest.mark.slow)
  for name in MODELS
]


@pytest.mark.parametrize("name", CASES)
def test_logits(name):
  adapter = GOLDEN / "adapt/lora" / name
  config, variables = huggingface.load(
    GOLDEN / "hybrids" / name, adapter=adapter
  )
  network = huggingface.make_network(config, variables)
  with np.load(adapter / "expected.npz") as arrays:
    expected = dict(arrays)
  ids = jnp.asarray(expected["ids"], jnp.int32)
  logits, _ = jax.jit(network.apply)(variables, ids)
  # Of size 1 to 10, in float32 on both sides in another order.
  np.testing.assert_allclose(logits, expected["logits"], rtol=0, atol=1e-4)
  if "logits_peft_unmerged" in expected:
    # The other library's own pass leaves the adapters of dt_proj out.
    difference = np.abs(logits - expected["logits_peft_unmerged"]).max()
    assert difference > 0.1


@pytest.mark.parametrize("name", MODELS)
def test_every_adapter_has_its_tensor(name):
  opened = huggingface.open_model(GOLDEN / "hybrids" / name)
  adapters = peft_modules.read(GOLDEN / "adapt/lora" / name).modules
  with np.load(GOLDEN / "adapt/lora" / name / "expected.npz") as arrays:
    assert adapters.keys() == set(arrays["matched"].tolist())
  by_tensor = peft_modules.by_tensor(adapters, opened.tensors, opened.modules)
  assert len(by_tensor) == len(adapters)
  # Both spellings of a module are read.
  spelled = {
    name.removesuffix(".weight"): by_tensor[name] for name in by_tensor
  }
  again = peft_modules.by_tensor(spelled, opened.tensors, opened.modules)
  assert again == by_tensor


@pytest.fixture
def adapter(tmp_path):
  shutil.copytree(GOLDEN / "adapt/lora/bamba", tmp_path / "adapter")
  return tmp_path / "adapter"


def _load(adapter):
  return huggingface.load(GOLDEN / "hybrids/bamba", adapter=adapter)


@pytest.mark.parametrize(
  ("field", "value", "message"),
  [
    ("peft_type", "IA3", "peft_type: got 'IA3', expected one of 'LORA'"),
    ("bias", "all", "bias: got 'all', expected one of 'none'"),
    ("init_lora_weights", "pissa", "init_lora_weights: got 'pissa'"),
    ("modules_to_save", ["lm_head"], "got 'no lm_head.weight', expected a"),
    ("target_parameters", "x", "target_parameters: got 'str', expected a l"),
    ("ensure_weight_tying", True, "ensure_weight_tying: got True"),
    ("layer_replication", [[0, 2]], "layer_replication: got"),
    ("r", 4, r"expected \(r, in\) and \(out, r\) with r = 4"),
    ("use_dora", True, "expected .*'magnitude'.*, by adapter_config.json"),
    ("use_rslora", "x", "use_rslora: got 'str', expected a boolean"),
    ("r", None, "r: got None, expected an integer of at least 1"),
    ("lora_alpha", float("nan"), "not JSON .NaN is no number of JSON"),
    ("lora_alpha", float("inf"), "not JSON .Infinity is no number of JSON"),
    ("lora_alpha", 1e308, "s B A: got 'up to .*, expected .* float32 holds"),
    ("lora_alpha", "x", "lora_alpha: got 'x', expected a finite number"),
    ("lora_alpha", None, "lora_alpha: got None, expected a finite number"),
    ("lora_alpha", [8], r"lora_alpha: got \[8\], expected a finite number"),
    ("alpha_pattern", {"q": "x"}, "alpha_pattern: q: got 'x', expected a fini"),
    ("rank_pattern", {"q": 0}, "rank_pattern: q: got 0, expected an integer"),
    ("rank_pattern", ["q"], "rank_pattern: got 'list', expected an object"),
    ("rank_pattern", "q", "rank_pattern: got 'str', expected an object"),
    ("rank_pattern", {"(q": 8}, "rank_pattern: got '.q', expected a regular"),
    ("rank_pattern", {"(?i)q": 8}, "expected a regular expression .global fl"),
    ("rank_pattern", {"q{9" + "9" * 20 + "}": 8}, "expected a regular express"),
    ("rank_pattern", {"q" * 2000: 8}, "characters: got 2000, expected at most"),
  ],
)
def test_other_computations_are_refused(adapter, field, value, message):
  path = adapter / "adapter_config.json"
  contents = json.loads(path.read_text())
  path.write_text(json.dumps({**contents, field: value}))
  with pytest.raises(ValueError, match=message):
    _load(adapter)


def test_patterns_without_an_end_are_refused(adapter):
  path = adapter / "adapter_config.json"
  contents = json.loads(path.read_text())
  keys = ["(([a-z0-9_.]*)*)*!", "(a|.)" * 40, ".?" * 60, ".*" * 8 + "!"]
  # Nothing can interrupt `re`, so that a child tries it.
  printed = limited.run(
    f"""
    import json, pathlib
    from jaxseq.interop import peft_modules
    path = pathlib.Path({str(path)!r})
    for key in {keys!r}:
      contents = {contents!r} | {{"alpha_pattern": {{key: 3}}}}
      path.write_text(json.dumps(contents))
      try:
        peft_modules.read(path.parent)
      except ValueError as error:
        print(error)
    """,
    seconds=20,
  )
  assert printed.count("a pattern that can be tried in fewer ways") == len(keys)


def test_patterns_of_names_are_found(adapter):
  path = adapter / "adapter_config.json"
  contents = json.loads(path.read_text())
  names = peft_modules.read(adapter).modules
  patterns = {
    r"^model\.layers\.0\.mamba\.in_proj": 3,
    r"layers\.(1|2|30)\..*in_proj": 5,
    "in_proj": 7,
  }
  path.write_text(json.dumps(contents | {"alpha_pattern": patterns}))
  for name, module in peft_modules.read(adapter).modules.items():
    alpha = contents["lora_alpha"]
    if name.endswith("in_proj"):
      alpha = 3 if ".0." in name else 5 if ".1." in name else 7
    assert module.scale == alpha / contents["r"], name
  assert "model.layers.0.mamba.in_proj" in names
  path.write_bytes(json.dumps(contents).encode("utf-16"))
  with pytest.raises(ValueError, match="adapter_config.json is not JSON"):
    peft_modules.read(adapter)


def test_a_module_that_is_not_there_is_named(adapter):
  path = adapter / "adapter_model.safetensors"
  arrays = safetensors_file.read(path)
  lost = {
    k.replace("0.mamba.in_proj", "7.mamba.in_proj"): v
    for k, v in arrays.items()
  }
  safetensors_file.write(path, lost)
  with pytest.raises(
    ValueError, match=r"7\.mamba\.in_proj'.*near are .*\.mamba\.in_proj"
  ):
    _load(adapter)


def test_an_adapter_of_another_width_is_refused(adapter):
  path = adapter / "adapter_model.safetensors"
  arrays = {k: v[..., :2, :] for k, v in safetensors_file.read(path).items()}
  safetensors_file.write(
    path, {k: v if "lora_B" in k else v[:2] for k, v in arrays.items()}
  )
  config = adapter / "adapter_config.json"
  contents = json.loads(config.read_text())
  config.write_text(json.dumps({**contents, "r": 2}))
  with pytest.raises(ValueError, match="adapter_model.safetensors: model"):
    _load(adapter)


def _config(adapter, **fields):
  path = adapter / "adapter_config.json"
  contents = json.loads(path.read_text())
  path.write_text(json.dumps({**contents, **fields}))


def _with_tensors(adapter, **arrays):
  """Adds tensors to an adapter's file, "__" for the dots of names."""
  path = adapter / "adapter_model.safetensors"
  named = {key.replace("__", "."): value for key, value in arrays.items()}
  stored = {f"base_model.model.{key}": value for key, value in named.items()}
  safetensors_file.write(path, {**safetensors_file.read(path), **stored})


def test_copies_of_modules_take_the_places_of_weights(adapter):
  norm = np.linspace(0.5, 2, 16, dtype=np.float32)
  head = np.ones((48, 16), np.float32)
  _with_tensors(adapter, model__final_layernorm__weight=norm)
  _with_tensors(adapter, lm_head__weight=head)
  _config(adapter, modules_to_save=["lm_head", "final_layernorm"])
  _, variables = _load(adapter)
  params = variables["params"]
  np.testing.assert_array_equal(params["stack"]["final_norm"]["scale"], norm)
  kernel = params["head"]["mlp"]["dense_0"]["kernel"]
  np.testing.assert_array_equal(kernel, head.T)


@pytest.mark.parametrize(
  ("name", "array", "message"),
  [
    ("lm_head__weight", np.ones((3, 16)), r"expected \(48, 16\), that of the"),
    ("lm_heed__weight", np.ones((48, 16)), "'lm_heed.weight', expected modu"),
    ("lm_head__lora_X", np.ones(3), "lm_head.lora_X', expected base_model"),
    ("lm_head__base_layer__lora_A__weight", np.ones((4, 16)), "expected para"),
  ],
)
def test_copies_of_something_else_are_refused(adapter, name, array, message):
  _with_tensors(adapter, **{name: array.astype(np.float32)})
  with pytest.raises(ValueError, match=message):
    _load(adapter)


def test_an_adapter_of_a_tied_embedding_leaves_the_head(tmp_path):
  """PEFT's pass uses the embedding with it, and the read-out without."""
  base = GOLDEN / "hybrids/lfm2"
  key = "base_model.model.model.embed_tokens.lora_embedding_"
  a = np.linspace(-1, 1, 2 * 48, dtype=np.float32).reshape(2, 48)
  b = np.linspace(1, 2, 24 * 2, dtype=np.float32).reshape(24, 2)
  path = tmp_path / "adapter_model.safetensors"
  safetensors_file.write(path, {f"{key}A": a, f"{key}B": b})
  contents = {"peft_type": "LORA", "r": 2, "lora_alpha": 6}
  (tmp_path / "adapter_config.json").write_text(json.dumps(contents))
  plain_config, plain = huggingface.load(base)
  config, variables = huggingface.load(base, adapter=tmp_path)
  assert (plain_config.tie, config.tie) == (True, False)
  embedding = plain["params"]["embed"]["embedding"]
  params = variables["params"]
  kernel = params["head"]["mlp"]["dense_0"]["kernel"]
  np.testing.assert_array_equal(kernel, embedding.T)
  want = embedding + 3 * (b @ a).T
  np.testing.assert_allclose(params["embed"]["embedding"], want, rtol=1e-5)
  with pytest.raises(ValueError, match="expected none of a tied embedding"):
    peft_file.read(tmp_path, base)
