"""Adapters against the PEFT library itself; run by `make test-interop`."""

import json
import pathlib

from absl import logging
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxseq.adapt import lora
from jaxseq.adapt import peft_file
from jaxseq.interop import huggingface
from jaxseq.interop import peft_modules

pytestmark = [
  pytest.mark.interop,
  # The other library's own business.
  pytest.mark.filterwarnings("default"),
]

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
BASES, ADAPTERS = GOLDEN / "hybrids", GOLDEN / "adapt/lora"
MODELS = sorted(path.name for path in ADAPTERS.iterdir())
# Logits of size 1 to 10, in float32 on both sides in another order.
_FLOAT32 = {"rtol": 0, "atol": 1e-4}


def _base(name):
  config, variables = huggingface.load(BASES / name)
  network = huggingface.make_network(config, variables)
  with np.load(ADAPTERS / name / "expected.npz") as arrays:
    ids = jnp.asarray(arrays["ids"], jnp.int32)
  return network, variables, ids


def _there(name):
  transformers = pytest.importorskip("transformers", reason="it is compared")
  model = transformers.AutoModelForCausalLM.from_pretrained(BASES / name)
  return model.eval()


def _logits(model, ids):
  import torch

  with torch.no_grad():
    ids = torch.from_numpy(np.array(ids, np.int64))
    return model(ids, use_cache=False).logits.numpy()


def _moved(adapters, scale):
  """Adapters whose numbers are others, as after training."""
  leaves, tree = jax.tree.flatten(adapters)
  keys = jax.random.split(jax.random.key(0), len(leaves))
  leaves = [
    leaf + scale * jax.random.normal(key, leaf.shape)
    for key, leaf in zip(keys, leaves)
  ]
  return jax.tree.unflatten(tree, leaves)


def _assert_read_there(name, adapters, directory, *, unmerged=True):
  """Asserts that PEFT computes with written adapters what we do."""
  peft = pytest.importorskip("peft", reason="it is compared")
  network, variables, ids = _base(name)
  peft_file.write(directory, adapters, BASES / name)
  want, _ = network.apply(lora.attach(variables, adapters), ids)
  plain, _ = network.apply(variables, ids)
  assert np.abs(want - plain).max() > 0.01
  model = peft.PeftModel.from_pretrained(_there(name), directory).eval()
  if unmerged:
    np.testing.assert_allclose(_logits(model, ids), want, **_FLOAT32)
  merged = model.merge_and_unload()
  np.testing.assert_allclose(_logits(merged, ids), want, **_FLOAT32)


@pytest.mark.parametrize("name", MODELS)
def test_written_here_and_read_there(name, tmp_path):
  adapters = peft_file.read(ADAPTERS / name, BASES / name)
  # Its own pass reads the weight of dt_proj past the adapter.
  unmerged = name not in ("falcon_mamba", "jamba")
  adapters = _moved(adapters, 0.02)
  _assert_read_there(name, adapters, tmp_path, unmerged=unmerged)


def test_trained_here_and_read_there(tmp_path):
  """Two of our weights are one there, each with an A of its own."""
  network, variables, ids = _base("qwen3_next")
  config = lora.Config(("W_qkv", "W_g"), rank=3, alpha=5.0)
  adapters = lora.init(jax.random.key(0), network, variables, config)
  optimizer = optax.adam(3e-2)

  def loss(adapters):
    logits, _ = network.apply(lora.attach(variables, adapters), ids[:, :-1])
    each = optax.softmax_cross_entropy_with_integer_labels(logits, ids[:, 1:])
    return each.mean()

  @jax.jit
  def update(adapters, state):
    value, gradients = jax.value_and_grad(loss)(adapters)
    changes, state = optimizer.update(gradients, state)
    return optax.apply_updates(adapters, changes), state, value

  state, values = optimizer.init(adapters), []
  for _ in range(15):
    adapters, state, value = update(adapters, state)
    values.append(value)
  assert values[-1] < values[0] - 0.05
  layer = "stack/layers_0/mixer/"
  assert not np.allclose(adapters[f"{layer}W_qkv"].a, adapters[f"{layer}W_g"].a)
  _assert_read_there("qwen3_next", adapters, tmp_path)


EVERY = [
  *sorted(BASES.iterdir()),
  GOLDEN / "interop" / "mamba",
  GOLDEN / "interop" / "mamba2",
]


@pytest.mark.parametrize("base", EVERY, ids=lambda path: path.name)
def test_adapters_of_all_products_are_read_there_or_warned_about(
  base, tmp_path, monkeypatch
):
  """The default of `experiments.adapt`, in every family."""
  peft = pytest.importorskip("peft", reason="it is compared")
  transformers = pytest.importorskip("transformers", reason="it is compared")
  said = []
  monkeypatch.setattr(logging, "warning", lambda *words: said.append(words))
  config, variables = huggingface.load(base, context=127)
  network = huggingface.make_network(config, variables)
  options = lora.Config(r"stack\..*", rank=2)
  names = peft_file.names(base)
  adapters = lora.init(jax.random.key(0), network, variables, options, names)
  adapters = {path: x for path, x in adapters.items() if path in names}
  adapters = _moved(adapters, 0.02)
  ids = jax.random.randint(jax.random.key(1), (2, 9), 3, network.vocab_size)

  def there(directory):
    model = transformers.AutoModelForCausalLM.from_pretrained(
      base, dtype="float32"
    )
    return peft.PeftModel.from_pretrained(model.eval(), directory).eval()

  def written(adapters):
    said.clear()
    peft_file.write(tmp_path, adapters, base)
    return [words for words in said if "PEFT reads no" in words[0]]

  if written(adapters):
    try:
      got = _logits(there(tmp_path).merge_and_unload(), ids)
    except (ValueError, RuntimeError):
      got = None
    want, _ = network.apply(lora.attach(variables, adapters), ids)
    assert got is None or np.abs(got - want).max() > 1e-3
    kind = json.loads((base / "config.json").read_text())["model_type"]
    adapters = {
      path: each
      for path, each in adapters.items()
      if not peft_modules.unreadable(names[path], kind)
    }
    assert not written(adapters)
  want, _ = network.apply(lora.attach(variables, adapters), ids)
  plain, _ = network.apply(variables, ids)
  assert np.abs(want - plain).max() > 1e-4
  got = _logits(there(tmp_path).merge_and_unload(), ids)
  np.testing.assert_allclose(got, want, **_FLOAT32)


def _made_there(name, options, directory):
  """Writes random adapters by PEFT; returns the logits that it computes."""
  peft = pytest.importorskip("peft", reason="it is compared")
  import torch

  torch.manual_seed(0)
  options = {"r": 3, "lora_alpha": 5, "task_type": "CAUSAL_LM"} | options
  model = peft.get_peft_model(_there(name), peft.LoraConfig(**options)).eval()
  with torch.no_grad():
    for key, value in model.named_parameters():
      if "lora_B" in key:
        value.normal_(std=0.3)
  model.save_pretrained(directory)
  # Its own pass reads the weight of some modules past the adapter.
  return _logits(model.merge_and_unload(), _base(name)[2])


@pytest.mark.parametrize("name", MODELS)
def test_all_linear_layers_made_there_are_read_here_or_refused(name, tmp_path):
  options = {"target_modules": "all-linear"}
  if name in ("falcon_h1", "falcon_mamba", "nemotron_h"):
    # PEFT itself refuses these modules there.
    options["exclude_modules"] = ["out_proj"]
  want = _made_there(name, options, tmp_path)
  config = json.loads((tmp_path / "adapter_config.json").read_text())
  assert bool(config.get("target_parameters")) == (name == "qwen3_next")
  if name == "qwen3_next":
    # Its experts.
    with pytest.raises(ValueError, match="target_parameters: got .* expected"):
      huggingface.load(BASES / name, adapter=tmp_path)
    return
  _, merged = huggingface.load(BASES / name, adapter=tmp_path)
  network, variables, ids = _base(name)
  np.testing.assert_allclose(network.apply(merged, ids)[0], want, **_FLOAT32)
  plain, _ = network.apply(variables, ids)
  assert np.abs(want - plain).max() > 0.01


@pytest.mark.parametrize(
  ("name", "options"),
  [
    (
      "qwen3_next",
      {"target_modules": ["in_proj_qkvz", "in_proj_ba", "q_proj"]},
    ),
    (
      "nemotron_h",
      {"target_modules": ["in_proj", "q_proj"], "use_rslora": True},
    ),
    ("lfm2", {"target_modules": ["in_proj", "k_proj"], "use_dora": True}),
    ("zamba2", {"target_modules": r".*\.(in_proj|q_proj|linear)"}),
  ],
)
def test_made_there_and_read_here(name, options, tmp_path):
  want = _made_there(name, options, tmp_path)
  network, variables, ids = _base(name)
  _, merged = huggingface.load(BASES / name, adapter=tmp_path)
  np.testing.assert_allclose(network.apply(merged, ids)[0], want, **_FLOAT32)
  adapters = peft_file.read(tmp_path, BASES / name)
  attached = lora.attach(variables, adapters)
  np.testing.assert_allclose(network.apply(attached, ids)[0], want, **_FLOAT32)
