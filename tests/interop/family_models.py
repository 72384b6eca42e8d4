"""Small random models of the families, with other options than the golden ones.

Needs torch and transformers; `python -m tests.interop.family_models` writes
`tests/golden/hybrids/qwen3_5`, the one golden model that is not from elsewhere.
"""

import pathlib
import shutil

import numpy as np
import torch
import transformers

from tests.interop import hybrid_cases

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "hybrids"

# Small products gain nothing from threads, and lose where cores are shared.
torch.set_num_threads(1)

_IDS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
_DELTA = {
  "linear_num_key_heads": 2,
  "linear_num_value_heads": 6,
  "linear_key_head_dim": 5,
  "linear_value_head_dim": 7,
  "linear_conv_kernel_dim": 3,
}
_QWEN = _DELTA | {
  "hidden_size": 24,
  "intermediate_size": 20,
  "num_attention_heads": 6,
  "num_key_value_heads": 3,
  "head_dim": 8,
  "attention_bias": True,
  "rms_norm_eps": 1e-3,
  "rope_parameters": {
    "rope_type": "default",
    "rope_theta": 500.0,
    "partial_rotary_factor": 0.5,
  },
}
_KIMI = {
  "hidden_size": 24,
  "intermediate_size": 20,
  "num_attention_heads": 3,
  "num_key_value_heads": 3,
  "kv_lora_rank": 10,
  "qk_nope_head_dim": 5,
  "qk_rope_head_dim": 3,
  "v_head_dim": 11,
  "linear_num_heads": 3,
  "linear_head_dim": 6,
  "linear_conv_kernel_dim": 3,
  "num_local_experts": 8,
  "num_experts_per_tok": 3,
  "moe_intermediate_size": 12,
  "num_hidden_layers": 3,
  "layer_types": ["full_attention", "linear_attention", "full_attention"],
}

# By name: the model_type, and entries of its configuration.
CASES = {
  **hybrid_cases.CASES,
  "kimi_linear_low_rank_queries": (
    "kimi_linear",
    _KIMI
    | {
      "q_lora_rank": 9,
      "attention_bias": True,
      "n_group": 4,
      "topk_group": 2,
      "norm_topk_prob": False,
      "n_shared_experts": 2,
      "mlp_layer_types": ["sparse", "dense", "sparse"],
      "rms_norm_eps": 1e-3,
    },
  ),
  "kimi_linear_said_to_be_tied": (
    "kimi_linear",
    _KIMI
    | {
      "routed_scaling_factor": 0.7,
      "v_head_dim": 4,
      "tie_word_embeddings": True,
    },
  ),
  "lfm2_adjusted": (
    "lfm2",
    {
      "hidden_size": 24,
      "intermediate_size": 40,
      "num_attention_heads": 6,
      "num_key_value_heads": 2,
      "num_hidden_layers": 3,
      "full_attn_idxs": [0, 2],
      "conv_bias": True,
      "conv_L_cache": 4,
      "block_multiple_of": 10,
      "block_ffn_dim_multiplier": 1.3,
      "tie_word_embeddings": False,
      "norm_eps": 1e-3,
    },
  ),
  "olmo_hybrid_without_positions": (
    "olmo_hybrid",
    _DELTA
    | {
      "hidden_size": 24,
      "intermediate_size": 20,
      "num_attention_heads": 6,
      "num_hidden_layers": 3,
      "layer_types": ["full_attention", "linear_attention", "full_attention"],
      "attention_bias": True,
      "linear_allow_neg_eigval": False,
      "rope_parameters": {"rope_type": "default", "rope_theta": None},
      "rms_norm_eps": 1e-3,
      "tie_word_embeddings": True,
    },
  ),
  "olmo_hybrid_defaults": (
    "olmo_hybrid",
    {
      "hidden_size": 32,
      "intermediate_size": 20,
      "num_attention_heads": 4,
      "num_key_value_heads": 2,
      "num_hidden_layers": 4,
    },
  ),
  "qwen3_5_text_biases": (
    "qwen3_5_text",
    _QWEN | {"num_hidden_layers": 4, "tie_word_embeddings": True},
  ),
  "qwen3_next_some_experts": (
    "qwen3_next",
    _QWEN
    | {
      "num_hidden_layers": 5,
      "layer_types": [
        "full_attention",
        "linear_attention",
        "linear_attention",
        "full_attention",
        "linear_attention",
      ],
      "mlp_only_layers": [2],
      "decoder_sparse_step": 2,
      "num_experts": 7,
      "num_experts_per_tok": 3,
      "norm_topk_prob": False,
      "moe_intermediate_size": 12,
      "shared_expert_intermediate_size": 8,
      "tie_word_embeddings": True,
    },
  ),
  "qwen3_next_all_experts": (
    "qwen3_next",
    _QWEN
    | {
      "num_hidden_layers": 4,
      "attention_bias": False,
      "num_key_value_heads": 6,
      "linear_num_value_heads": 2,
      "num_experts": 3,
      "num_experts_per_tok": 3,
      "moe_intermediate_size": 12,
      "shared_expert_intermediate_size": 8,
    },
  ),
  "recurrent_gemma_untied": (
    "recurrent_gemma",
    {
      "hidden_size": 36,
      "intermediate_size": 40,
      "num_attention_heads": 3,
      "num_key_value_heads": 3,
      "num_hidden_layers": 3,
      "block_types": ["attention", "recurrent"],
      "attention_window_size": 9,
      "attention_bias": True,
      "conv1d_width": 3,
      "logits_soft_cap": 5.0,
      "rms_norm_eps": 1e-3,
      "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 500.0,
        "partial_rotary_factor": 1.0,
      },
      "tie_word_embeddings": False,
    },
  ),
}


def make(case):
  """A model whose every parameter is random, in evaluation mode."""
  kind, options = CASES[case]
  options = {"vocab_size": 64, **_IDS, **options}
  config = transformers.AutoConfig.for_model(kind, **options)
  torch.manual_seed(0)
  return randomized(transformers.AutoModelForCausalLM.from_config(config))


def with_images():
  """Qwen3.5 with all that reads images, around the model of text above."""
  _, text = CASES["qwen3_5_text_biases"]
  config = transformers.AutoConfig.for_model(
    "qwen3_5",
    text_config={"vocab_size": 64, **_IDS, **text},
    vision_config={
      "depth": 1,
      "hidden_size": 16,
      "intermediate_size": 16,
      "num_heads": 2,
      "out_hidden_size": 24,
      "num_position_embeddings": 16,
    },
    tie_word_embeddings=False,
  )
  torch.manual_seed(0)
  return randomized(transformers.Qwen3_5ForConditionalGeneration(config))


def randomized(model):
  """The model with random numbers in all its parameters."""
  generator = torch.Generator().manual_seed(0)
  with torch.no_grad():
    for name, tensor in model.state_dict().items():
      noise = torch.randn(tensor.shape, generator=generator)
      if tensor.ndim > 1 and not name.endswith("A_log"):
        # Outputs of the size of inputs.
        tensor.copy_(noise / tensor.shape[-1] ** 0.5)
      else:
        # Around what they are at first: rates, norms, biases.
        tensor.add_(0.3 * noise)
  return model.eval()


def write_golden():
  """Writes a model of Qwen3.5, and what it says."""
  from tests.interop import models

  model, directory = make("qwen3_5_text_biases"), GOLDEN / "qwen3_5"
  shutil.rmtree(directory, ignore_errors=True)
  model.save_pretrained(directory)
  (directory / "generation_config.json").unlink(missing_ok=True)
  (directory / "model.safetensors").chmod(0o644)
  ids = models.tokens(time=19)
  np.savez_compressed(
    directory / "expected.npz",
    ids=ids,
    logits=models.logits(model, ids),
    greedy=models.greedy(model, ids, 12, use_cache=False),
  )


if __name__ == "__main__":
  write_golden()
