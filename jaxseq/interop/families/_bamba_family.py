"""Bamba: `BambaForCausalLM`.

Mamba-2 and, in some layers, attention with partly rotated heads, with gated
feed-forwards; github.com/foundation-model-stack/bamba.
"""

from jaxseq.interop.families import _decoder
from jaxseq.interop.families import _mamba_family


def _options(entries, epsilon):
  count = entries.layers
  indices = entries.contents.get("attn_layer_indices") or ()
  if not isinstance(indices, list | tuple) or not all(
    type(i) is int and 0 <= i < count for i in indices
  ):
    expected = f"a list of numbers of layers below {count}"
    raise entries.error("attn_layer_indices", indices, expected)
  attention = {}
  if indices:
    attention = _decoder.attends(
      entries, 32, 8, rotary=0.5, bias="attention_bias"
    )
  return {
    "mixer": "mamba2",
    "mixer_options": _mamba_family.hybrid_options(entries, epsilon),
    "layers": tuple(attention if i in indices else {} for i in range(count)),
    **_decoder.swiglu(entries, 14336, "mlp_bias"),
  }


def _layer(layer):
  return {
    **layer.norms("input_layernorm", "pre_ff_layernorm"),
    **layer.dense("feed_forward"),
    **_mamba_family.mixer(layer),
  }


FAMILY = _decoder.Decoder(
  _options,
  _layer,
  norm="model.final_layernorm.weight",
  epsilon=("rms_norm_eps", 1e-5),
)
