"""Families of pretrained models, against outputs of the transformers library.

Each folder of `tests/golden/hybrids` has a small model and `expected.npz`:
tokens, their logits in float32, and the tokens that most probably follow.
"""

import dataclasses
import functools
import json
import pathlib
import shutil

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import generation
from jaxseq.interop import families
from jaxseq.interop import huggingface
from jaxseq.interop import safetensors_file

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "hybrids"
MODELS = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())
# Each takes seconds to compile; the rest is slow.
_QUICK = ("jamba",)
CASES = [
  pytest.param(name, marks=() if name in _QUICK else pytest.mark.slow)
  for name in MODELS
]
# Logits of size 1 to 4, in float32 on both sides in another order: ten times
# the largest difference seen.
_FLOAT32 = {"rtol": 0, "atol": 3e-5}


@functools.cache
def _loaded(name):
  # Those of one model say that it was made for more than are kept unasked.
  context = 4095 if name == "qwen3_5" else None
  config, variables = huggingface.load(GOLDEN / name, context=context)
  network = huggingface.make_network(config, variables)
  return network, variables, jax.jit(network.apply)


@functools.cache
def _expected(name):
  with np.load(GOLDEN / name / "expected.npz") as arrays:
    return {key: arrays[key] for key in arrays.files}


@pytest.mark.parametrize("name", CASES)
def test_logits(name):
  _, variables, apply = _loaded(name)
  expected = _expected(name)
  logits, _ = apply(variables, jnp.asarray(expected["ids"], jnp.int32))
  assert np.std(expected["logits"]) > 0.3
  np.testing.assert_allclose(logits, expected["logits"], **_FLOAT32)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_greedy_tokens(name):
  network, variables, _ = _loaded(name)
  expected = _expected(name)
  prompt = jnp.asarray(expected["ids"], jnp.int32)
  length = expected["greedy"].shape[1]
  tokens, _ = jax.jit(
    lambda prompt: generation.generate(
      network, variables, prompt, length, jax.random.key(0), temperature=0.0
    )
  )(prompt)
  np.testing.assert_array_equal(tokens, expected["greedy"])


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_pieces_and_steps_are_the_whole(name):
  network, variables, apply = _loaded(name)
  expected = _expected(name)
  ids = jnp.asarray(expected["ids"], jnp.int32)
  first, states = apply(variables, ids[:, :7])
  second, _ = apply(variables, ids[:, 7:], states)
  np.testing.assert_allclose(
    np.concatenate([first, second], 1), expected["logits"], **_FLOAT32
  )
  step = jax.jit(functools.partial(network.apply, method="step"))
  for t in range(7, ids.shape[1]):
    logits, states = step(variables, ids[:, t], states)
    np.testing.assert_allclose(logits, expected["logits"][:, t], **_FLOAT32)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_packed_documents_are_each_alone(name):
  _, variables, apply = _loaded(name)
  expected = _expected(name)
  ids = jnp.asarray(expected["ids"], jnp.int32)
  packed = jnp.concatenate(list(ids))[None]
  reset = np.zeros(packed.shape, bool)
  reset[0, ids.shape[1]] = True
  logits, _ = apply(variables, packed, None, jnp.asarray(reset))
  np.testing.assert_allclose(
    logits[0], np.concatenate(expected["logits"]), **_FLOAT32
  )


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_gradients_reach_every_parameter(name):
  network, variables, _ = _loaded(name)
  expected = _expected(name)
  ids = jnp.asarray(expected["ids"], jnp.int32)

  def loss(variables):
    logits, _ = network.apply(variables, ids)
    return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - logits[..., 0])

  for path, leaf in jax.tree.leaves_with_path(
    jax.jit(jax.grad(loss))(variables)
  ):
    assert np.all(np.isfinite(leaf)), path
    # A bias only selects experts, and the share of a single one may be 1.
    chooses = "selection_bias" in str(path) or "router" in str(path)
    assert chooses or np.any(leaf), path


@pytest.mark.parametrize("name", ["falcon_mamba"])
def test_tensors_are_written_as_they_were(name, tmp_path):
  config, variables = huggingface.load(GOLDEN / name)
  huggingface.save(tmp_path, config, variables)
  ours, theirs = (
    safetensors_file.read(path / "model.safetensors")
    for path in (tmp_path, GOLDEN / name)
  )
  chex.assert_trees_all_equal(ours, theirs)
  assert huggingface.load(tmp_path)[0] == config
  contents = json.loads((tmp_path / "config.json").read_text())
  theirs = json.loads((GOLDEN / name / "config.json").read_text())
  tokens = {"bos_token_id", "eos_token_id", "pad_token_id"}
  for key in contents.keys() & theirs.keys() - tokens:
    assert contents[key] == theirs[key], key


@pytest.mark.parametrize("name", MODELS)
def test_places_are_undone(name):
  """What is read of each tensor is what is written to it."""
  opened = huggingface.open_model(GOLDEN / name, context=4095)
  arrays = {name: each.read() for name, each in opened.tensors.items()}
  written = {}
  for place in opened.places.values():
    if not set(place.names) <= arrays.keys():
      continue
    tensors = [arrays[each] for each in place.names]
    array = place.read(tensors, np.float32)
    for each, part in zip(place.names, place.write(array)):
      if place.rows:
        part = place.rows.put(written.get(each), part)
      written[each] = part
  assert written.keys() == arrays.keys()
  for each, tensor in written.items():
    # Rounding of a product or a sum that is undone.
    np.testing.assert_allclose(tensor, arrays[each], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
  "name",
  [
    pytest.param(name, marks=() if name == "lfm2" else pytest.mark.slow)
    for name in MODELS
  ],
)
def test_families_are_saved_like_a_model(name, tmp_path):
  config, variables = huggingface.load(GOLDEN / name, context=4095)
  huggingface.save(
    tmp_path, config, variables, like=GOLDEN / name, context=4095
  )
  ours, theirs = (
    safetensors_file.read(path / "model.safetensors")
    for path in (tmp_path, GOLDEN / name)
  )
  ours |= {name: theirs[name] for name in theirs.keys() - ours.keys()}
  chex.assert_trees_all_close(ours, theirs, rtol=1e-6, atol=1e-7)
  again, loaded = huggingface.load(tmp_path, context=4095)
  assert again == config
  chex.assert_trees_all_close(loaded, variables, rtol=1e-6, atol=1e-7)


def test_another_network_than_that_of_like_is_refused(tmp_path):
  config, variables = huggingface.load(GOLDEN / "lfm2")
  other = dataclasses.replace(config, logit_scale=2.0)
  with pytest.raises(ValueError, match="config: got 'the options of another"):
    huggingface.save(tmp_path, other, variables, like=GOLDEN / "lfm2")


def _minimax(tensors, ids, factors):
  """Logits of two layers of lightning attention, as MiniMax's code has them."""

  def normed(x, name, eps=1e-5):
    weight = tensors[f"{name}.weight"]
    return x / np.sqrt(np.mean(x * x, -1, keepdims=True) + eps) * weight

  def linear(x, name):
    return x @ tensors[f"{name}.weight"].T

  def sigmoid(x):
    return 1 / (1 + np.exp(-x))

  def silu(x):
    return x * sigmoid(x)

  batch, time = ids.shape
  times, heads = np.arange(time), np.arange(1, 5)
  x = tensors["model.embed_tokens.weight"][ids]
  for number in range(2):
    layer = f"model.layers.{number}"
    x = normed(x, f"{layer}.input_layernorm")
    qkv = silu(linear(x, f"{layer}.self_attn.qkv_proj"))
    q, k, v = np.moveaxis(qkv.reshape(batch, time, 4, 3, -1), 3, 0)
    slope = 2.0 ** (-2 * heads) * (1 - number / (1 + 1e-5) + 1e-5)
    ages = times[:, None] - times
    decay = np.tril(np.exp(-slope[:, None, None] * np.maximum(ages, 0)))
    o = np.einsum("bthd,bshd,hts,bshe->bthe", q, k, decay, v)
    o = normed(o.reshape(batch, time, -1), f"{layer}.self_attn.norm", 1e-6)
    o = o * sigmoid(linear(x, f"{layer}.self_attn.output_gate"))
    alpha, beta = factors["linear_attn"]
    x = alpha * x + beta * linear(o, f"{layer}.self_attn.out_proj")
    x = normed(x, f"{layer}.post_attention_layernorm")
    moe = f"{layer}.block_sparse_moe"
    chosen = np.argmax(linear(x, f"{moe}.gate"), -1)
    each = [f"{moe}.experts.{i}" for i in range(2)]
    y = np.stack(
      [
        linear(silu(linear(x, f"{e}.w1")) * linear(x, f"{e}.w3"), f"{e}.w2")
        for e in each
      ]
    )
    y = np.take_along_axis(y, chosen[None, ..., None], 0)[0]
    alpha, beta = factors["mlp"]
    x = alpha * x + beta * y
  return linear(normed(x, "model.norm"), "lm_head")


def test_factors_of_minimax(tmp_path):
  factors = {"linear_attn": (1.7, 0.6), "mlp": (0.8, 1.3)}
  entries = {"layer_types": ["linear_attention"] * 2}
  for name, (alpha, beta) in factors.items():
    entries[f"{name}_alpha_factor"] = alpha
    entries[f"{name}_beta_factor"] = beta
  copy("minimax", tmp_path, **entries)
  path = tmp_path / "model.safetensors"
  tensors = safetensors_file.read(path)
  first, second = "model.layers.0.", "model.layers.1."
  tensors = {k: v for k, v in tensors.items() if ".1.self_attn." not in k}
  for name in [name for name in tensors if name.startswith(first)]:
    other = name.replace(first, second)
    tensors[other] = tensors.get(other, tensors[name])
  path.unlink()
  safetensors_file.write(path, tensors)
  config, variables = huggingface.load(tmp_path)
  network = huggingface.make_network(config, variables)
  ids = _expected("minimax")["ids"].astype(np.int32)
  logits, _ = jax.jit(network.apply)(variables, ids)
  expected = _minimax(tensors, ids, factors)
  np.testing.assert_allclose(logits, expected, **_FLOAT32)


def copy(name, directory, **entries):
  """Copies a golden model, with other entries in its config.json."""
  shutil.copytree(GOLDEN / name, directory, dirs_exist_ok=True)
  path = directory / "config.json"
  path.write_text(json.dumps(json.loads(path.read_text()) | entries))
  return directory


# By model: entries that the network has no options for, or that do not fit the
# tensors, and what is said of them.
REFUSED = [
  ("kimi_linear", {"hidden_act": "relu"}, "hidden_act: got 'relu', expected"),
  (
    "kimi_linear",
    {"num_key_value_heads": 1},
    "num_key_value_heads: got 1, expected 2 = num_attention_heads",
  ),
  ("kimi_linear", {"mla_use_nope": False}, "mla_use_nope: got False"),
  (
    "kimi_linear",
    {"moe_router_activation_func": "softmax"},
    "moe_router_activation_func: got 'softmax'",
  ),
  (
    "kimi_linear",
    {
      "layer_types": None,
      "linear_attn_config": {"full_attn_layers": [2], "kda_layers": [2]},
    },
    r"linear_attn_config: got \[2, 2\], expected each layer from 1 to 2 once",
  ),
  ("kimi_linear", {"kv_lora_rank": 10**9}, "kv_lora_rank: got 1000000000, exp"),
  ("lfm2", {"conv_L_cache": 1}, "conv_L_cache: got 1, expected at least 2"),
  ("lfm2", {"layer_types": ["conv", "mamba"]}, "layer_types: got 'mamba', exp"),
  ("lfm2", {"conv_bias": True}, "lacks model.layers.0.conv.conv.bias"),
  (
    "olmo_hybrid",
    {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}},
    "rope_parameters: rope_type: got 'yarn', expected one of 'default'",
  ),
  (
    "olmo_hybrid",
    {"linear_num_key_heads": 3},
    "key_heads: got 3, expected a divisor of heads = 2",
  ),
  (
    "qwen3_next",
    {"linear_conv_kernel_dim": 1},
    "linear_conv_kernel_dim: got 1, expected at least 2",
  ),
  (
    "qwen3_next",
    {"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.4}},
    r"int\(rotary_fraction \* d_head\): got 3, expected an even number",
  ),
  ("qwen3_next", {"decoder_sparse_step": 0}, "decoder_sparse_step: got 0, exp"),
  ("qwen3_next", {"mlp_only_layers": 3}, "mlp_only_layers: got 3, expected a"),
  (
    "qwen3_next",
    {"mlp_only_layers": [1]},
    "lacks model.layers.1.mlp.down_proj.weight",
  ),
  (
    "recurrent_gemma",
    {"hidden_activation": "gelu"},
    "hidden_activation: got 'gelu', expected one of 'gelu_pytorch_tanh'",
  ),
  (
    "recurrent_gemma",
    {"attention_window_size": 1},
    "attention_window_size: got 1, expected at least 2",
  ),
  (
    "recurrent_gemma",
    {"block_types": ["lstm"]},
    "block_types: got 'lstm'",
  ),
  (
    "recurrent_gemma",
    {"lru_width": 22},
    "d_hidden: got 22, expected a multiple of heads = 4",
  ),
  (
    "bamba",
    {"attn_layer_indices": [2]},
    r"indices: got \[2\], expected a list",
  ),
  (
    "bamba",
    {"mamba_d_head": 3},
    "_heads . mamba_d_head: got 8 . 3, expected 32",
  ),
  (
    "bamba",
    {"rope_parameters": {"rope_type": "yarn"}},
    "rope_type: got 'yarn'",
  ),
  (
    "bamba",
    {"mlp_bias": True},
    "lacks model.layers.0.feed_forward.down_proj.b",
  ),
  ("bamba", {"mamba_n_groups": 3}, "ngroups: got 3, expected a divisor of hea"),
  (
    "falcon_h1",
    {"mlp_multipliers": [1.0]},
    r"mlp_multipliers: got \[1.0\], exp",
  ),
  (
    "falcon_h1",
    {"ssm_multipliers": ["a"] * 5},
    "ssm_multipliers: got 'a', exp",
  ),
  ("falcon_h1", {"mamba_d_ssm": 31}, "expected 31, the channels of Mamba-2"),
  (
    "falcon_h1",
    {"mamba_rms_norm": True},
    "lacks model.layers.0.mamba.norm.wei",
  ),
  (
    "granitemoehybrid",
    {"layer_types": ["attention", "lstm"]},
    "layer_types: got 'lstm', expected one of 'linear_attention', 'mamba'",
  ),
  (
    "granitemoehybrid",
    {"position_embedding_type": "learned"},
    "position_embedding_type: got 'learned', expected one of None, 'nope'",
  ),
  ("granitemoehybrid", {"logits_scaling": 0}, "logits_scaling: got 0.0, expe"),
  ("nemotron_h", {"mlp_hidden_act": "silu"}, "mlp_hidden_act: got 'silu', exp"),
  (
    "nemotron_h",
    {"mamba_head_dim": 8},
    "conv1d.bias: got .96,., expected",
  ),
  (
    "nemotron_h",
    {"layers_block_type": ["mlp"] * 3},
    "layers_block_type: got '3 kinds', expected 4, one a layer",
  ),
  ("nemotron_h", {"layers_block_type": ["x"] * 4}, "got 'x', expected one of"),
  ("zamba2", {"hidden_act": "silu"}, "hidden_act: got 'silu', expected one of"),
  ("zamba2", {"n_mamba_heads": 5}, "n_mamba_heads: got 5, expected a divisor"),
  ("zamba2", {"adapter_rank": 10**9}, "adapter_rank: got .*, expected at most"),
  (
    "zamba2",
    {"layers_block_type": ["hybrid"]},
    "got '1 kinds', expected 3, on",
  ),
  ("zamba2", {"use_shared_attention_adapter": True}, "lacks .*_adapter_list.0"),
  ("falcon_mamba", {"hidden_act": "relu"}, "hidden_act: got 'relu', expected"),
  ("falcon_mamba", {"mixer_rms_eps": 0}, "mixer_rms_eps: got 0.0, expected a"),
  ("jamba", {"hidden_act": "gelu"}, "hidden_act: got 'gelu', expected one of"),
  ("jamba", {"attn_layer_period": 0}, "attn_layer_period: got 0, expected at"),
  ("jamba", {"num_experts": 10**9}, "num_experts: got 1000000000, expected at"),
  ("jamba", {"num_experts_per_tok": 3}, "active: got 3, expected an integer"),
  ("jamba", {"num_attention_heads": 0}, "heads: got 0, expected an integer of"),
  ("jamba", {"num_key_value_heads": 3}, "kv_heads: got 3, expected a divisor"),
  ("rwkv", {"layer_norm_epsilon": 0}, "layer_norm_epsilon: got 0.0, expected"),
  ("rwkv", {"attention_hidden_size": 0}, "attention_hidden_size: got 0, expec"),
  ("rwkv", {"intermediate_size": 10**9}, "intermediate_size: got 1000000000"),
  ("rwkv", {"rescale_every": "often"}, "rescale_every: got 'often', expected"),
  ("rwkv", {"hidden_size": 16}, "rwkv.*shape"),
  ("xlstm", {"use_bias": True}, "use_bias: got True, expected one of False"),
  ("xlstm", {"weight_mode": "fused"}, "weight_mode: got 'fused', expected one"),
  ("xlstm", {"num_blocks": 3}, "num_blocks: got 3, expected one of 2"),
  (
    "xlstm",
    {"qk_dim_factor": 0.4},
    "qk_dim_factor: got 0.4, expected a factor that makes 16 a multiple of",
  ),
  (
    "jamba",
    {"attn_layer_offset": 0},
    "lacks model.layers.0.self_attn.k_proj.weight",
  ),
]


@pytest.mark.parametrize(("name", "entries", "message"), REFUSED)
def test_entries_that_do_not_fit(name, entries, message, tmp_path):
  with pytest.raises(ValueError, match=message):
    huggingface.load(copy(name, tmp_path, **entries))


def test_every_model_has_a_family():
  known = {
    json.loads((GOLDEN / name / "config.json").read_text())["model_type"]
    for name in MODELS
  }
  assert known <= set(families.names())


def test_layers_by_letters(tmp_path):
  directory = copy("nemotron_h", tmp_path, hybrid_override_pattern="M-*-")
  path = directory / "config.json"
  contents = json.loads(path.read_text())
  del contents["layers_block_type"]
  path.write_text(json.dumps(contents))
  loaded = huggingface.load(directory)
  chex.assert_trees_all_equal(loaded, huggingface.load(GOLDEN / "nemotron_h"))
  path.write_text(json.dumps(contents | {"hybrid_override_pattern": "M-*+"}))
  with pytest.raises(
    ValueError, match="_pattern: got '.', expected one of 'M'"
  ):
    huggingface.load(directory)
