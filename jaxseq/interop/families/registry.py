"""Names of the families: values of `model_type` in `config.json`."""

from types import ModuleType

from jaxseq import _registry

_FAMILIES = _registry.Registry(
  "model_type",
  {
    "bamba": "jaxseq.interop.families.bamba_family",
    "falcon_h1": "jaxseq.interop.families.falcon_h1_family",
    "falcon_mamba": "jaxseq.interop.families.falcon_mamba_family",
    "granitemoehybrid": "jaxseq.interop.families.granitemoehybrid_family",
    "jamba": "jaxseq.interop.families.jamba_family",
    "kimi_linear": "jaxseq.interop.families.kimi_linear_family",
    "lfm2": "jaxseq.interop.families.lfm2_family",
    "mamba": "jaxseq.interop.families.mamba_family",
    "mamba2": "jaxseq.interop.families.mamba2_family",
    "nemotron_h": "jaxseq.interop.families.nemotron_h_family",
    "olmo_hybrid": "jaxseq.interop.families.olmo_hybrid_family",
    "qwen3_5": "jaxseq.interop.families.qwen3_5_family",
    "qwen3_5_text": "jaxseq.interop.families.qwen3_5_text_family",
    "qwen3_next": "jaxseq.interop.families.qwen3_next_family",
    "recurrent_gemma": "jaxseq.interop.families.recurrent_gemma_family",
    "rwkv": "jaxseq.interop.families.rwkv_family",
    "rwkv7": "jaxseq.interop.families.rwkv7_family",
    "xlstm": "jaxseq.interop.families.xlstm_family",
    "zamba2": "jaxseq.interop.families.zamba2_family",
  },
)


def names() -> tuple[str, ...]:
  """Returns the names of all families, sorted: values of `model_type`."""
  return _FAMILIES.names()


def get(name: str) -> ModuleType:
  """Returns the module of a family, one of `names()`."""
  return _FAMILIES.get(name)
