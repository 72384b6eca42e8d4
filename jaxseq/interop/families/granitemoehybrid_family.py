"""Granite 4 hybrids: `GraniteMoeHybridForCausalLM`.

Mamba-2 and, in some layers, attention, with a mixture of experts of which one
sees every token, or that one alone; multipliers of what comes from the
embedding, a layer and the read-out.
"""

from jaxseq import nn
from jaxseq.interop import _entries
from jaxseq.interop import _placement
from jaxseq.interop import _tensors
from jaxseq.interop.families import _decoder
from jaxseq.interop.families import _mamba_layers

EMBEDDING = "model.embed_tokens.weight"
LAYERS = "model.layers"

_KINDS = {
  "linear_attention": "mamba2",
  "mamba": "mamba2",
  "full_attention": "attention",
  "attention": "attention",
}


def from_json(entries: _entries.Entries) -> tuple[nn.NetworkConfig, int]:
  """Returns the options of the network and the number of tokens."""
  _decoder.check_silu(entries)
  epsilon = entries.epsilon("rms_norm_eps", 1e-6)
  count = entries.get("num_hidden_layers", int)
  kinds = ("mamba2",) * count
  if entries.contents.get("layer_types") is not None:
    kinds = entries.kinds("layer_types", _KINDS)
  attention = {}
  if "attention" in kinds:
    attention = {"mixer": "attention", "mixer_options": _attention(entries)}
  stack = {
    "mixer": "mamba2",
    "mixer_options": _mamba_layers.mamba2_options(entries, epsilon),
    "d_model": entries.size("hidden_size"),
    "num_layers": count,
    "norm_epsilon": epsilon,
    "layers": tuple(attention if kind == "attention" else {} for kind in kinds),
    **_feedforward(entries),
  }
  config = _decoder.network(
    entries,
    stack,
    tie=entries.get("tie_word_embeddings", bool, False),
    embedding_scale=entries.get("embedding_multiplier", float, 1.0),
    logit_scale=1 / entries.epsilon("logits_scaling", 1.0),
  )
  return config, entries.get("vocab_size", int)


def _attention(entries):
  """Options of the attention."""
  bias = entries.get("attention_bias", bool, False)
  options = _decoder.attention_options(entries, 32)
  kind = "position_embedding_type"
  if entries.choice(kind, (None, "nope", "rope"), None) == "rope":
    # The class turns all channels, whatever part is said.
    options |= _decoder.rotary_options(entries) | {"rotary_fraction": 1.0}
  scale = entries.epsilon("attention_multiplier", 1.0)
  return options | {"qkv_bias": bias, "output_bias": bias, "scale": scale}


def _feedforward(entries):
  """Options of the feed-forwards."""
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


def places(
  config: nn.NetworkConfig, entries: _entries.Entries
) -> _tensors.Places:
  """Returns the places of the parameters."""
  paths = _decoder.frame(EMBEDDING, "model.norm.weight")
  scaled = {}
  for i in range(config.stack.num_layers):
    ours, theirs = f"stack/layers_{i}", f"{LAYERS}.{i}"
    half, mixture = f"{ours}/feedforward", f"{theirs}.block_sparse_moe"
    paths |= _decoder.norms(
      ours, theirs, "input_layernorm", "post_attention_layernorm"
    )
    paths |= _mamba_layers.mixer_places(config, i, theirs)
    routing, width = config.stack.routing, config.stack.feedforward_width
    dense, shared = half, width
    if routing is not None:
      dense, shared = f"{half}/shared", routing.shared_width
      router = f"{mixture}.router.layer.weight"
      paths[f"{half}/router/kernel"] = _placement.linear(router)
      packed = _placement.experts(f"{mixture}.input_linear.weight")
      paths |= _halves(f"{half}/{{}}", packed, width, 1)
      paths[f"{half}/out"] = _placement.experts(
        f"{mixture}.output_linear.weight"
      )
    packed = _placement.linear(f"{theirs}.shared_mlp.input_linear.weight")
    paths |= _halves(f"{dense}/{{}}/kernel", packed, shared, 0)
    paths[f"{dense}/out/kernel"] = _placement.linear(
      f"{theirs}.shared_mlp.output_linear.weight"
    )
    ends = f"{ours}/mixer/out_proj", f"{ours}/mixer/W_o", f"{half}/out"
    scaled |= {
      path: place
      for path, place in paths.items()
      if path.startswith((*ends, f"{dense}/out"))
    }
  multiplier = entries.get("residual_multiplier", float, 1.0)
  return paths | {
    path: _placement.scaled(place, multiplier) for path, place in scaled.items()
  }


def _halves(path, place, width, axis):
  """Places of the activated layer and its gate, of one tensor."""
  return {
    path.format(name): _placement.part(place, start, stop, 2 * width, axis=axis)
    for name, start, stop in (("in", 0, width), ("gate", width, 2 * width))
  }
