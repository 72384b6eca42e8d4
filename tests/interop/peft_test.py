"""Adapters against the PEFT library itself; run by `make test-interop`."""

import json
import pathlib
import warnings

from absl import logging
from flax import traverse_util
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


def _there(base):
  transformers = pytest.importorskip("transformers", reason="it is compared")
  model = transformers.AutoModelForCausalLM.from_pretrained(
    base, dtype="float32"
  )
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
  model = peft.PeftModel.from_pretrained(_there(BASES / name), directory).eval()
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
  said = []
  monkeypatch.setattr(logging, "warning", lambda *words: said.append(words))
  config, variables = huggingface.load(base, context=127)
  network = huggingface.make_network(config, variables)
  options = lora.Config(r"stack\..*", rank=2)
  names = peft_file.names(base, context=127)
  adapters = lora.init(jax.random.key(0), network, variables, options, names)
  adapters = {path: x for path, x in adapters.items() if path in names}
  adapters = _moved(adapters, 0.02)
  ids = jax.random.randint(jax.random.key(1), (2, 9), 3, network.vocab_size)

  def written(adapters):
    said.clear()
    peft_file.write(tmp_path, adapters, base, context=127)
    return said

  kind = json.loads((base / "config.json").read_text())["model_type"]
  if written(adapters):
    with pytest.raises(ValueError, match="'out_proj' is incompatible"):
      _read_quietly(base, tmp_path)
    adapters = {
      path: each
      for path, each in adapters.items()
      if not peft_modules.unreadable(names[path], kind)
    }
  assert not written(adapters)
  want, _ = network.apply(lora.attach(variables, adapters), ids)
  plain, _ = network.apply(variables, ids)
  assert np.abs(want - plain).max() > 1e-4
  got = _logits(_read_quietly(base, tmp_path).merge_and_unload(), ids)
  np.testing.assert_allclose(got, want, **_FLOAT32)


def _read_quietly(base, directory):
  """The model with an adapter, read by PEFT; its warnings are errors."""
  peft = pytest.importorskip("peft", reason="it is compared")
  model = _there(base)
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    # Of a name of transformers' own that PEFT asks for.
    warnings.filterwarnings("ignore", message=".is_gradient_checkpointing")
    return peft.PeftModel.from_pretrained(model, directory).eval()


def _names_there(model):
  """Names of embedding, read-out, norms, linear layers and experts."""
  import torch

  modules = dict(model.named_modules())
  names = {id(module): name for name, module in modules.items()}
  embedding, head = (
    names[id(module)]
    for module in (model.get_input_embeddings(), model.get_output_embeddings())
  )
  norms = [
    n for n, each in modules.items() if "norm" in type(each).__name__.lower()
  ]
  linear = {
    name.split(".")[-1]
    for name, each in modules.items()
    if isinstance(each, torch.nn.Linear) and not name[-1].isdigit()
  }
  # PEFT refuses the former two in some families, takes the next for experts in
  # another, and the models' own pass reads the last one past the adapter.
  not_read = {"out_proj", "conv1d", "gate_proj", "up_proj", "down_proj"}
  not_read |= {"dt_proj"}
  experts = [
    each
    for each in ("gate_up_proj", "up_proj", "down_proj")
    if any(x.endswith(f"experts.{each}") for x, _ in model.named_parameters())
  ]
  layers = sorted(linear - not_read - {head})[:2]
  return embedding.split(".")[-1], head, norms, layers, experts


def _kinds_of_files(model):
  """Options of `LoraConfig` by names of what they are for."""
  embedding, head, norms, layers, experts = _names_there(model)
  kinds = {
    "embedding": {"target_modules": [*layers, embedding]},
    "head": {"target_modules": [*layers, head]},
    "copies": {
      "target_modules": layers,
      "modules_to_save": [head, norms[0], norms[-1]],
    },
    "copied_embedding": {
      "target_modules": layers,
      "modules_to_save": [embedding],
    },
  }
  if experts:
    kinds["experts"] = {"target_modules": layers, "target_parameters": experts}
    kinds["some"] = {"target_modules": [], "target_parameters": experts[-1:]}
  return kinds


@pytest.mark.parametrize("base", EVERY, ids=lambda path: path.name)
def test_files_of_every_kind_go_both_ways(base, tmp_path):
  """Parameters of experts, embeddings, read-outs, and copies of modules."""
  for kind, options in _kinds_of_files(_there(base)).items():
    theirs, ours = tmp_path / kind / "theirs", tmp_path / kind / "ours"
    config, variables = huggingface.load(base, context=127)
    network = huggingface.make_network(config, variables)
    ids = jax.random.randint(jax.random.key(1), (2, 9), 3, network.vocab_size)
    want = _made_there(base, options, theirs, ids)
    plain, _ = network.apply(variables, ids)
    assert np.abs(want - plain).max() > 0.01, kind
    both = huggingface.load(base, context=127, adapter=theirs)
    got, _ = huggingface.make_network(*both).apply(both[1], ids)
    np.testing.assert_allclose(got, want, **_FLOAT32, err_msg=kind)
    if config.tie and kind in ("embedding", "head", "copied_embedding"):
      with pytest.raises(ValueError, match="adapter"):
        peft_file.read_with_copies(theirs, base, context=127)
      continue
    if config.tie and kind == "copies":
      continue
    read = peft_file.read_with_copies(theirs, base, context=127)
    attached = _with_copies(lora.attach(variables, read[0]), read[1])
    got, _ = network.apply(attached, ids)
    np.testing.assert_allclose(got, want, **_FLOAT32, err_msg=kind)
    peft_file.write(ours, read[0], base, copies=read[1], context=127)
    model = _read_quietly(base, ours)
    np.testing.assert_allclose(
      _logits(model, ids), want, **_FLOAT32, err_msg=kind
    )


def _with_copies(variables, copies):
  """Variables with other parameters in some places."""
  flat = traverse_util.flatten_dict(variables["params"], sep="/")
  assert copies.keys() <= flat.keys()
  return {"params": traverse_util.unflatten_dict(flat | copies, sep="/")}


def _made_there(base, options, directory, ids):
  """Writes random adapters by PEFT; returns the logits that it computes."""
  peft = pytest.importorskip("peft", reason="it is compared")
  import torch

  torch.manual_seed(0)
  options = {"r": 3, "lora_alpha": 5, "task_type": "CAUSAL_LM"} | options
  model = peft.get_peft_model(_there(base), peft.LoraConfig(**options)).eval()
  with torch.no_grad():
    for key, value in model.named_parameters():
      if "lora_B" in key or "lora_embedding_" in key:
        value.normal_(std=0.3)
      if "modules_to_save" in key:
        value.add_(0.1 * torch.randn_like(value))
  model.save_pretrained(directory)
  if options["target_modules"] == "all-linear":
    # The models' own pass reads the weight of dt_proj past the adapter.
    model = model.merge_and_unload()
  return _logits(model, ids)


@pytest.mark.parametrize("base", EVERY, ids=lambda path: path.name)
def test_all_linear_layers_made_there_are_read_here(base, tmp_path):
  options = {"target_modules": "all-linear"}
  if base.name in (
    *("falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"),
  ):
    # PEFT itself refuses these modules there.
    options["exclude_modules"] = ["out_proj"]
  config, variables = huggingface.load(base, context=127)
  network = huggingface.make_network(config, variables)
  ids = jax.random.randint(jax.random.key(1), (2, 9), 3, network.vocab_size)
  want = _made_there(base, options, tmp_path, ids)
  contents = json.loads((tmp_path / "adapter_config.json").read_text())
  # Experts, too, in two families.
  targets = contents.get("target_parameters")
  assert bool(targets) == (base.name in ("minimax", "qwen3_next"))
  _, merged = huggingface.load(base, context=127, adapter=tmp_path)
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
  network, variables, ids = _base(name)
  want = _made_there(BASES / name, options, tmp_path, ids)
  _, merged = huggingface.load(BASES / name, adapter=tmp_path)
  np.testing.assert_allclose(network.apply(merged, ids)[0], want, **_FLOAT32)
  adapters = peft_file.read(tmp_path, BASES / name)
  attached = lora.attach(variables, adapters)
  np.testing.assert_allclose(network.apply(attached, ids)[0], want, **_FLOAT32)
