"""Options of models with Mamba and Mamba-2, other than the golden ones'.

By name: the model_type, and entries of its configuration. Widths of experts are
multiples of four, which torch asks for.
"""

_SMALL = {"hidden_size": 24, "intermediate_size": 20}
_MAMBA2 = {"mamba_d_state": 6, "mamba_chunk_size": 8}
_GRANITE = _MAMBA2 | {
  "hidden_size": 24,
  "intermediate_size": 12,
  "num_attention_heads": 3,
  "mamba_n_heads": 6,
  "shared_intermediate_size": 16,
}
_FALCON = (
  _SMALL
  | _MAMBA2
  | {
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "mamba_n_heads": 4,
  }
)
_SCALED = _FALCON | {
  "num_key_value_heads": 1,
  "head_dim": 10,
  "mamba_d_ssm": 40,
  "mamba_n_groups": 2,
  "mamba_proj_bias": True,
  "attention_bias": True,
  "mlp_bias": True,
  "lm_head_multiplier": 0.3,
  "embedding_multiplier": 2.5,
  "mlp_multipliers": [0.7, 1.3],
  "key_multiplier": 0.6,
  "attention_out_multiplier": 1.4,
  "attention_in_multiplier": 0.8,
  "ssm_multipliers": [0.5, 1.5, 0.7, 1.2, 0.9],
  "ssm_in_multiplier": 1.25,
  "ssm_out_multiplier": 0.75,
  "tie_word_embeddings": True,
}
_NEMOTRON = _SMALL | {
  "num_attention_heads": 4,
  "head_dim": 6,
  "ssm_state_size": 6,
  "mamba_num_heads": 6,
  "mamba_head_dim": 4,
  "chunk_size": 8,
  "moe_intermediate_size": 12,
  "moe_shared_expert_intermediate_size": 16,
}
_ZAMBA = {
  "hidden_size": 24,
  "n_mamba_heads": 4,
  "mamba_d_state": 6,
  "num_attention_heads": 4,
  "adapter_rank": 3,
  "chunk_size": 8,
}
_BLOCKS = _ZAMBA | {
  "num_hidden_layers": 6,
  "layers_block_type": [
    "linear_attention",
    "hybrid",
    "linear_attention",
    "hybrid",
    "hybrid",
    "hybrid",
  ],
  "num_mem_blocks": 2,
  "use_shared_attention_adapter": True,
  "use_mem_rope": True,
  "add_bias_linear": True,
  "intermediate_size": 20,
  "mamba_ngroups": 2,
  "rope_parameters": {"rope_type": "default", "rope_theta": 50.0},
  "time_step_min": 0.1,
}

CASES = {
  "falcon_mamba_untied": (
    "falcon_mamba",
    {
      "hidden_size": 24,
      "num_hidden_layers": 3,
      "state_size": 5,
      "expand": 3,
      "conv_kernel": 3,
      "use_bias": True,
      "use_conv_bias": False,
      "time_step_rank": 5,
      "mixer_rms_eps": 1e-3,
      "tie_word_embeddings": False,
    },
  ),
  "jamba_experts": (
    "jamba",
    _SMALL
    | {
      "num_hidden_layers": 5,
      "num_attention_heads": 6,
      "num_key_value_heads": 3,
      "num_experts": 4,
      "num_experts_per_tok": 2,
      "expert_layer_period": 2,
      "expert_layer_offset": 0,
      "attn_layer_period": 2,
      "attn_layer_offset": 0,
      "mamba_d_state": 5,
      "mamba_d_conv": 3,
      "mamba_expand": 1,
      "mamba_proj_bias": True,
      "mamba_conv_bias": False,
      "tie_word_embeddings": True,
      "rms_norm_eps": 1e-3,
    },
  ),
  "jamba_dense": (
    "jamba",
    _SMALL
    | {
      "num_hidden_layers": 2,
      "num_attention_heads": 2,
      "num_key_value_heads": 1,
      "num_experts": 1,
      "num_experts_per_tok": 1,
      "attn_layer_period": 2,
      "attn_layer_offset": 1,
    },
  ),
  "bamba_biases": (
    "bamba",
    _SMALL
    | _MAMBA2
    | {
      "num_hidden_layers": 3,
      "num_attention_heads": 3,
      "num_key_value_heads": 3,
      "attn_layer_indices": [0, 2],
      "mamba_n_heads": 6,
      "mamba_d_head": 4,
      "mamba_expand": 1,
      "mamba_n_groups": 2,
      "mamba_d_conv": 3,
      "mamba_conv_bias": False,
      "mamba_proj_bias": True,
      "time_step_limit": (0.1, 0.5),
      "attention_bias": True,
      "mlp_bias": True,
      "rope_parameters": {"rope_type": "default", "rope_theta": 100.0},
      "tie_word_embeddings": True,
    },
  ),
  "bamba_groups": (
    "bamba",
    _SMALL
    | _MAMBA2
    | {
      "num_hidden_layers": 2,
      "num_attention_heads": 3,
      "num_key_value_heads": None,
      "attn_layer_indices": [1],
      "mamba_n_heads": 6,
      "mamba_n_groups": 3,
    },
  ),
  "granitemoehybrid_scaled": (
    "granitemoehybrid",
    _GRANITE
    | {
      "num_hidden_layers": 3,
      "layer_types": ["full_attention", "linear_attention", "full_attention"],
      "mamba_n_groups": 2,
      "mamba_proj_bias": True,
      "attention_bias": True,
      "position_embedding_type": "rope",
      "residual_multiplier": 0.3,
      "attention_multiplier": 0.2,
      "embedding_multiplier": 3.0,
      "logits_scaling": 4.0,
      "num_local_experts": 4,
      "num_experts_per_tok": 3,
      "tie_word_embeddings": True,
    },
  ),
  "granitemoehybrid_dense": (
    "granitemoehybrid",
    _GRANITE
    | {
      "num_hidden_layers": 2,
      "layer_types": ["linear_attention", "full_attention"],
      "num_local_experts": 0,
      "num_experts_per_tok": 0,
      "num_key_value_heads": 1,
      "residual_multiplier": 0.7,
    },
  ),
  "falcon_h1_norm_before_gate": (
    "falcon_h1",
    _SCALED | {"mamba_rms_norm": True, "mamba_norm_before_gate": True},
  ),
  "falcon_h1_norm_after_gate": (
    "falcon_h1",
    _SCALED | {"mamba_rms_norm": True, "mamba_norm_before_gate": False},
  ),
  "falcon_h1_limits": (
    "falcon_h1",
    _FALCON
    | {
      "num_key_value_heads": 2,
      "mamba_d_ssm": None,
      "mamba_expand": 1,
      "mamba_conv_bias": False,
      "projectors_bias": True,
      "time_step_limit": (0.05, 0.4),
    },
  ),
  "nemotron_h_groups_of_experts": (
    "nemotron_h",
    _NEMOTRON
    | {
      "layers_block_type": [
        "mlp",
        "moe",
        "moe",
        "linear_attention",
        "full_attention",
        "moe",
      ],
      "num_key_value_heads": 1,
      "n_groups": 3,
      "n_routed_experts": 8,
      "n_group": 4,
      "topk_group": 2,
      "num_experts_per_tok": 3,
      "routed_scaling_factor": 2.5,
      "mlp_bias": True,
      "use_bias": True,
      "moe_latent_size": 8,
    },
  ),
  "nemotron_h_limits": (
    "nemotron_h",
    _NEMOTRON
    | {
      "layers_block_type": [
        "linear_attention",
        "moe",
        "full_attention",
        "mlp",
      ],
      "num_key_value_heads": 2,
      "n_groups": 1,
      "n_routed_experts": 4,
      "num_experts_per_tok": 2,
      "norm_topk_prob": False,
      "use_conv_bias": False,
      "conv_kernel": 3,
      "time_step_min": 0.2,
      "tie_word_embeddings": True,
    },
  ),
  "zamba2_blocks_in_turn": ("zamba2", _BLOCKS),
  "zamba2_untied": ("zamba2", _BLOCKS | {"tie_word_embeddings": False}),
  "zamba2_one_block": (
    "zamba2",
    _ZAMBA
    | {
      "num_hidden_layers": 4,
      "layers_block_type": ["hybrid", "linear_attention"] * 2,
      "num_key_value_heads": 2,
      "mamba_expand": 1,
      "mamba_d_conv": 3,
    },
  ),
}
