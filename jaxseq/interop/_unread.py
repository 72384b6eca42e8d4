"""Entries of `config.json` that no family reads, with the reasons."""

from collections.abc import Mapping
from typing import Any

from absl import logging

# Entries by the reason why they do not change a loaded model's numbers.
HARMLESS: Mapping[str, tuple[str, ...]] = {
  "names of classes, files, versions and dtypes": (
    *("architectures", "auto_map", "_name_or_path", "_attn_implementation"),
    *("transformers_version", "dtype", "torch_dtype", "model_type", "id2label"),
    *("label2id", "task_specific_params", "autocast_kernel_dtype", "mode"),
    *("inference_state_dtype", "mamba_ssm_cache_dtype"),
    *("norm_reduction_force_float32", "return_last_states"),
  ),
  "tokens, which other readers take": (
    *("bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id"),
    *("image_token_id", "video_token_id", "vision_start_token_id"),
    *("vision_end_token_id", "num_logits_to_keep", "use_cache"),
  ),
  "first values of weights": (
    *("initializer_range", "rescale_prenorm_residual", "time_step_floor"),
    *("time_step_max", "time_step_rank", "time_step_scale", "time_step_min"),
    *("time_step_init_scheme", "w_init_variance_scale", "linear_a_log_max"),
    *("final_w_init_variance_scale", "linear_a_log_min", "linear_dt_max"),
    *("linear_dt_min", "linear_dt_init_floor", "init_method"),
  ),
  "training": (
    *("attention_dropout", "hidden_dropout", "router_jitter_noise"),
    *("output_router_logits", "router_aux_loss_coef", "z_loss_coefficient"),
    *("num_nextn_predict_layers", "mtp_layers_block_type", "pretraining_tp"),
  ),
  "ways to compute the same": (
    *("mamba_chunk_size", "chunk_size", "block_size", "use_mamba_kernels"),
    *("use_associative_scan", "use_mambapy", "use_mem_eff_path", "step_kernel"),
    *("chunkwise_kernel", "sequence_kernel", "max_inference_chunksize"),
    "moe_shared_expert_overlap",
  ),
  "sizes that follow from others, or that the tensors have": (
    *("intermediate_size", "expand", "qk_head_dim", "attention_head_dim"),
    *("attention_hidden_size", "hybrid_layer_ids", "kv_channels"),
    *("mamba_headdim", "num_query_groups", "head_dim", "use_conv_bias"),
    *("n_shared_experts", "vision_config"),
  ),
  "the context, which the caller may say": (
    *("max_position_embeddings", "context_length", "model_max_length"),
  ),
  "entries that the library's class does not use in such a model": (
    *("attention_bias", "mamba_proj_bias", "time_step_limit"),
    *("tie_word_embeddings", "mamba_expand"),
  ),
  "parts that the model does not have, as their readers found": (
    *("rope_parameters", "rope_scaling", "rope_theta", "moe_latent_size"),
    *("partial_rotary_factor", "moe_intermediate_size", "n_group"),
    *("moe_shared_expert_intermediate_size", "n_routed_experts"),
    *("norm_topk_prob", "num_experts_per_tok", "routed_scaling_factor"),
    *("topk_group", "block_ffn_dim_multiplier", "block_multiple_of"),
    "full_attn_idxs",
  ),
}
_NAMES = frozenset(name for names in HARMLESS.values() for name in names)
_UNKNOWN = (
  "%s: nothing reads %s: if the model's own code computes something else by "
  "them, what is loaded here is not that model"
)


def check(unread: Mapping[str, Any], where: str) -> None:
  """Warns about unread entries that may change numbers.

  Args:
    unread: the unread entries.
    where: path of the file.
  """
  unknown = [
    f"{name} = {value!r:.80}"
    for name, value in sorted(unread.items())
    if name not in _NAMES and value not in (None, [], {})
  ]
  if unknown:
    logging.warning(_UNKNOWN, where, ", ".join(unknown))
