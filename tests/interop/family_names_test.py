"""Files of pretrained models with other names than the golden ones have."""

import json

import chex
import pytest

from jaxseq.interop import huggingface
from jaxseq.interop import safetensors_file
from tests.interop import families_test


def _rewritten(name, directory, renamed, changes, dropped=()):
  """A golden model with other names of tensors, and of entries."""
  families_test.copy(name, directory)
  path = directory / "model.safetensors"
  tensors = safetensors_file.read(path)
  safetensors_file.write(
    path, {renamed(key): value for key, value in tensors.items()}
  )
  path = directory / "config.json"
  contents = json.loads(path.read_text())
  for key in dropped:
    del contents[key]
  path.write_text(json.dumps(contents | changes))


def _kimi(name):
  return name.replace("layers.0.block_sparse_moe", "layers.0.mlp")


def _olmo(name):
  return name.replace("attention_layer_norm", "input_layernorm").replace(
    "feedforward_layer_norm", "post_attention_layernorm"
  )


@pytest.mark.parametrize(
  ("name", "renamed", "changes", "dropped"),
  [
    (
      # As Moonshot's own files have them.
      "kimi_linear",
      _kimi,
      {
        "linear_attn_config": {
          "full_attn_layers": [2],
          "kda_layers": [1],
          "head_dim": 8,
          "num_heads": 2,
          "short_conv_kernel_size": 4,
        },
        "first_k_dense_replace": 1,
        "mla_use_nope": True,
        "moe_router_activation_func": "sigmoid",
        "rope_scaling": None,
      },
      (
        "layer_types",
        "mlp_layer_types",
        "linear_conv_kernel_dim",
        "linear_head_dim",
        "linear_num_heads",
      ),
    ),
    ("olmo_hybrid", _olmo, {}, ()),
    (
      "lfm2",
      str,
      {
        "block_ff_dim": 48,
        "intermediate_size": 7,
        "tie_embedding": True,
        "full_attn_idxs": [1],
      },
      ("layer_types", "tie_word_embeddings"),
    ),
    ("qwen3_next", str, {"full_attention_interval": 2}, ("layer_types",)),
    (
      "recurrent_gemma",
      str,
      {"partial_rotary_factor": 0.5, "rope_theta": 10000.0},
      ("rope_parameters", "block_types", "head_dim"),
    ),
  ],
)
def test_is_the_same_model(name, renamed, changes, dropped, tmp_path):
  _rewritten(name, tmp_path, renamed, changes, dropped)
  config, variables = huggingface.load(tmp_path)
  expected = huggingface.load(families_test.GOLDEN / name)
  assert config == expected[0]
  chex.assert_trees_all_equal(variables, expected[1])


def test_a_shorter_context_is_that_of_full_attention():
  for name, kind in (
    ("kimi_linear", "latent_attention"),
    ("qwen3_next", "attention"),
  ):
    config, _ = huggingface.load(families_test.GOLDEN / name, context=5)
    mixer = config.stack.every_layer[1].mixer_config
    assert (config.stack.every_layer[1].mixer, mixer.window) == (kind, 5)
