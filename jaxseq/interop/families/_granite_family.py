"""Granite 4 hybrids: `GraniteMoeHybridForCausalLM`.

Mamba-2 and, in some layers, attention, with a mixture of experts and a shared
expert, or only the shared one; multipliers of the outputs of the embedding, the
layers and the read-out.
"""

from jaxseq.interop import _placement
from jaxseq.interop.families import _decoder
from jaxseq.interop.families import _mamba_family


def _options(entries, epsilon):
  kinds = ("mamba2",) * entries.layers
  if entries.contents.get("layer_types") is not None:
    kinds = entries.kinds("layer_types", _decoder.MAMBA_KINDS)
  attention = _attention(entries) if "attention" in kinds else {}
  return {
    "mixer": "mamba2",
    "mixer_options": _mamba_family.hybrid_options(entries, epsilon),
    "layers": tuple(attention if kind == "attention" else {} for kind in kinds),
    **_feedforward(entries),
    "embedding_scale": entries.get("embedding_multiplier", float, 1.0),
    "logit_scale": 1 / entries.epsilon("logits_scaling", 1.0),
  }


def _attention(entries):
  """Returns the options of an attention layer."""
  kind = "position_embedding_type"
  turns = entries.choice(kind, (None, "nope", "rope"), None) == "rope"
  return _decoder.attends(
    entries,
    32,
    rotary=1.0 if turns else None,
    bias="attention_bias",
    scale=entries.epsilon("attention_multiplier", 1.0),
    # The class rotates all channels, whatever fraction is given.
    **{"rotary_fraction": 1.0} if turns else {},
  )


def _feedforward(entries):
  """Returns the options of the feed-forwards."""
  shared = entries.size("shared_intermediate_size", 1024)
  number = entries.size("num_local_experts", 8)
  if number == 0:
    return {"feedforward": "swiglu", "feedforward_width": shared}
  return {
    "feedforward": "experts",
    "feedforward_width": entries.size("intermediate_size", 11008),
    "feedforward_options": {
      "experts": number,
      "active": entries.count("num_experts_per_tok", 2),
      "score": "softmax_top",
      "shared_width": shared,
    },
  }


def _layer(layer):
  paths = {
    **layer.norms("input_layernorm", "post_attention_layernorm"),
    **_mamba_family.mixer(layer),
  }
  routing, width = layer.config.routing, layer.config.feedforward_width
  dense, shared = "feedforward", width
  if routing is not None:
    dense, shared = "feedforward/shared", routing.shared_width
    mixture = layer.named("block_sparse_moe")
    paths["feedforward/router/kernel"] = _placement.linear(
      f"{mixture}.router.layer.weight"
    )
    packed = _placement.experts(f"{mixture}.input_linear.weight")
    paths |= _halves("feedforward/{}", packed, width, 1)
    paths["feedforward/out"] = _placement.experts(
      f"{mixture}.output_linear.weight"
    )
  mlp = layer.named("shared_mlp")
  packed = _placement.linear(f"{mlp}.input_linear.weight")
  paths |= _halves(f"{dense}/{{}}/kernel", packed, shared, 0)
  paths[f"{dense}/out/kernel"] = _placement.linear(
    f"{mlp}.output_linear.weight"
  )
  multiplier = layer.entries.get("residual_multiplier", float, 1.0)
  ends = "mixer/out_proj", "mixer/W_o", "feedforward/out", f"{dense}/out"
  return {
    path: _placement.scaled(place, multiplier)
    if path.startswith(ends)
    else place
    for path, place in paths.items()
  }


def _halves(path, place, width, axis):
  """Returns the places of the activated layer and its gate, in one tensor."""
  return {
    path.format(name): _placement.part(place, start, stop, 2 * width, axis=axis)
    for name, start, stop in (("in", 0, width), ("gate", width, 2 * width))
  }


FAMILY = _decoder.Decoder(
  _options,
  _layer,
  MODULES=(
    (
      r"\.block_sparse_moe\.input_linear$",
      ".block_sparse_moe.experts.gate_up_proj",
    ),
    (
      r"\.block_sparse_moe\.output_linear$",
      ".block_sparse_moe.experts.down_proj",
    ),
    (r"\.block_sparse_moe\.router\.layer$", ".block_sparse_moe.router"),
  ),
)
